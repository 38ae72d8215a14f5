"""The time a whole turn may take, and the part of it kept for the answer.

A voice client gives up after a fixed time (home-llm: 90 s for the whole stream), so as the deadline nears the tools
are withdrawn and the model must answer with what it knows.
"""

import math
from collections.abc import Callable
from typing import Final

from openai_proxy.errors import UpstreamTimeout

_SHARE: Final = 0.25  # of the whole is kept for the last answer …
_MOST: Final = 15.0  # … but no more seconds than this


class Deadline:
    """Seconds left of a turn; without a limit, infinitely many."""

    def __init__(self, seconds: float | None, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.limited = seconds is not None
        self._end = clock() + seconds if seconds is not None else math.inf
        self._reserve = min(seconds * _SHARE, _MOST) if seconds is not None else 0.0

    def left(self) -> float:
        """Seconds until the end."""
        return self._end - self._clock()

    def for_tools(self) -> float:
        """Seconds tools may still take."""
        return self.left() - self._reserve

    @property
    def near(self) -> bool:
        """True once the next round must be the answer."""
        return self.for_tools() <= 0

    def passed(self) -> UpstreamTimeout:
        """The error for a turn that took too long."""
        return UpstreamTimeout("The answer took too long.", code="deadline_exceeded")
