"""Between the wire and the SDK: repairs single messages, drops noise, and knows when the connection is dead.

Imports the SDK: reached only through `sdk.py`.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

from mcp.shared.message import SessionMessage
from mcp_types import ErrorData, JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from openai_proxy.tools.mcp.repair import TOOL_CAP, repair_call_result, repair_initialize, repair_tool
from openai_proxy.tools.mcp.sdk_internals import MessageStream, ReadStream, TransportStreams, WriteStream

log = logging.getLogger(__name__)

_SLICE = 25  # tools repaired between two yields to the loop: 25 of 2 KB take about 1 ms
_REMEMBERED = 4096  # requests whose method is remembered; unanswered ones are forgotten eventually
_PROGRESS_INTERVAL = 0.1  # seconds between two forwarded progress notifications of one call
_WANTED = frozenset({"notifications/cancelled", "notifications/subscriptions/acknowledged"})
_LIST_CHANGED = "notifications/tools/list_changed"


class Wire:
    """One connection's messages, in both directions, and what was learnt from them.

    `closed` is set at the end of the server's stream: the SDK has no such event, and a server may itself send the error
    code that the SDK uses for it. `left_out` counts tools beyond the limit in the pages since it was reset.
    """

    def __init__(self, server: str, on_tools_changed: Callable[[], None], on_closed: Callable[[], None]) -> None:
        self._server = server
        self._on_tools_changed = on_tools_changed
        self._on_closed = on_closed
        self._methods: dict[int | str, str] = {}
        self._progress: dict[int | str, float] = {}
        self._notes: set[str] = set()
        self.closed = False
        self.last_message_at = 0.0  # time.monotonic() of the last message
        self.replies = 0
        self.dropped = 0
        self.left_out = 0

    def note(self, text: str) -> None:
        """Log a repair, once per connection and text."""
        if text not in self._notes and len(self._notes) < 200:
            self._notes.add(text)
            log.warning("mcp server %s: %s", self._server, text)

    def close(self) -> None:
        """The server's stream has ended."""
        if not self.closed:
            self.closed = True
            self._on_closed()

    def sent(self, message: Any) -> None:
        """Remember what a request is, to know what its answer should look like."""
        if isinstance(message, JSONRPCRequest):
            if len(self._methods) >= _REMEMBERED:
                del self._methods[next(iter(self._methods))]
            self._methods[message.id] = message.method

    async def received(self, item: SessionMessage | Exception) -> SessionMessage | Exception | None:
        """The item for the SDK, repaired; None if the SDK does not need it."""
        self.last_message_at = time.monotonic()
        if isinstance(item, Exception):
            self.note(f"unreadable message: {type(item).__name__}")
            return None
        message = item.message
        if isinstance(message, JSONRPCNotification):
            return item if self._wants(message) else None
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self.replies += 1
            method = self._methods.pop(message.id, None) if message.id is not None else None
            self._progress.pop(message.id or 0, None)
            if isinstance(message, JSONRPCResponse):
                await self._repair(method, message.result)
        return item

    def _wants(self, message: JSONRPCNotification) -> bool:
        """True for what the SDK needs. A flood of the rest costs one counter each instead of one task each."""
        if message.method == _LIST_CHANGED:
            self._on_tools_changed()
            return False
        if message.method == "notifications/progress":
            token = (message.params or {}).get("progressToken")
            if isinstance(token, int | str) and token in self._methods:
                now = time.monotonic()
                if now - self._progress.get(token, 0.0) >= _PROGRESS_INTERVAL:
                    self._progress[token] = now
                    return True
        elif message.method in _WANTED:
            return True
        self.dropped += 1
        return False

    async def _repair(self, method: str | None, result: dict[str, Any]) -> None:
        if method == "tools/call" and result.get("resultType", "complete") == "complete":
            repair_call_result(result, self.note)
        elif method == "tools/list":
            await self._repair_list(result)
        elif method == "initialize":
            repair_initialize(result, self.note)

    async def _repair_list(self, result: dict[str, Any]) -> None:
        tools = result.get("tools")
        if not isinstance(tools, list):
            self.note("answered tools/list without a list of tools")
            tools = []
        self.left_out += max(0, len(tools) - TOOL_CAP)
        kept: list[dict[str, Any]] = []
        for index, tool in enumerate(tools[:TOOL_CAP]):
            if index % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            if (repaired := repair_tool(tool, self.note)) is not None:
                kept.append(repaired)
        result["tools"] = kept
        if "nextCursor" in result and not isinstance(result["nextCursor"], str):
            del result["nextCursor"]
        if "_meta" in result and not isinstance(result["_meta"], dict):
            del result["_meta"]


def error_reply(request_id: int | str, message: str, code: int = -32603) -> SessionMessage:
    """An error of ours in place of an answer that cannot arrive."""
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=message)))


class Filtered(AbstractAsyncContextManager[TransportStreams]):
    """A transport of the SDK with a `Wire` in front of its streams."""

    def __init__(self, inner: AbstractAsyncContextManager[TransportStreams], wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    async def __aenter__(self) -> TransportStreams:
        read, write = await self._inner.__aenter__()
        return _FilteredRead(read, self._wire), _FilteredWrite(write, self._wire)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._inner.__aexit__(kind, error, trace)


class _FilteredRead(MessageStream):
    def __init__(self, inner: ReadStream[SessionMessage | Exception], wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    @property
    def last_context(self) -> Any:
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        while True:
            try:
                item = await self._inner.receive()
            except Exception:
                self._wire.close()
                raise
            if (wanted := await self._wire.received(item)) is not None:
                return wanted

    async def aclose(self) -> None:
        await self._inner.aclose()


class _FilteredWrite(WriteStream[SessionMessage]):
    def __init__(self, inner: WriteStream[SessionMessage], wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    async def send(self, item: SessionMessage, /) -> None:
        self._wire.sent(item.message)
        await self._inner.send(item)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> "_FilteredWrite":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
