"""How the work of a function grows with its input, told without looking at the clock on the wall."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil

DOUBLINGS = 4
"""The larger input has 2**4 times the smaller one's size: linear work grows by 16, quadratic by 256."""

ALLOWED = 4.0
"""Times more than linear the growth may be: caches, allocations, n log n. Quadratic work would be 16 times more."""

_LEAST = 0.3e-3  # seconds of processor time below which a measurement says nothing
_TRIES = 4


def processor_time(work: Callable[[], object]) -> float:
    """Seconds this thread computed; what others do on a busy machine does not count."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def growth(run: Callable[[Any], object], make: Callable[[int], Any], size: int) -> float:
    """How much more work `run` is than linear when its input `make(size)` doubles DOUBLINGS times; 1 is linear.

    The best of a few measurements: a slow one is an accident, a fast one is none.
    """
    small, large = make(size), make(size << DOUBLINGS)
    found: list[float] = []
    for _ in range(_TRIES):
        base = max(min(processor_time(lambda: run(small)) for _ in range(3)), _LEAST)
        found.append(processor_time(lambda: run(large)) / base / 2**DOUBLINGS)
        if found[-1] <= ALLOWED:
            break
    return min(found)


def computed_by(pid: int) -> float:
    """Seconds of processor time a process has had so far, in all of its threads."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def pieces_of(data: bytes, size: int = 4096) -> Iterable[bytes]:
    """`data` as a socket brings it."""
    return (data[start : start + size] for start in range(0, len(data), size))
