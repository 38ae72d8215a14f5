"""A bounded map is consistent whichever threads use it."""

import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from openai_proxy.bounded_map import BoundedMap


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads that lose the interpreter lock as often as possible."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("restless")
def test_threads_can_share_one() -> None:
    """A large request is translated in a thread, while the event loop uses the same map for others."""
    held: BoundedMap[int] = BoundedMap(max_entries=20, ttl=math.inf)

    def use(start: int) -> None:
        for number in range(start, start + 5000):
            held.put(number % 50, number, number % 7)
            held.get(number * 7 % 50)
            list(held.entries())
            held.pop(number * 3 % 50)

    with ThreadPoolExecutor(3) as threads:
        for done in [threads.submit(use, start) for start in range(3)]:
            done.result()
    assert held.size == sum(value % 7 for _, value, _ in held.entries())
