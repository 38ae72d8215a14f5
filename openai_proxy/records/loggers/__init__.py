"""Feeds the loggers of `loggers:`, each from a thread of its own."""
