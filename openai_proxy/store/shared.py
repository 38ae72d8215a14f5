"""State shared by several daemons: named records in tables, held in memory by each and replicated through Redis.

A module keeps and uses its data as usual, and reports changes to its table. With `storage: memory` that is all. With a
Redis (`store.redis_link`, imported only then) changes are written a moment later and announced to the other daemons,
and theirs arrive the same way. Of two changes to one record the newer one wins, so whatever happened during an outage
is merged by writing it again; a sum has one record per daemon, which are added up.

Belongs to the event loop. Lives as long as the process.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final, Protocol

log = logging.getLogger(__name__)

MEMORY: Final = "memory"
SOON: Final = 0.01  # seconds during which changes that nobody waits for are collected, to be written together
LATER: Final = 0.1  # the same for sums that are far from a limit: each write costs every daemon half a millisecond
FLUSH: Final = 0.5  # seconds that a request waits until its changes are known to all
MAX_RECORDS: Final = 20_000  # per table

Read = Callable[[str], tuple[Any, float] | None]
"""The present value of a record as plain JSON, and its lifetime in seconds; None if it was removed."""

Take = Callable[[str, Any], None]
"""Another daemon changed a record; None: it was removed. May raise on malformed values."""

Names = Callable[[], Iterable[tuple[str, float]]]
"""All records, and when they were changed (wall clock)."""


class StoreLink(Protocol):
    """The way to the shared store."""

    live: bool

    def wake(self, *, within: float = SOON) -> None:
        """There is something to write, within that many seconds at the latest."""
        ...

    def resync(self) -> None:
        """A table was created late: get what the store has of it."""
        ...

    async def written(self) -> None:
        """Wait until all earlier changes are written."""
        ...

    async def caught_up(self) -> None:
        """Wait until everything that others had written before has been received."""
        ...

    async def fetch(self, table: str, name: str) -> tuple[float, Any] | None:
        """When a record was changed, and its value. Raises the store's errors."""
        ...

    async def gather(self, table: str, wanted: Callable[[str], bool]) -> dict[str, Any] | None:
        """The values of all records whose name is `wanted`; None if the store does not answer."""
        ...

    async def exchange(self, table: str, name: str, prefix: str) -> None:
        """Write one record now and get those of all other daemons whose names begin with `prefix`."""
        ...

    async def aclose(self) -> None:
        """Write what is left, and close."""
        ...


@dataclass(frozen=True, slots=True)
class StorageStatus:
    """The store's part of the status. `state`: memory, shared or alone; `cause`: why it is alone, in words."""

    state: str
    daemons: int = 1
    cause: str | None = None


class SharedTable:
    """Records of one kind. `pushed`: every daemon holds all of them; else they are fetched by name (`fetch`)."""

    def __init__(
        self, shared: "Shared", name: str, *, read: Read, take: Take, names: Names, pushed: bool = True
    ) -> None:
        self.name = name
        self.pushed = pushed
        self.read = read
        self._take = take
        self._names = names
        self._shared = shared
        self.stamps: dict[str, float] = {}  # when each record was changed, as far as known
        self.dirty: dict[str, None] = {}  # what the store does not have yet, oldest first

    @property
    def live(self) -> bool:
        """True while changes reach the other daemons."""
        return self._shared.live

    def changed(self, name: str, *, within: float = SOON) -> None:
        """A record was created, changed or removed here; the others should know within that many seconds."""
        link = self._shared.link
        if link is not None:
            self._stamp(name, max(time.time(), self.stamps.get(name, 0.0) + 1e-6))
            self.dirty[name] = None
            link.wake(within=within)

    def begin(self) -> None:
        """A store is configured from now on: everything may be new to it."""
        for name, at in self._names():
            self._stamp(name, at)
            self.dirty[name] = None

    def end(self) -> None:
        """No store is configured any more."""
        self.stamps.clear()
        self.dirty.clear()

    def receive(self, name: str, at: float, value: Any) -> bool:
        """Apply the store's record if it is newer than the local one; False if it is not."""
        known = self.stamps.get(name)
        if known is not None and known >= at:
            return False
        self._stamp(name, at)
        self.dirty.pop(name, None)
        try:
            self._take(name, value)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("a shared record of %s cannot be read (%s) and is not used", self.name, type(error).__name__)
        return True

    def _stamp(self, name: str, at: float) -> None:
        self.stamps.pop(name, None)
        self.stamps[name] = round(at, 6)  # as rounded in the store
        while len(self.stamps) > MAX_RECORDS:
            oldest = next(iter(self.stamps))
            del self.stamps[oldest]
            self.dirty.pop(oldest, None)

    def settled(self, name: str, at: float) -> None:
        """The store has the record as it was at `at`."""
        if self.stamps.get(name) == at:
            self.dirty.pop(name, None)

    async def fetch(self, name: str) -> None:
        """Get one record from the store. Without a store, or while it is away, nothing happens."""
        link = self._shared.link
        if link is None or not link.live or name in self.dirty:
            return
        found = await link.fetch(self.name, name)
        if found is not None:
            self.receive(name, *found)

    async def gather(self, wanted: Callable[[str], bool]) -> dict[str, Any] | None:
        """The values of all records of this table whose name is `wanted`; None while there is no store."""
        link = self._shared.link
        return await link.gather(self.name, wanted) if link is not None and link.live else None

    async def exchange(self, name: str, prefix: str) -> None:
        """Write one record now, and get what every other daemon has under `prefix`."""
        link = self._shared.link
        if link is not None and link.live:
            await link.exchange(self.name, name, prefix)


class Shared:
    """All tables, and the store behind them. `origin` is this daemon's name among the others, also after a restart."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.tables: dict[str, SharedTable] = {}
        self.link: StoreLink | None = None
        self.status = StorageStatus(MEMORY)
        self._url = MEMORY
        self._loop: asyncio.AbstractEventLoop | None = None
        self.present: frozenset[str] = frozenset()  # the running daemons, according to the store
        self.known = asyncio.Event()  # it is known whether the store answers

    def table(self, name: str, *, read: Read, take: Take, names: Names, pushed: bool = True) -> SharedTable:
        """A table. One that is created late, perhaps by a reload's thread, begins with what the store has."""
        made = self.tables[name] = SharedTable(self, name, read=read, take=take, names=names, pushed=pushed)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._late, made)
        return made

    def _late(self, table: SharedTable) -> None:
        if self.link is not None:
            table.begin()
            self.link.resync()

    def follow(self, url: str) -> None:
        """Share through the store at `url` from now on; `memory`: with nobody."""
        if url == self._url:
            return
        self._url = url
        link, self.link = self.link, None
        if link is not None:
            from openai_proxy.tasks import spawn

            spawn(link.aclose(), name="close the shared store")
        self.known.clear()
        for table in tuple(self.tables.values()):
            table.end()
        if url == MEMORY:
            self.status = StorageStatus(MEMORY)
            return
        from openai_proxy.store.redis_link import RedisLink

        self.status = StorageStatus("alone", cause="it has not answered yet")
        self._loop = asyncio.get_running_loop()
        self.link = made = RedisLink(url, self)
        for table in tuple(self.tables.values()):
            table.begin()
        made.start()

    @property
    def live(self) -> bool:
        """True while changes reach the other daemons."""
        return self.link is not None and self.link.live

    async def ready(self, seconds: float) -> None:
        """Wait, at most that long, until it is known whether the store answers."""
        if self.link is not None:
            await _patiently(self.known.wait(), seconds)

    async def written(self) -> None:
        """Wait briefly until the other daemons know what was changed here."""
        link = self.link
        if link is not None and link.live and any(table.dirty for table in self.tables.values()):
            link.wake(within=0)
            await _patiently(link.written(), FLUSH)

    async def caught_up(self) -> None:
        """Wait briefly until the others' changes are known here."""
        link = self.link
        if link is not None and link.live:
            await _patiently(link.caught_up(), FLUSH)

    async def aclose(self) -> None:
        """Write what is left, and close the store."""
        link, self.link = self.link, None
        if link is not None:
            await link.aclose()


async def _patiently(waiting: Any, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await waiting
    except TimeoutError:
        return
