"""Live events for everyone who is watching at the moment.

A watcher that does not keep up loses its oldest events, and gets their number; nobody else is affected. Belongs to the
event loop; `publish` costs one comparison while nobody watches.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from openai_proxy.exchange import Exchange

MAX_WAITING = 256  # events that may wait for a watcher
MAX_WATCHERS = 32


class Subscription:
    """One watcher's events, oldest first: an async iterator that ends when the bus closes."""

    def __init__(self, bus: "EventBus") -> None:
        self.dropped = 0  # events lost since the last one that was read
        self._bus = bus
        self._queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue(MAX_WAITING)

    def offer(self, event: dict[str, Any] | None) -> None:
        """Queue one event, dropping the oldest if necessary; None ends the iteration."""
        if self._queue.full():
            self._queue.get_nowait()
            self.dropped += 1
            self._bus.dropped += 1
        self._queue.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[dict[str, Any]]:
        while True:
            event = await self._queue.get()
            if event is None:
                return
            if self.dropped:
                lost, self.dropped = self.dropped, 0
                yield {"kind": "dropped", "ts": time.time(), "events": lost}
            yield event

    def __enter__(self) -> "Subscription":
        return self

    def __exit__(self, *_: object) -> None:
        self._bus.forget(self)


class EventBus:
    """Passes each event to all watchers. `dropped` counts those lost by slow ones."""

    def __init__(self) -> None:
        self.dropped = 0
        self.watched = False
        """True while somebody watches: check this before building an expensive event."""
        self._watchers: set[Subscription] = set()
        self._closed = False

    def publish(self, kind: str, data: dict[str, Any]) -> None:
        """Inform all watchers: {"kind", "ts" (seconds since the epoch), **data}. Never blocks, never raises."""
        if not self._watchers:
            return
        event = {"kind": kind, "ts": time.time(), **data}
        for watcher in self._watchers:
            watcher.offer(event)

    def subscribe(self) -> Subscription:
        """Watch from now on; use as a context manager. Past MAX_WATCHERS the iteration ends at once."""
        found = Subscription(self)
        if self._closed or len(self._watchers) >= MAX_WATCHERS:
            found.offer(None)
        else:
            self._watchers.add(found)
            self.watched = True
        return found

    def forget(self, subscription: Subscription) -> None:
        """Remove a watcher."""
        self._watchers.discard(subscription)
        self.watched = bool(self._watchers)

    def close(self) -> None:
        """End every iteration: the daemon is stopping."""
        self._closed = True
        for watcher in self._watchers:
            watcher.offer(None)
        self._watchers.clear()
        self.watched = False


def ended(exchange: Exchange) -> dict[str, Any]:
    """What live events report about a finished request."""
    return {
        "id": exchange.id,
        "state": "end",
        "model": exchange.model,
        "connection": exchange.connection,
        "outcome": str(exchange.outcome),
        "status": exchange.status,
        "error": exchange.error_code,
        "seconds": round(time.monotonic() - exchange.started, 3),
        "attempts": [attempt.summary() for attempt in exchange.attempts],
    }
