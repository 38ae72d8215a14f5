"""Chat logs, loggers, metrics, usage, live events and the log of the process."""
