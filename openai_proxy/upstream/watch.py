"""One timer for all running exchanges.

A timer per exchange costs a heap push and pop in the event loop for every request, though nearly none ever fires, and
it would have to be moved per chunk. Instead, everything with a timeout is in one set that is checked ten times a second
while it is not empty: 0.1 µs each, and timeouts are accurate to a tenth of a second. A member without a timeout may
leave its removal to the next check, so that a short exchange does not pay for it.
"""

import asyncio
from typing import Final, Protocol

TICK: Final = 0.1  # seconds


class Watched(Protocol):
    """Something with a timeout."""

    def check(self, now: float) -> None:
        """Compare with the clock (loop time, seconds); end yourself if a timeout has passed."""
        ...


class Watch:
    """The set of everything that currently has a timeout."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._members: set[Watched] = set()
        self._handle: asyncio.TimerHandle | None = None

    def add(self, member: Watched) -> None:
        """Check `member` from now on."""
        self._members.add(member)
        if self._handle is None:
            self._handle = self._loop.call_later(TICK, self._tick)

    def discard(self, member: Watched) -> None:
        """Stop checking `member`."""
        self._members.discard(member)

    def _tick(self) -> None:
        if not self._members:
            self._handle = None
            return
        now = self._loop.time()
        for member in tuple(self._members):
            member.check(now)
        self._handle = self._loop.call_later(TICK, self._tick)

    def close(self) -> None:
        """Stop the timer."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._members.clear()
