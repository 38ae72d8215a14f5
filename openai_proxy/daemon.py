"""The life of the process: start, signals, drain, stop."""


def serve() -> int:
    """Run until a signal asks to stop; returns the exit code."""
    return 0
