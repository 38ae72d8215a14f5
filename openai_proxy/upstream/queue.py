"""The queue of a connection that serves few requests at a time (`concurrency`).

A small machine answers one request quickly and five slowly: without a queue, a batch in the background makes people
wait. High priority goes before normal, normal before low, first come first served within each. A place is held until
the answer's last byte, and released with the answer, however it ends.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any

from openai_proxy.exchange import Exchange, UpstreamResponse
from openai_proxy.upstream.wrapped import WrappedResponse

Publish = Callable[[str, dict[str, Any]], None]
"""Publishes an event to those who watch the daemon: its kind and its members."""


def publish_nothing(kind: str, members: dict[str, Any]) -> None:
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
    """The queue of one connection."""

    def __init__(self, connection: str, limit: int, publish: Publish) -> None:
        self._connection = connection
        self._publish = publish
        self._limit: int | None = limit
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []  # a heap
        self.running = 0

    @property
    def waiting(self) -> int:
        """How many are waiting."""
        return sum(not turn.done() for _, _, turn in self._waiting)

    def resize(self, limit: int | None) -> None:
        """The maximum number at a time from now on; None: no limit."""
        self._limit = limit
        self._let_in()

    async def enter(self, exchange: Exchange) -> QueuePlace:
        """Wait for a place. `exchange` has the priority, and records the time spent waiting."""
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
                self.left()  # its turn came while it gave up
            else:
                self._forget()
            raise
        finally:
            exchange.queued += time.monotonic() - began
            self._say(exchange, "left")
        exchange.state = "waiting"
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

    def _forget(self) -> None:
        """Remove those who gave up, if they are more than half: behind a long request they would stay until its end."""
        if 2 * self.waiting < len(self._waiting):
            self._waiting = [entry for entry in self._waiting if not entry[2].done()]
            heapq.heapify(self._waiting)

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
    """The queues of all connections that have one. Lives as long as the process: an edit keeps waiting requests."""

    def __init__(self, publish: Publish = publish_nothing) -> None:
        self._publish = publish
        self._lines: dict[str, Line] = {}

    def follow(self, limits: Mapping[str, int | None]) -> None:
        """Apply `limits`, by connection."""
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
        """The queue of `connection`, if it has one."""
        return self._lines.get(connection)


class HeldResponse(WrappedResponse):
    """An answer that holds a place, released with the last byte, a failure, or the answer itself."""

    def __init__(self, response: UpstreamResponse, place: QueuePlace) -> None:
        super().__init__(response)
        self._place = place

    async def chunk(self) -> bytes:
        """See exchange.UpstreamResponse."""
        try:
            data = await self._response.chunk()
        except Exception:
            self._place.leave()
            raise
        if not data:
            self._place.leave()
        return data

    def close(self) -> None:
        """See exchange.UpstreamResponse."""
        super().close()
        self._place.leave()
