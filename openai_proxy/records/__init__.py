"""What is written down: chat logs, loggers, metrics, live events."""
