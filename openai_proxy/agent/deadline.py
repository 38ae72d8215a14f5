"""The deadline of a whole turn, and the part of it reserved for the answer.

A voice client gives up after a fixed time (home-llm: 90 s for the whole stream), and a person much earlier. So the time
counts from the request's arrival to the last byte: as it runs out, the tools are withdrawn and the model must answer
with what it knows; when it is over, the turn ends.
"""

import math
from collections.abc import Callable
from typing import Final

from openai_proxy.errors import DeadlineExceeded

_SHARE: Final = 0.25  # the share of the total that is reserved for the last answer
_MOST: Final = 15.0  # maximum seconds reserved for it


class Deadline:
    """Seconds left of a turn that began at `started` by `clock`; infinite without a limit."""

    def __init__(self, seconds: float | None, clock: Callable[[], float], started: float | None = None) -> None:
        self._clock = clock
        self.limited = seconds is not None
        begin = clock() if started is None else started
        self.end = begin + seconds if seconds is not None else math.inf
        self._reserve = min(seconds * _SHARE, _MOST) if seconds is not None else 0.0

    def left(self) -> float:
        """Seconds until the end."""
        return self.end - self._clock()

    def for_tools(self) -> float:
        """Seconds that tools may still take."""
        return self.left() - self._reserve

    @property
    def near(self) -> bool:
        """True once the next round must be the answer."""
        return self.for_tools() <= 0

    def check(self) -> None:
        """Raise DeadlineExceeded once the time is over."""
        if self.limited and self.left() <= 0:
            raise self.passed()

    def passed(self) -> DeadlineExceeded:
        """The error for a turn that took too long."""
        return DeadlineExceeded("The answer took too long.")
