"""Links this daemon's tables to a Redis: written in the background, announced at once, merged after outages.

connect → subscribe → get what is newer there → write what is newer here → write and get changes as they happen. If
anything fails, this daemon continues alone with what it has, logs that once, and retries. If Redis loses everything, no
harm is done: each daemon writes what it has again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from openai_proxy.store.shared import MAX_RECORDS, SOON, Shared, SharedTable, StorageStatus
from openai_proxy.tasks import cancel, spawn

if TYPE_CHECKING:  # imported when a Redis is configured, in a thread
    from openai_proxy.store.redis_client import RecordChange, RedisClient

log = logging.getLogger(__name__)

HEARTBEAT: Final = 2.0  # seconds between two signs of life
TIDY: Final = 60.0
FIRST_PAUSE: Final = 0.25  # seconds until a failed store is retried, doubled each time
LONGEST_PAUSE: Final = 5.0
BATCH: Final = 500
REMOVED: Final = 3600.0  # seconds for which a removed record is remembered
LAST_WORDS: Final = 1.0  # seconds for unwritten changes at the end


class RedisLink:
    """See `store.shared.StoreLink`."""

    def __init__(self, url: str, shared: Shared) -> None:
        self.live = False
        self._url = url
        self._shared = shared
        self._client: RedisClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None  # wakes the writer
        self._waiting: list[asyncio.Future[None]] = []  # everything has been written
        self._pings: dict[str, asyncio.Future[None]] = {}  # everything has been received
        self._ping_number = 0
        self._reported: str | None = None  # what was last logged about an outage
        self._since = 0.0  # when the outage began
        self._new_tables = False
        self._loaded = False

    def start(self) -> None:
        """Connect, and stay connected."""
        self._since = time.monotonic()
        self._loop = asyncio.get_running_loop()
        self._task = spawn(self._run(), name="shared state")

    def wake(self, *, within: float = SOON) -> None:
        if not within:
            self._awake.set()
            return
        due, timer = self._loop.time() + within, self._timer
        if timer is None or due < timer.when():
            if timer is not None:
                timer.cancel()
            self._timer = self._loop.call_at(due, self._awake.set)

    def resync(self) -> None:
        """A table was created late: get what the store has of it."""
        self._new_tables = True
        self._awake.set()

    async def written(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.wake(within=0)
        await waiting

    async def caught_up(self) -> None:
        client = self._client
        if client is None or not self.live:
            return
        self._ping_number += 1
        word = str(self._ping_number)
        waiting = self._pings[word] = asyncio.get_running_loop().create_future()
        try:
            await client.ping(word)
            await waiting
        except _failures():
            return  # the reader fails as well, and reports it
        finally:
            self._pings.pop(word, None)

    async def fetch(self, table: str, name: str) -> tuple[float, Any] | None:
        """See `StoreLink`; what the store cannot answer now counts as missing."""
        assert self._client is not None
        with contextlib.suppress(*_failures()):
            found = await self._client.fetch(table, name)
            return None if found is None else (found.at, found.value)
        return None

    async def gather(self, table: str, wanted: Callable[[str], bool]) -> dict[str, Any] | None:
        client = self._client
        if client is not None:
            with contextlib.suppress(*_failures()):
                return {
                    record.name: record.value
                    async for page in client.read(table, wanted)
                    for record in page
                    if record.value is not None
                }
        return None

    async def exchange(self, table: str, name: str, prefix: str) -> None:
        client, known = self._client, self._shared.tables[table]
        if client is None:
            return
        change = self._change(known, name)
        with contextlib.suppress(*_failures()):
            found = await client.exchange(change, prefix)
            known.settled(name, change.at)
            for record in found:
                if record.name != name:
                    known.receive(*record)

    async def aclose(self) -> None:
        if self.live and any(table.dirty for table in self._shared.tables.values()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self.written()
        await cancel(self._task)
        self._end()

    # -- the life of the link ---------------------------------------------------------------------------------------

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._live()
            except Exception as error:
                if not isinstance(error, _failures() if self._loaded else ImportError):
                    log.exception("the shared state failed")
                pause = FIRST_PAUSE if self.live else min(pause * 2, LONGEST_PAUSE)
                self._lost(error)
            finally:
                client, self._client = self._client, None
                self._end()
                if client is not None:
                    await client.aclose()
            await asyncio.sleep(pause)

    async def _live(self) -> None:
        if not self._loaded:
            await asyncio.get_running_loop().run_in_executor(None, _load)
            self._loaded = True
        from openai_proxy.store.redis_client import RedisClient

        client = self._client = await RedisClient.open(self._url, self._shared.origin)
        present = await client.present()
        await self._merge(client)
        self._found(present)
        tasks = [
            spawn(_failure(self._take(client)), name="shared state: take"),
            spawn(_failure(self._write(client)), name="shared state: write"),
            spawn(_failure(self._stay(client)), name="shared state: stay"),
        ]
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await cancel(*tasks)
        raise ended.pop().result()

    def _found(self, present: frozenset[str]) -> None:
        self.live = True
        daemons = self._report(present)
        self._shared.known.set()
        others = "no other daemon" if daemons < 2 else "1 other daemon" if daemons == 2 else f"{daemons - 1} others"
        if self._reported is None:
            log.info("storage: redis answers; state is shared with %s", others)
        else:
            away = time.monotonic() - self._since
            log.info(
                "storage: redis answers again after %.0f s; changes made meanwhile are shared with %s", away, others
            )
        self._reported = None

    def _report(self, present: frozenset[str]) -> int:
        self._shared.present = present
        self._shared.status = StorageStatus("shared", len(present))
        return len(present)

    def _lost(self, error: Exception) -> None:
        if self.live:
            self._since = time.monotonic()
        self.live = False
        why = _words(error)
        self._shared.present = frozenset()
        self._shared.status = StorageStatus("alone", cause=why)
        self._shared.known.set()
        if why != self._reported:
            self._reported = why
            log.warning("storage: redis cannot be used (%s); this daemon counts for itself until it can", why)

    def _end(self) -> None:
        self.live = False
        for waiting in (*self._waiting, *self._pings.values()):
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    # -- what goes in and out ---------------------------------------------------------------------------------------

    async def _merge(self, client: RedisClient) -> None:
        """Get what is newer there, and write what is newer here, or unknown there."""
        for table in list(self._shared.tables.values()):
            missing = dict(table.stamps)
            if not table.pushed:
                for name in await client.names(table.name):
                    if name not in table.dirty:
                        missing.pop(name, None)
            else:
                async for page in client.read(table.name):
                    for record in page:
                        table.receive(*record)
                        if missing.get(record.name, 0.0) <= record.at:
                            missing.pop(record.name, None)
            table.dirty.update(dict.fromkeys(missing))
        await client.tidy(self._shared.tables, MAX_RECORDS)
        await self._flush(client)

    async def _flush(self, client: RedisClient) -> None:
        """Write what is unwritten now; changes made meanwhile are collected for the next time."""
        unwritten = [(table, name) for table in tuple(self._shared.tables.values()) for name in table.dirty]
        for first in range(0, len(unwritten), BATCH):
            batch = [self._change(*one) for one in unwritten[first : first + BATCH] if one[1] in one[0].dirty]
            await client.write(batch)
            for change in batch:
                self._shared.tables[change.table].settled(change.name, change.at)

    def _change(self, table: SharedTable, name: str) -> RecordChange:
        from openai_proxy.store.redis_client import RecordChange

        at = table.stamps.setdefault(name, time.time())
        present = table.read(name)
        value, ttl = present if present is not None else (None, REMOVED)
        return RecordChange(table.name, name, at, ttl, value, table.pushed or value is None)

    async def _write(self, client: RedisClient) -> None:
        while True:
            await self._awake.wait()
            self._awake.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if self._new_tables:
                self._new_tables = False
                await self._merge(client)
            waiting, self._waiting = self._waiting, []
            try:
                await self._flush(client)
            finally:
                for one in waiting:
                    if not one.done():
                        one.set_result(None)

    async def _take(self, client: RedisClient) -> None:
        tables, own = self._shared.tables, self._shared.origin
        silent = 0
        while True:
            notification = await client.notification(HEARTBEAT)
            silent = silent + 1 if notification is None else 0
            if notification is None:
                if silent > 2:
                    raise TimeoutError
                await client.ping("alive")  # the channel may have failed silently
            elif not notification.table:
                waiting = self._pings.get(notification.name)
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
            elif notification.origin != own and notification.table in tables:
                tables[notification.table].receive(notification.name, notification.at, notification.value)

    async def _stay(self, client: RedisClient) -> None:
        tidied = time.monotonic()
        while True:
            await asyncio.sleep(HEARTBEAT)
            self._report(await client.present())
            if time.monotonic() - tidied > TIDY:
                tidied = time.monotonic()
                await client.tidy(self._shared.tables, MAX_RECORDS)


async def _failure(working: Coroutine[Any, Any, None]) -> Exception:
    """The error that ended `working`, which never ends otherwise."""
    try:
        await working
    except Exception as error:
        return error
    raise AssertionError("a task of the shared state ended without an error")


def _load() -> None:
    pass


def _failures() -> tuple[type[Exception], ...]:
    from openai_proxy.store.redis_client import StoreFailure

    return (StoreFailure, TimeoutError)


def _words(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "the package is missing: in a clone, pip install '.[redis]'"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return str(error) or type(error).__name__
