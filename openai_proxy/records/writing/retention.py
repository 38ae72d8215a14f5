"""Deletes old chat logs, a few at a time, so that a directory of 100,000 files delays no line."""

import time
from collections.abc import Callable, Iterator

from openai_proxy.records.writing.files import LineFiles

EVERY = 6 * 3600.0  # seconds between two rounds
STEP = 0.02  # seconds between two steps of one round


class Retention:
    """A chore of the recorder's thread. `days` None keeps everything; files named in `keep` are not chat logs."""

    def __init__(self, files: LineFiles, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.days: float | None = None
        self.keep: frozenset[str] = frozenset()
        self.removed = 0
        self._files = files
        self._clock = clock
        self._round: Iterator[int] | None = None
        self._next = 0.0

    def soon(self) -> None:
        """Start a round at the next opportunity: the configuration has changed."""
        self._next = 0.0

    def step(self, now: bool) -> float | None:
        """One step; returns seconds until the next."""
        if self.days is None:
            return None
        if self._round is None:
            wait = self._next - self._clock()
            if wait > 0:
                return wait
            self._round = self._files.remove_older(self.days * 86400, self.keep)
        removed = next(self._round, None)
        if removed is None:
            self._round = None
            self._next = self._clock() + EVERY
            return EVERY
        self.removed += removed
        return STEP
