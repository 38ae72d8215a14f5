"""Feeds the loggers of `loggers:`, each from its own thread."""
