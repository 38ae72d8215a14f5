"""One timer for all exchanges: it only runs while there is a timeout."""

import asyncio
from collections.abc import Callable
from typing import Any

from openai_proxy.upstream.watch import TICK, Watch


class Clock(asyncio.AbstractEventLoop):
    """A loop with only a clock, which the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[[], object], asyncio.TimerHandle]] = []

    def time(self) -> float:
        return self.now

    def get_debug(self) -> bool:
        return False

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any, context: Any = None) -> Any:
        handle = asyncio.TimerHandle(self.now + delay, callback, args, self)
        self.timers.append((self.now + delay, callback, handle))
        return handle

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        self.timers = [timer for timer in self.timers if timer[2] is not handle]

    def tick(self) -> None:
        """Run the next timer."""
        (self.now, callback, _) = self.timers.pop(0)
        callback()


class Member:
    """Records its checks; leaves when its timeout has passed."""

    def __init__(self, watch: Watch, limit: float = 1e9) -> None:
        self.seen: list[float] = []
        self._watch = watch
        self._limit = limit

    def check(self, now: float) -> None:
        self.seen.append(now)
        if now >= self._limit:
            self._watch.discard(self)


def test_the_timer_does_not_run_without_members() -> None:
    clock = Clock()
    watch = Watch(clock)
    assert not clock.timers
    member = Member(watch)
    watch.add(member)
    watch.add(Member(watch))
    assert len(clock.timers) == 1, "all members must share one timer"
    clock.tick()
    assert member.seen == [100.0 + TICK]
    watch.close()
    assert not clock.timers
    watch.close()


def test_the_timer_stops_when_all_have_left_and_starts_again() -> None:
    clock = Clock()
    watch = Watch(clock)
    member = Member(watch)
    watch.add(member)
    watch.discard(member)
    watch.discard(member)
    clock.tick()
    assert (member.seen, clock.timers) == ([], [])
    watch.add(member)
    clock.tick()
    assert len(member.seen) == 1


def test_members_may_leave_and_join_during_a_check() -> None:
    clock = Clock()
    watch = Watch(clock)
    others = [Member(watch, limit=100.0 + TICK) for _ in range(3)]

    class Follower(Member):
        def check(self, now: float) -> None:
            super().check(now)
            watch.add(late)

    late = Member(watch)
    for member in (*others, Follower(watch)):
        watch.add(member)
    clock.tick()
    clock.tick()
    assert [len(member.seen) for member in others] == [1, 1, 1]
    assert len(late.seen) == 1
    watch.close()


def test_a_closed_watch_forgets_its_members() -> None:
    clock = Clock()
    watch = Watch(clock)
    member = Member(watch)
    watch.add(member)
    watch.close()
    other = Member(watch)
    watch.add(other)
    clock.tick()
    assert (member.seen, len(other.seen)) == ([], 1)
    watch.close()
