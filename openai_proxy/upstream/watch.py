"""One clock for all running exchanges.

A timer per exchange costs a heap push and pop in the event loop for every request, though nearly none ever fires;
per chunk it would have to be moved. Instead everything that has a limit stands in one set and is looked at ten times
a second while the set is not empty: 0.1 µs each, and limits are kept to within a tenth of a second. Whoever has
nothing to watch any more may leave it to the next look to say so, which costs a quick exchange nothing.
"""

import asyncio
from typing import Final, Protocol

TICK: Final = 0.1  # seconds


class Watched(Protocol):
    """Something with a time limit."""

    def check(self, now: float) -> None:
        """Look at the clock (loop time, seconds); end yourself if a limit has passed."""
        ...


class Watch:
    """The set of everything that has a limit now."""

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
        """Stop the clock."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        self._members.clear()
