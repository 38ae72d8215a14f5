"""How steadily a test wrote: only files written without a pause count as one edit.

The daemon considers files finished if they have not changed for SETTLE seconds, and reads them as they are after
MAX_SETTLE. On a busy machine a writer may pause or take longer than that, and then the daemon is right to read them:
such an attempt is meaningless, and the test makes another one.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from openai_proxy.runtime.prepare import SETTLE
from openai_proxy.runtime.reload import MAX_SETTLE

ATTEMPTS = 20


class Pace:
    """The longest pause between two steps of a writer since its creation, in seconds."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self.longest = 0.0

    def step(self) -> None:
        """Something has just been written."""
        now = time.monotonic()
        self.longest, self._last = max(self.longest, now - self._last), now

    @property
    def steady(self) -> bool:
        """True if the writer neither paused nor took so long that the files were read before it was done."""
        return self.longest < SETTLE and self._last - self._began < MAX_SETTLE


def attempts() -> Iterator[int]:
    """Numbers of attempts, for a test that ends the loop after its first steady one."""
    yield from range(ATTEMPTS)
    raise AssertionError(f"the machine held up each of {ATTEMPTS} attempts for {SETTLE} s and more")


def written_in_one_go(paths: Iterable[Path]) -> bool:
    """True if the files were last changed one right after another, by any process."""
    times = sorted(path.stat().st_ctime for path in paths)
    return all(later - earlier < SETTLE for earlier, later in pairwise(times))
