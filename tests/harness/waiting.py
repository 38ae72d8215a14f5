"""Bounded waits. A test waits for the event it is about, never for a time to pass."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 15.0
"""Seconds any single wait may take: far above what the daemon needs, so that only a hang reaches it."""


def eventually(probe: Callable[[], T], what: str, *, timeout: float = PATIENCE) -> T:
    """The first true value of `probe`, asked every 10 ms; AssertionError naming `what` after `timeout` seconds.

    For states nobody announces: a file that appears, a process that ends, memory that is given back.
    """
    end = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what} (last seen: {value!r})")
        time.sleep(0.01)
