"""One configuration brought to life, and the next one after it."""
