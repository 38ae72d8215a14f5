"""The provider's side of a turn: answers are requested and read one at a time, and always released."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final, TypeVar

from openai_proxy.agent.deadline import Deadline
from openai_proxy.agent.refusal import UpstreamRefused, refusal
from openai_proxy.agent.turn import Ask
from openai_proxy.dialects.chat.read_answer import ChunkReader
from openai_proxy.errors import ProxyError, UpstreamError
from openai_proxy.exchange import UpstreamResponse
from openai_proxy.tasks import spawn
from openai_proxy.upstream.answers import ChunkSource

TRAILER: Final = 5.0
"""Seconds after the finish_reason in which usage and [DONE] may still arrive; the answer itself is complete."""

_DRAIN: Final = 1.0  # seconds for the end of a whole answer's framing

Chunks = list[dict[str, Any]]
Failed = ProxyError | UpstreamRefused
T = TypeVar("T")


class Asking:
    """Sends the requests of one turn and reads their answers."""

    def __init__(self, ask: Ask, deadline: Deadline) -> None:
        self._ask = ask
        self._deadline = deadline
        self._response: UpstreamResponse | None = None
        self._reader: ChunkSource | None = None

    async def open(self, body: dict[str, Any]) -> UpstreamResponse:
        """Send; returns when a 2xx head has arrived. Raises ProxyError, and UpstreamRefused for any other answer."""
        return await self._within(self._open(body))

    async def open_and_read(self, body: dict[str, Any]) -> Chunks:
        """Send, and read the first piece of the answer."""
        await self.open(body)
        return await self.read()

    async def read(self) -> Chunks:
        """The next chunks."""
        assert self._reader is not None
        return await self._within(self._reader.read())

    async def trailer(self) -> Chunks:
        """What arrives after the finish_reason; a failure here does not affect the answer."""
        assert self._reader is not None
        try:
            async with asyncio.timeout(min(TRAILER, max(0.0, self._deadline.left()))):
                return await self._reader.read()
        except (TimeoutError, UpstreamError):
            self._reader.ended = True
            return []

    @property
    def ended(self) -> bool:
        """True once the present answer has no more chunks."""
        return self._reader is None or self._reader.ended

    @property
    def at_hand(self) -> bool:
        """True if the next chunks have already arrived."""
        return self._reader is not None and self._reader.at_hand

    def finish_answer(self) -> None:
        """Finish with a complete answer; its connection is reused if its end arrives soon. The turn does not wait."""
        response, self._response = self._response, None
        if response is not None and self._reader is not None and self._reader.over:
            response.close()
        elif response is not None:
            spawn(_drain(response), name="drain")

    def close(self) -> None:
        """Drop what is still being read, so that the provider stops generating."""
        if self._response is not None:
            self._response.close()
            self._response = None

    async def _open(self, body: dict[str, Any]) -> UpstreamResponse:
        response = await self._ask(body)
        self._response = response
        if not 200 <= response.status < 300:
            raise await refusal(response)
        self._reader = ChunkSource(response, ChunkReader())
        return response

    async def _within(self, awaited: Awaitable[T]) -> T:
        """`awaited`, unless the deadline passes first."""
        if not self._deadline.limited:
            return await awaited
        scope = asyncio.timeout(max(0.0, self._deadline.left()))
        try:
            async with scope:
                return await awaited
        except TimeoutError:
            if scope.expired():
                raise self._deadline.passed() from None
            raise


async def outcome(reading: Awaitable[T]) -> T | Failed:
    """The result of `reading`, or its error as a value: a task that raises would be logged as a bug."""
    try:
        return await reading
    except (ProxyError, UpstreamRefused) as error:
        return error


async def opened(opening: "asyncio.Task[UpstreamResponse | Failed]") -> Chunks:
    """Wait for the first answer's head. Raises an error that came instead."""
    result = await opening
    if isinstance(result, Exception):
        raise result
    return []


async def raised(error: Failed) -> Chunks:
    """Raise `error`: like `opened`, for an opening that has already failed."""
    raise error


async def _drain(response: UpstreamResponse) -> None:
    """Read what follows a complete answer, so that its connection can be reused."""
    try:
        async with asyncio.timeout(_DRAIN):
            while await response.chunk():
                continue
    except (TimeoutError, ProxyError):
        return
    finally:
        response.close()
