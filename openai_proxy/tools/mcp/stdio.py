"""The stdio transport: a server process as the pair of streams that the SDK's client expects.

Imports the SDK: reached only through `sdk.py`.
"""

import asyncio
import logging
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import anyio
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest

from openai_proxy.dialects import json_text
from openai_proxy.tasks import cancel, spawn
from openai_proxy.tools.mcp.failures import TRACE
from openai_proxy.tools.mcp.filter import Wire, error_reply
from openai_proxy.tools.mcp.inbox import Inbox, Reader
from openai_proxy.tools.mcp.lines import ENDLESS, LINE_CAP, LineSplitter, Oversized, parse
from openai_proxy.tools.mcp.process import ServerProcess
from openai_proxy.tools.mcp.repair import slim_message
from openai_proxy.tools.mcp.sdk_internals import TransportStreams, WriteStream
from openai_proxy.tools.mcp.settings import ServerSettings

log = logging.getLogger(__name__)

PROBE_TIMEOUT = 5.0
"""Seconds for `server/discover` before the older handshake is tried; the SDK's own timeout is a constant of 10."""

_OFF_LOOP = 64 * 1024  # bytes from which a line is parsed in a thread: below that, the overhead exceeds the gain


class StdioTransport(AbstractAsyncContextManager[TransportStreams]):
    """Starts the server on entry; on exit nothing of it is left, whatever it did."""

    foreign = False  # it asks the wire itself

    def __init__(self, config: ServerSettings, env: dict[str, str], wire: Wire) -> None:
        self._config = config
        self._env = env
        self._wire = wire
        self._inbox = Inbox(wire)
        self._pump: asyncio.Task[None] | None = None
        self.process: ServerProcess | None = None
        self.failure: str | None = None

    async def __aenter__(self) -> TransportStreams:
        config = self._config
        self.process = await ServerProcess.start(config.name, config.command or "", config.args, self._env, config.cwd)
        self._pump = spawn(self._read(self.process), name=f"mcp-read-{config.name}")
        return Reader(self._inbox), _Writer(self.process, self._wire, self._inbox)

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
            self._inbox.end()

    async def _take(self, line: bytes | Oversized) -> None:
        if isinstance(line, Oversized):
            self._wire.note(f"dropped a line of more than {LINE_CAP >> 20} MiB")
            if (request_id := line.answers()) is not None:
                await self._inbox.put(
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
            await self._inbox.take(message)

    def _parse_large(self, line: bytes) -> Any:
        message = parse(line)
        self._wire.left_out += slim_message(message)
        return message


class _Writer(WriteStream[SessionMessage]):
    def __init__(self, process: ServerProcess, wire: Wire, inbox: Inbox) -> None:
        self._process = process
        self._wire = wire
        self._inbox = inbox

    async def send(self, item: SessionMessage, /) -> None:
        message = item.message
        self._wire.sent(message)
        line = json_text.dumps(message.model_dump(by_alias=True, mode="json", exclude_unset=True)) + b"\n"
        try:
            await self._process.write(line)
        except ConnectionError:
            raise anyio.BrokenResourceError from None
        if (trace := TRACE.get()) is not None:
            trace.sent = True
        if isinstance(message, JSONRPCRequest) and message.method == "server/discover":
            asyncio.get_running_loop().call_later(PROBE_TIMEOUT, self._give_up_probe, message.id)

    def _give_up_probe(self, request_id: int | str) -> None:
        """Answer the probe in place of a silent server; the SDK drops it if the server did answer."""
        self._inbox.inject(error_reply(request_id, "No answer to server/discover.", code=-32001))

    async def aclose(self) -> None:
        """Nothing to do: the process's stdin is closed when it is stopped."""

    async def __aenter__(self) -> "_Writer":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
