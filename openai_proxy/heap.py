"""Gives freed memory back to the system after large requests.

GNU's C library keeps freed memory between pieces that are still in use, and at the end of the heap of each thread:
after one request of 99 MB in 47,000 parts the daemon kept 500 MB, after a few more 900. `malloc_trim` gives back the
former (https://man7.org/linux/man-pages/man3/malloc_trim.3.html). It takes some 60 ms of a thread, without the
interpreter lock. How much of the latter is kept grows with the sizes that are freed, up to 64 MB for each thread, until
it is set (https://man7.org/linux/man-pages/man3/mallopt.3.html). With other C libraries nothing is done.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

AFTER: Final = 2.0
"""Seconds after the end of a large request, in which what its record needed is freed, too."""

KEPT: Final = 4 << 20
"""Bytes at the end of a heap that are kept. With 128 KiB, freeing 100 MB in pieces takes five times as long."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def bound() -> None:
    """Let no thread keep more than KEPT at the end of its heap; what is larger is not in a heap at all."""
    import ctypes  # 1 MB, which only large requests need

    with suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_TRIM_THRESHOLD, KEPT)
        mallopt(_M_MMAP_THRESHOLD, KEPT)


def trim() -> None:
    """Give back what is free. For a thread."""
    import ctypes

    with suppress(AttributeError, OSError):
        malloc_trim = ctypes.CDLL(None).malloc_trim  # unlike `pythonapi`, it releases the interpreter lock
        malloc_trim(ctypes.c_size_t(0))


class Heap:
    """The memory of the process. `bound` limits what is kept of it, `trim` gives back what is free."""

    def __init__(
        self,
        bound: Callable[[], None] = bound,
        trim: Callable[[], None] = trim,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bound = bound
        self._bounded = False
        self._trim = trim
        self._clock = clock
        self._due: float | None = None

    def large_request_begins(self) -> None:
        """Something large is about to be read."""
        if not self._bounded:
            self._bounded = True
            self._bound()

    def large_request_ended(self) -> None:
        """What it needed is free, or about to be."""
        if self._due is None:  # not later for a second one: requests may never pause
            self._due = self._clock() + AFTER

    def settle(self, _now: bool) -> float | None:
        """Give memory back if it is time; a chore of the recorder's thread, which returns seconds until it is due.

        Not earlier if everything must be done now: that is about what must be written.
        """
        if self._due is None:
            return None
        left = self._due - self._clock()
        if left > 0:
            return left
        self._due = None
        self._trim()
        return None


heap: Final = Heap()
