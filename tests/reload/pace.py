"""How steadily a test wrote: only what was written without a rest is one edit.

The daemon takes files for finished that have rested for SETTLE seconds. A busy machine may hold a writer up for longer
between two of its writes, and then the daemon is right to read in between: such an attempt says nothing, and the test
makes another.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from openai_proxy.runtime.prepare import SETTLE

ATTEMPTS = 20


class Pace:
    """The longest pause between two steps of a writer, from its making on. Seconds."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self.longest = 0.0

    def step(self) -> None:
        """Something has just been written."""
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now

    @property
    def steady(self) -> bool:
        """No pause was long enough to be taken for a rest."""
        return self.longest < SETTLE


def attempts() -> Iterator[int]:
    """Numbers of attempts, for a test that leaves the loop with its first steady one."""
    yield from range(ATTEMPTS)
    raise AssertionError(f"the machine held up each of {ATTEMPTS} attempts for {SETTLE} s and more")


def written_in_one_go(paths: Iterable[Path]) -> bool:
    """True if the files were last changed one right after another, whoever wrote them."""
    times = sorted(path.stat().st_ctime for path in paths)
    return all(later - earlier < SETTLE for earlier, later in pairwise(times))
