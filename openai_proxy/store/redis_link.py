"""The link between the tables of this daemon and a Redis: written behind, told at once, merged after an outage.

connect → subscribe → take what is newer there → write what is newer here → write and take as things change. Whatever
fails, this daemon goes on alone with what it has, says so once, and begins again. Redis forgetting everything is no
harm either: what each daemon holds is written again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

from openai_proxy.store.shared import MAX_RECORDS, Shared, SharedTable, StorageStatus
from openai_proxy.tasks import cancel, spawn

if TYPE_CHECKING:  # imported when a Redis is configured, in a thread
    from openai_proxy.store.redis_client import RecordChange, RedisClient

log = logging.getLogger(__name__)

GATHER: Final = 0.01  # seconds in which changes nobody waits for are written together
HEARTBEAT: Final = 2.0  # seconds between two signs of life
TIDY: Final = 60.0
FIRST_PAUSE: Final = 0.25  # seconds until a store that failed is asked again, doubled each time
LONGEST_PAUSE: Final = 5.0
BATCH: Final = 500
REMOVED: Final = 3600.0  # seconds for which it is remembered that a record is gone
LAST_WORDS: Final = 1.0  # seconds for what is unwritten at the end


class RedisLink:
    """See `store.shared.StoreLink`."""

    def __init__(self, url: str, shared: Shared) -> None:
        self.live = False
        self._url = url
        self._shared = shared
        self._client: RedisClient | None = None
        self._task: asyncio.Task[None] | None = None
        self._awake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []  # for all to be written
        self._pings: dict[str, asyncio.Future[None]] = {}  # for all to be taken
        self._asked = 0
        self._told: str | None = None  # the last words about an outage
        self._since = 0.0  # when it began
        self._new_tables = False
        self._loaded = False

    def start(self) -> None:
        """Connect, and stay connected."""
        self._since = time.monotonic()
        self._task = spawn(self._run(), name="shared state")

    def wake(self, *, urgent: bool = False) -> None:
        """See `StoreLink`."""
        self._awake.set()
        if urgent:
            self._urgent.set()

    def resync(self) -> None:
        """A table was made late: take what the store has of it."""
        self._new_tables = True
        self._awake.set()

    async def written(self) -> None:
        """See `StoreLink`."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.wake(urgent=True)
        await waiting

    async def caught_up(self) -> None:
        """See `StoreLink`."""
        client = self._client
        if client is None or not self.live:
            return
        self._asked += 1
        word = str(self._asked)
        waiting = self._pings[word] = asyncio.get_running_loop().create_future()
        try:
            await client.ping(word)
            await waiting
        except _failures():
            return  # the reader fails too, and says so
        finally:
            self._pings.pop(word, None)

    async def fetch(self, table: str, name: str) -> tuple[float, Any] | None:
        """See `StoreLink`; what the store cannot tell now is as if it were not there."""
        assert self._client is not None
        with contextlib.suppress(*_failures()):
            found = await self._client.fetch(table, name)
            return None if found is None else (found.at, found.value)
        return None

    async def gather(self, table: str, wanted: Callable[[str], bool]) -> dict[str, Any] | None:
        """See `StoreLink`."""
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
        """See `StoreLink`."""
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
        """See `StoreLink`."""
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
        daemons = await client.present()
        await self._merge(client)
        self._found(daemons)
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

    def _found(self, daemons: int) -> None:
        self.live = True
        self._shared.status = StorageStatus("shared", daemons)
        self._shared.known.set()
        others = "no other daemon" if daemons < 2 else "1 other daemon" if daemons == 2 else f"{daemons - 1} others"
        if self._told is None:
            log.info("storage: redis answers; state is shared with %s", others)
        else:
            away = time.monotonic() - self._since
            log.info(
                "storage: redis answers again after %.0f s; what happened meanwhile is shared with %s", away, others
            )
        self._told = None

    def _lost(self, error: Exception) -> None:
        if self.live:
            self._since = time.monotonic()
        self.live = False
        why = _words(error)
        self._shared.status = StorageStatus("alone", cause=why)
        self._shared.known.set()
        if why != self._told:
            self._told = why
            log.warning("storage: redis cannot be used (%s); this daemon counts for itself until it can", why)

    def _end(self) -> None:
        self.live = False
        for waiting in (*self._waiting, *self._pings.values()):
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    # -- what goes in and out ---------------------------------------------------------------------------------------

    async def _merge(self, client: RedisClient) -> None:
        """Take what is newer there; what is newer here, or unknown there, is written."""
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
        """Write what is unwritten now; what changes meanwhile is gathered for the next time."""
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
            if not self._waiting:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GATHER):
                        await self._urgent.wait()
            self._awake.clear()
            self._urgent.clear()
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
            news = await client.news(HEARTBEAT)
            silent = silent + 1 if news is None else 0
            if news is None:
                if silent > 2:
                    raise TimeoutError
                await client.ping("alive")  # the channel may be broken without a sign
            elif not news.table:
                waiting = self._pings.get(news.name)
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)
            elif news.origin != own and news.table in tables:
                tables[news.table].receive(news.name, news.at, news.value)

    async def _stay(self, client: RedisClient) -> None:
        tidied = time.monotonic()
        while True:
            await asyncio.sleep(HEARTBEAT)
            daemons = await client.present()
            self._shared.status = StorageStatus("shared", daemons)
            if time.monotonic() - tidied > TIDY:
                tidied = time.monotonic()
                await client.tidy(self._shared.tables, MAX_RECORDS)


async def _failure(working: Coroutine[Any, Any, None]) -> Exception:
    """What ended `working`, which has no end of its own."""
    try:
        await working
    except Exception as error:
        return error
    raise AssertionError("the work on shared state has no end")


def _load() -> None:
    pass


def _failures() -> tuple[type[Exception], ...]:
    from openai_proxy.store.redis_client import StoreFailure

    return (StoreFailure, TimeoutError)


def _words(error: Exception) -> str:
    if isinstance(error, ImportError):
        return "the package is missing: pip install 'openai-proxy[redis]'"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return str(error) or type(error).__name__
