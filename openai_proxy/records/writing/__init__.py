"""The chat logs: files, names, retention, and what is never written."""
