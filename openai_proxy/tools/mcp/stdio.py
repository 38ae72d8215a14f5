"""The stdio transport: a server process as the pair of streams the SDK's client wants.

Imports the SDK: reached only through `sdk.py`.
"""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import anyio
import orjson
from mcp.client._transport import ReadStream, TransportStreams, WriteStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest, jsonrpc_message_adapter
from pydantic import ValidationError

from openai_proxy.tasks import cancel, spawn
from openai_proxy.tools.mcp.filter import Wire, error_reply
from openai_proxy.tools.mcp.lines import ENDLESS, LINE_CAP, LineSplitter, Oversized, parse
from openai_proxy.tools.mcp.process import ServerProcess
from openai_proxy.tools.mcp.repair import slim_message
from openai_proxy.tools.mcp.settings import ServerSettings
from openai_proxy.tools.mcp.trace import TRACE

log = logging.getLogger(__name__)

PROBE_TIMEOUT = 5.0
"""Seconds for `server/discover` before the older handshake is tried; the SDK's own limit is a constant of 10."""

_OFF_LOOP = 64 * 1024  # bytes from which a line is parsed in a thread: below, the hand-over costs more than it saves
_INBOX = 64  # messages between the pump and the SDK: bounds what one turn of the loop can do


class StdioTransport(AbstractAsyncContextManager[TransportStreams]):
    """Starts the server on entry; on exit nothing of it is left, whatever it did."""

    foreign = False  # it consults the wire itself

    def __init__(self, config: ServerSettings, env: dict[str, str], wire: Wire) -> None:
        self._config = config
        self._env = env
        self._wire = wire
        self._inbox: asyncio.Queue[SessionMessage | None] = asyncio.Queue(_INBOX)
        self._pump: asyncio.Task[None] | None = None
        self.process: ServerProcess | None = None
        self.failure: str | None = None

    async def __aenter__(self) -> TransportStreams:
        config = self._config
        self.process = await ServerProcess.start(config.name, config.command or "", config.args, self._env, config.cwd)
        self._pump = spawn(self._read(self.process), name=f"mcp-read-{config.name}")
        return _Reader(self._inbox), _Writer(self.process, self._wire, self._inbox)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.process is not None:
                await self.process.stop()
        finally:
            await cancel(self._pump)

    async def _read(self, process: ServerProcess) -> None:
        splitter = LineSplitter()
        try:
            while data := await process.read():
                for line in splitter.feed(data):
                    await self._take(line)
                if splitter.pending > ENDLESS:
                    self.failure = "sent a line without an end"
                    break
            else:
                for line in splitter.flush():
                    await self._take(line)
        finally:
            self._wire.close()
            # The end must arrive even where nobody makes room: what the SDK did not take yet, it no longer needs.
            if self._inbox.full():
                self._inbox.get_nowait()
            self._inbox.put_nowait(None)

    async def _take(self, line: bytes | Oversized) -> None:
        if isinstance(line, Oversized):
            self._wire.note(f"dropped a line of more than {LINE_CAP >> 20} MiB")
            if (request_id := line.answers()) is not None:
                await self._put(
                    error_reply(request_id, f"The result was too large ({line.size >> 20} MiB) and was dropped.")
                )
            return
        if not line or line.isspace():
            return
        try:
            parsed = parse(line) if len(line) < _OFF_LOOP else await asyncio.to_thread(self._parse_large, line)
        except ValueError:
            self._wire.note("wrote something other than JSON-RPC to its stdout; ignored")
            return
        for message in parsed if isinstance(parsed, list) else (parsed,):
            await self._take_message(message)

    def _parse_large(self, line: bytes) -> Any:
        message = parse(line)
        self._wire.left_out += slim_message(message)
        return message

    async def _take_message(self, parsed: Any) -> None:
        if not isinstance(parsed, dict):
            self._wire.note("wrote something other than JSON-RPC to its stdout; ignored")
            return
        parsed["jsonrpc"] = "2.0"
        try:
            message = SessionMessage(jsonrpc_message_adapter.validate_python(parsed, by_name=False))
        except ValidationError:
            request_id = parsed.get("id")
            self._wire.note("sent a malformed message")
            if ("result" in parsed or "error" in parsed) and isinstance(request_id, int | str):
                await self._put(error_reply(request_id, "The server sent a malformed answer."))
            return
        await self._put(message)

    async def _put(self, message: SessionMessage) -> None:
        wanted = await self._wire.received(message)
        if isinstance(wanted, SessionMessage):
            await self._inbox.put(wanted)


class _Reader(ReadStream[SessionMessage | Exception]):
    def __init__(self, inbox: asyncio.Queue[SessionMessage | None]) -> None:
        self._inbox = inbox
        self._ended = False

    async def receive(self) -> SessionMessage | Exception:
        if self._ended or (item := await self._inbox.get()) is None:
            self._ended = True
            raise anyio.EndOfStream
        return item

    async def aclose(self) -> None:
        self._ended = True
        # Lets a pump that waits for room go on; what it still delivers is not read any more.
        while not self._inbox.empty():
            self._inbox.get_nowait()

    def __aiter__(self) -> "_Reader":
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def __aenter__(self) -> "_Reader":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class _Writer(WriteStream[SessionMessage]):
    def __init__(self, process: ServerProcess, wire: Wire, inbox: asyncio.Queue[SessionMessage | None]) -> None:
        self._process = process
        self._wire = wire
        self._inbox = inbox

    async def send(self, item: SessionMessage, /) -> None:
        message = item.message
        self._wire.sent(message)
        line = orjson.dumps(message.model_dump(by_alias=True, mode="json", exclude_unset=True)) + b"\n"
        try:
            await self._process.write(line)
        except ConnectionError:
            raise anyio.BrokenResourceError from None
        if (trace := TRACE.get()) is not None:
            trace.sent = True
        if isinstance(message, JSONRPCRequest) and message.method == "server/discover":
            asyncio.get_running_loop().call_later(PROBE_TIMEOUT, self._give_up_probe, message.id)

    def _give_up_probe(self, request_id: int | str) -> None:
        """Answer a mute server's probe ourselves; the SDK drops it if the server did answer."""
        if not self._inbox.full():
            self._inbox.put_nowait(error_reply(request_id, "No answer to server/discover.", code=-32001))

    async def aclose(self) -> None:
        """Nothing to do: the process's stdin is closed when it is stopped."""

    async def __aenter__(self) -> "_Writer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
