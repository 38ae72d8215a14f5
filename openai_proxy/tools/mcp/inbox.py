"""From our transports to the SDK: parsed JSON in, validated and filtered messages out, in order and bounded.

Imports the SDK: reached only through `sdk.py`.
"""

import asyncio
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError

from openai_proxy.tools.mcp.filter import Wire, error_reply
from openai_proxy.tools.mcp.sdk_internals import MessageStream

_ROOM = 64  # messages between the transport and the SDK: bounds the work of one turn of the loop


class Inbox:
    """The queue between a transport's reading task and the SDK's."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._queue: asyncio.Queue[SessionMessage | None] = asyncio.Queue(_ROOM)

    async def take(self, parsed: Any) -> None:
        """Deliver one parsed JSON value. A malformed answer becomes an error of its call."""
        if not isinstance(parsed, dict):
            self._wire.note("sent something other than JSON-RPC; ignored")
            return
        parsed["jsonrpc"] = "2.0"
        try:
            message = SessionMessage(jsonrpc_message_adapter.validate_python(parsed, by_name=False))
        except ValidationError:
            request_id = parsed.get("id")
            self._wire.note("sent a malformed message")
            if ("result" in parsed or "error" in parsed) and isinstance(request_id, int | str):
                await self.put(error_reply(request_id, "The server sent a malformed answer."))
            return
        await self.put(message)

    async def put(self, message: SessionMessage) -> None:
        """Deliver one message, if the SDK needs it; waits for space."""
        wanted = await self._wire.received(message)
        if isinstance(wanted, SessionMessage):
            await self._queue.put(wanted)

    def inject(self, message: SessionMessage) -> None:
        """Deliver a message of ours now, or not at all."""
        if not self._queue.full():
            self._queue.put_nowait(message)

    def end(self) -> None:
        """Signal the end."""
        self._wire.close()
        # The end must arrive even if nobody makes space: what the SDK has not taken yet, it no longer needs.
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def get(self) -> SessionMessage | None:
        """The next message, None at the end."""
        return await self._queue.get()

    def clear(self) -> None:
        """Release a transport that waits for space; nothing is read any more."""
        while not self._queue.empty():
            self._queue.get_nowait()


class Reader(MessageStream):
    """An inbox as the stream that the SDK reads."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox
        self._ended = False

    async def receive(self) -> SessionMessage | Exception:
        if self._ended or (item := await self._inbox.get()) is None:
            self._ended = True
            raise anyio.EndOfStream
        return item

    async def aclose(self) -> None:
        self._ended = True
        self._inbox.clear()
