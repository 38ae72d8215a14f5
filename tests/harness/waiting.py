"""Bounded waits. A test waits for an event, never for time to pass."""

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30.0
"""Maximum seconds of any single wait: far more than the daemon needs, so that only a hang reaches it."""


def eventually(probe: Callable[[], T], what: str, *, timeout: float = PATIENCE) -> T:
    """The first true value of `probe`, called every 10 ms; AssertionError naming `what` after `timeout` seconds.

    For states without a notification: a file that appears, a process that ends, memory that is released.
    """
    end = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what} (last seen: {value!r})")
        time.sleep(0.01)


async def turning_until(probe: Callable[[], T], what: str, *, timeout: float = PATIENCE) -> T:
    """`eventually` for a state of this event loop, which runs meanwhile."""
    end = time.monotonic() + timeout
    while not (value := probe()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout} s: {what} (last seen: {value!r})")
        await asyncio.sleep(0.005)
    return value
