"""The chat logs: files, names, retention, and what must never be written."""
