"""`python -m openai_proxy` and the `openai-proxy` script: the same program."""

import os
import sys
import threading
import time

PATIENCE = 1.0
"""Seconds that threads have to end after everything else has."""


def main() -> None:
    """Run the command line and exit with its code (0 success, 1 refused, 2 bad usage, 70 crash)."""
    from openai_proxy.cli.main import run

    leave(run(sys.argv[1:]))


def leave(code: int) -> None:
    """End the process with `code`, whatever its threads are doing.

    A normal interpreter exit waits for a busy worker indefinitely, and kills a thread inside a C++ library's call,
    which such libraries answer with SIGABRT.
    """
    until = time.monotonic() + PATIENCE
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in others:
        thread.join(max(until - time.monotonic(), 0.0))
    if any(thread.is_alive() for thread in others):
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                continue
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
