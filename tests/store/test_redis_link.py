"""The link to a store, as far as it needs none: when changes are written."""

import asyncio

from openai_proxy.store.redis_link import RedisLink
from openai_proxy.store.shared import Shared
from openai_proxy.tasks import cancel


async def test_the_most_urgent_change_decides_when_all_are_written() -> None:
    link = RedisLink("redis://127.0.0.1:1", Shared("me"))
    link.start()
    assert link._task is not None
    try:
        link.wake(within=60)
        assert link._timer is not None
        late = link._timer.when()
        link.wake(within=90)
        assert link._timer.when() == late, "a less urgent change must not postpone the write"
        link.wake(within=30)
        assert link._timer.when() < late
        assert not link._awake.is_set()
        link.wake(within=0)
        assert link._awake.is_set()
    finally:
        await cancel(link._task)
        await asyncio.sleep(0)
