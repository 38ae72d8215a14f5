"""The commands of `openai-proxy`: one file each, imported when it is called."""
