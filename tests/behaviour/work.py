"""Measures how the work of a function grows with its input, without wall-clock time."""

import time
from collections.abc import Callable, Iterable
from typing import Any

import psutil

DOUBLINGS = 4
"""The larger input has 2**4 times the smaller one's size: linear work grows by 16, quadratic by 256."""

ALLOWED = 4.0
"""The growth may exceed linear growth by this factor: caches, allocations, n log n. Quadratic work would be 16."""

_LEAST = 0.3e-3  # seconds of processor time below which a measurement says nothing
_TRIES = 4


def processor_time(work: Callable[[], object]) -> float:
    """Seconds of processor time of this thread; other work on a busy machine does not count."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def growth(run: Callable[[Any], object], make: Callable[[int], Any], size: int) -> float:
    """How much the work of `run` exceeds linear growth if its input `make(size)` doubles DOUBLINGS times; 1 is linear.

    The best of a few measurements: one may be slow by accident, but not fast.
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
    """Seconds of processor time that a process has used so far, in all its threads."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def pieces_of(data: bytes, size: int = 4096) -> Iterable[bytes]:
    """`data` in pieces, as from a socket."""
    return (data[start : start + size] for start in range(0, len(data), size))
