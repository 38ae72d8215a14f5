"""Waiting in line in front of a connection that takes few requests at a time (`concurrency`).

A small machine answers one request quickly and five slowly: without a line a batch in the background makes a person
wait. High priority goes before normal, normal before low; first come, first served within. A place is held until the
answer's last byte, and given up with the answer, whatever ends it.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from openai_proxy.exchange import Exchange, Headers, UpstreamResponse

Publish = Callable[[str, dict[str, Any]], None]
"""Tells watchers of the daemon that something has happened: a kind of event and its members."""


def unheard(kind: str, members: dict[str, Any]) -> None:
    """Nobody watches."""


class QueuePlace:
    """One request's turn on a connection."""

    __slots__ = ("_line",)

    def __init__(self, line: "Line") -> None:
        self._line: Line | None = line

    def leave(self) -> None:
        """The next one may begin. Idempotent."""
        line, self._line = self._line, None
        if line is not None:
            line.left()


class Line:
    """The line in front of one connection."""

    def __init__(self, connection: str, limit: int, publish: Publish) -> None:
        self._connection = connection
        self._publish = publish
        self._limit: int | None = limit
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many stand in line."""
        return sum(not turn.done() for _, _, turn in self._waiting)

    def resize(self, limit: int | None) -> None:
        """Take so many at a time from now on; None: all who come."""
        self._limit = limit
        self._let_in()

    async def enter(self, exchange: Exchange) -> QueuePlace:
        """Wait for a place. `exchange` tells its priority, and learns how long it took."""
        if self._free() and not self.waiting:
            self.running += 1
            return QueuePlace(self)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (exchange.priority, next(self._numbers), turn))
        began = time.monotonic()
        exchange.state = "queued"
        self._say(exchange, "waiting")
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.left()  # its turn came as it gave up
            raise
        finally:
            exchange.queued += time.monotonic() - began
            self._say(exchange, "left")
        exchange.state = "waiting"
        exchange.notes.append(f"waited {exchange.queued:.1f} s in line for '{self._connection}'")
        return QueuePlace(self)

    def left(self) -> None:
        """A place has become free."""
        self.running -= 1
        self._let_in()

    def _free(self) -> bool:
        return self._limit is None or self.running < self._limit

    def _let_in(self) -> None:
        while self._waiting and self._free():
            _, _, turn = heapq.heappop(self._waiting)
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    def _say(self, exchange: Exchange, what: str) -> None:
        self._publish(
            "queue",
            {
                "connection": self._connection,
                "request_id": exchange.id,
                "state": what,
                "waiting": self.waiting,
                "running": self.running,
            },
        )


class ConnectionQueues:
    """The lines of all connections that have one. Lives as long as the process: an edit leaves nobody behind."""

    def __init__(self, publish: Publish = unheard) -> None:
        self._publish = publish
        self._lines: dict[str, Line] = {}

    def follow(self, limits: Mapping[str, int | None]) -> None:
        """Make `limits`, by connection, those that hold."""
        for name, line in list(self._lines.items()):
            if limits.get(name) is None:
                line.resize(None)
                del self._lines[name]
        for name, limit in limits.items():
            if limit is None:
                continue
            if name in self._lines:
                self._lines[name].resize(limit)
            else:
                self._lines[name] = Line(name, limit, self._publish)

    def get(self, connection: str) -> Line | None:
        """The line of `connection`, if it has one."""
        return self._lines.get(connection)


class HeldResponse:
    """An answer that holds a place: it is given up with the last byte, a failure, or the answer itself."""

    def __init__(self, response: UpstreamResponse, place: QueuePlace) -> None:
        self._response = response
        self._place = place

    @property
    def status(self) -> int:
        """See UpstreamResponse."""
        return self._response.status

    @property
    def reason(self) -> str:
        """See UpstreamResponse."""
        return self._response.reason

    @property
    def headers(self) -> Headers:
        """See UpstreamResponse."""
        return self._response.headers

    async def chunk(self) -> bytes:
        """See UpstreamResponse."""
        try:
            data = await self._response.chunk()
        except Exception:
            self._place.leave()
            raise
        if not data:
            self._place.leave()
        return data

    async def read(self, limit: int) -> bytes:
        """See UpstreamResponse."""
        try:
            return await self._response.read(limit)
        finally:
            self._place.leave()

    def close(self) -> None:
        """See UpstreamResponse."""
        self._response.close()
        self._place.leave()
