"""One request to the child, from its turn in the queue until the next one's turn."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from openai_proxy.errors import UpstreamDisconnected, UpstreamTimeout, UpstreamTruncated
from openai_proxy.tasks import spawn
from openai_proxy.upstream.local.process import WorkerProcess

CANCEL_GRACE: Final = 3.0
"""Seconds that a child has to stop after a cancel; a token takes far less. A function that does not yield is killed."""


class Job:
    """Owns the child until it is `finished`, and returns it exactly once through `release`."""

    def __init__(self, number: int, release: Callable[[], None], start: Callable[[], Awaitable[WorkerProcess]]) -> None:
        self._number = number
        self._release: Callable[[], None] | None = release
        self._start = start
        self._process: WorkerProcess | None = None
        self._is_sent = False

    async def begin(self, body: dict[str, Any], limit: float | None) -> dict[str, Any]:
        """Send the request; returns the first event within `limit` seconds, else raises UpstreamTimeout.

        A child that dies before its first event is restarted, once: the previous request may have killed it.
        """
        try:
            async with asyncio.timeout(limit):
                for again in (True, False):
                    try:
                        self._process = await self._start()
                        self._is_sent = True
                        await self._process.send({"op": "generate", "id": self._number, "body": body})
                        if (event := await self._next()) is not None:
                            return event
                    except UpstreamDisconnected:
                        if not again:
                            raise
                raise UpstreamDisconnected("The local model ended unexpectedly.")
        except TimeoutError:
            raise UpstreamTimeout("The local model took too long to answer.") from None

    async def more(self, limit: float | None) -> dict[str, Any]:
        """The next event. Raises UpstreamTimeout, and UpstreamTruncated if the child has died."""
        try:
            async with asyncio.timeout(limit):
                event = await self._next()
        except TimeoutError:
            raise UpstreamTimeout("The local model stopped in the middle of its answer.") from None
        if event is None:
            raise UpstreamTruncated("The local model broke off in the middle of its answer.")
        return event

    async def _next(self) -> dict[str, Any] | None:
        assert self._process is not None
        while True:
            event = await self._process.events.get()
            if event is None:
                self._is_sent = False
                self._process.kill()
                return None
            if event.get("id") == self._number or event.get("event") == "failed":
                if event["event"] != "delta":
                    self._is_sent = False
                    self._give_back()
                return event

    def close(self) -> None:
        """The answer is no longer wanted (or was read to its end). Idempotent."""
        if self._release is None:
            return
        if self._is_sent and self._process is not None:
            self._is_sent = False
            spawn(self._stop(self._process), name="cancel a local answer")
        else:
            self._give_back()

    async def _stop(self, process: WorkerProcess) -> None:
        try:
            async with asyncio.timeout(CANCEL_GRACE):
                await process.send({"op": "cancel", "id": self._number})
                while (event := await process.events.get()) is not None:
                    if event.get("id") == self._number and event["event"] != "delta":
                        break
        except (TimeoutError, UpstreamDisconnected):
            process.kill()
        finally:
            self._give_back()

    def _give_back(self) -> None:
        release, self._release = self._release, None
        if release is not None:
            release()
