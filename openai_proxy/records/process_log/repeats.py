"""Repeated lines are shown once, counted, and summed up periodically.

A line is shown when it is new, and again when `FIRST` seconds have passed since it was last shown, doubling up to
`LONGEST` while it keeps recurring. The number held back in between is reported the next time, by `due`, when its
subject recovers, and at the latest by `flush`.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

FIRST: Final = 60.0  # seconds
LONGEST: Final = 3600.0
MAX_LINES: Final = 1000  # lines contain names that clients chose, so they are bounded

Counted = tuple[logging.LogRecord, int]
"""The last of some held-back lines, and their number."""


class _Line:
    __slots__ = ("held", "pause", "record", "shown", "subject")

    def __init__(self, record: logging.LogRecord, subject: Hashable, now: float) -> None:
        self.record = record
        self.subject = subject
        self.shown = now
        self.pause = FIRST
        self.held = 0

    def show(self, now: float) -> Counted:
        """Note that it is shown, with the number held back before."""
        self.pause = min(self.pause * 2, LONGEST)
        held, self.held, self.shown = self.held, 0, now
        return self.record, held


class Repeats:
    """Decides which lines are shown. Not thread-safe: used under its handler's lock.

    A `key` is what makes two lines equal; a `subject` is what a line is about, if that can recover.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lines: OrderedDict[Hashable, _Line] = OrderedDict()
        self._about: dict[Hashable, set[Hashable]] = {}

    def take(self, record: logging.LogRecord, key: Hashable, subject: Hashable = None) -> int | None:
        """Handle a line: None to hold it back; else show it, and the number is how many were held back before it."""
        now = self._clock()
        line = self._lines.get(key)
        if line is None:
            if len(self._lines) >= MAX_LINES:
                self._forget_one()
            self._lines[key] = _Line(record, subject, now)
            if subject is not None:
                self._about.setdefault(subject, set()).add(key)
            return 0
        self._lines.move_to_end(key)
        line.record = record
        if now - line.shown >= line.pause:
            return line.show(now)[1]
        line.held += 1
        return None

    def recovered(self, subject: Hashable) -> list[Counted]:
        """`subject` has recovered: returns what was held back about it. The next line about it will be shown."""
        lines = [self._lines.pop(key) for key in self._about.pop(subject, ())]
        return [(line.record, line.held) for line in lines if line.held]

    def due(self) -> list[Counted]:
        """Lines that were held back for long enough."""
        now = self._clock()
        return [line.show(now) for line in self._lines.values() if line.held and now - line.shown >= line.pause]

    def flush(self) -> list[Counted]:
        """Everything that was held back."""
        now = self._clock()
        return [line.show(now) for line in self._lines.values() if line.held]

    def wait(self) -> float | None:
        """Seconds until `due` returns something; None while nothing is held back."""
        now = self._clock()
        return min((max(x.shown + x.pause - now, 0.0) for x in self._lines.values() if x.held), default=None)

    def _forget_one(self) -> None:
        """Drop the oldest line with nothing held back, else the oldest."""
        key = next((key for key, line in self._lines.items() if not line.held), next(iter(self._lines)))
        line = self._lines.pop(key)
        keys = self._about.get(line.subject)
        if keys is not None:
            keys.discard(key)
            if not keys:
                del self._about[line.subject]
