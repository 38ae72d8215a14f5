"""Live events reach all watchers, and nobody waits for a watcher."""

import asyncio
from typing import Any

from openai_proxy.records.recording.live_events import MAX_WAITING, MAX_WATCHERS, EventBus, Subscription
from tests.harness.waiting import PATIENCE


async def rest(watch: Subscription) -> list[dict[str, Any]]:
    async with asyncio.timeout(PATIENCE):
        return [event async for event in watch]


async def test_all_watchers_see_all_events() -> None:
    bus = EventBus()
    bus.publish("unseen", {})
    with bus.subscribe() as one, bus.subscribe() as two:
        bus.publish("request", {"id": "r1", "state": "accepted"})
        bus.close()
        for watch in (one, two):
            (event,) = await rest(watch)
            assert (event["kind"], event["id"], event["state"]) == ("request", "r1", "accepted")
            assert event["ts"] > 0


async def test_a_slow_watcher_is_told_that_it_lost_the_oldest_events() -> None:
    bus = EventBus()
    with bus.subscribe() as slow:
        for n in range(MAX_WAITING + 10):
            bus.publish("tick", {"n": n})
        assert bus.dropped == 10
        bus.close()
        events = await rest(slow)
    assert events[0]["kind"] == "dropped"
    assert events[0]["events"] == 11  # the end of the stream also takes a place
    assert events[-1]["n"] == MAX_WAITING + 9


async def test_a_watcher_that_left_is_forgotten() -> None:
    bus = EventBus()
    with bus.subscribe():
        pass
    bus.publish("tick", {})
    assert bus._watchers == set()


async def test_too_many_and_late_watchers_are_refused() -> None:
    bus = EventBus()
    watches = [bus.subscribe() for _ in range(MAX_WATCHERS)]
    assert await rest(bus.subscribe()) == []
    bus.close()
    assert await rest(watches[0]) == []
    assert await rest(bus.subscribe()) == []
