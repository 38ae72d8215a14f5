"""Selects a server's transport, and implements the two over HTTP: Streamable HTTP, and HTTP+SSE of 2024-11-05.

Streamable HTTP is the SDK's own with our HTTP client. HTTP+SSE (one endless stream of answers, and a POST for each
message) is ours: in the SDK a POST answered with 4xx leaves its call hanging, and one event over 1 MiB or 300 s of
silence end the connection (all measured on 2.3.0).

Imports the SDK: reached only through `sdk.py`.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType
from typing import Any
from urllib.parse import urljoin, urlsplit

import anyio
import httpx2
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCRequest

from openai_proxy.tasks import cancel, spawn
from openai_proxy.tools.mcp.failures import Failure, type_hint
from openai_proxy.tools.mcp.filter import Wire, error_reply
from openai_proxy.tools.mcp.http_client import GuardedTransport, new_client
from openai_proxy.tools.mcp.inbox import Inbox, Reader
from openai_proxy.tools.mcp.lines import LINE_CAP, parse
from openai_proxy.tools.mcp.oauth.account import OAuthAccount
from openai_proxy.tools.mcp.sdk_internals import TransportStreams, WriteStream, request_within_origin, sse_within_origin
from openai_proxy.tools.mcp.settings import ServerSettings, child_environment
from openai_proxy.tools.mcp.stdio import StdioTransport


class _HttpTransport(AbstractAsyncContextManager[TransportStreams]):
    """Common parts: the HTTP client, and what it has observed."""

    def __init__(
        self, config: ServerSettings, wire: Wire, lose: Callable[[Failure], None], account: OAuthAccount | None = None
    ) -> None:
        self._config = config
        self._gate = GuardedTransport(config, wire, lose, account)
        self._stack = AsyncExitStack()

    @property
    def failure(self) -> str | None:
        """The last network failure."""
        return self._gate.failure

    @property
    def status(self) -> int | None:
        """The last HTTP status."""
        return self._gate.status

    @property
    def refused(self) -> Failure | None:
        """Refused credentials."""
        return self._gate.refused


class SseTransport(_HttpTransport):
    """One connection to an SSE endpoint; entering waits until the server has named the address to post to."""

    foreign = False  # it asks the wire itself

    def __init__(
        self, config: ServerSettings, wire: Wire, lose: Callable[[Failure], None], account: OAuthAccount | None = None
    ) -> None:
        super().__init__(config, wire, lose, account)
        self._url = config.url or ""
        self._wire = wire
        self._inbox = Inbox(wire)
        self._pump: asyncio.Task[None] | None = None
        self._problem: str | None = None

    @property
    def failure(self) -> str | None:
        """What went wrong below the protocol."""
        return self._problem or self._gate.failure

    async def __aenter__(self) -> TransportStreams:
        client = await self._stack.enter_async_context(new_client(self._config, self._gate))
        endpoint: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._pump = spawn(self._read(client, endpoint), name=f"mcp-read-{self._config.name}")
        try:
            waiting: set[asyncio.Future[Any]] = {endpoint, self._pump}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not endpoint.done():
                raise ConnectionError(self._problem or "the stream ended before it named an endpoint")
        except BaseException:
            await self._close()
            raise
        return Reader(self._inbox), _Poster(client, endpoint.result(), self._wire, self._inbox)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        try:
            await cancel(self._pump)
        finally:
            await self._stack.aclose()

    async def _read(self, client: httpx2.AsyncClient, endpoint: asyncio.Future[str]) -> None:
        try:
            async with sse_within_origin(client, self._url, max_event_size=2 * LINE_CAP) as events:
                if events.response.status_code != 200:
                    code = events.response.status_code
                    self._problem = f"answered HTTP {code}{type_hint(code, 'sse')}"
                    return
                async for event in events:
                    if event.event == "endpoint":
                        if not self._name_endpoint(event.data, endpoint):
                            return
                    elif event.event == "message" and event.data:
                        await self._take(event.data)
        except (httpx2.TransportError, httpx2.StreamError, httpx2.SSEError) as problem:
            self._problem = "the stream broke" if not isinstance(problem, httpx2.SSEError) else "sent no event stream"
        finally:
            self._inbox.end()

    def _name_endpoint(self, data: str, endpoint: asyncio.Future[str]) -> bool:
        url = urljoin(self._url, data)
        if urlsplit(url)[:2] != urlsplit(self._url)[:2]:
            # The credentials on every POST are for the configured host only.
            self._problem = "named an endpoint on another host"
            return False
        if not endpoint.done():
            endpoint.set_result(url)
        return True

    async def _take(self, data: str) -> None:
        try:
            await self._inbox.take(parse(data.encode("utf-8", "replace")))
        except ValueError:
            self._wire.note("sent something other than JSON-RPC; ignored")


class _Poster(WriteStream[SessionMessage]):
    def __init__(self, client: httpx2.AsyncClient, endpoint: str, wire: Wire, inbox: Inbox) -> None:
        self._client = client
        self._endpoint = endpoint
        self._wire = wire
        self._inbox = inbox

    async def send(self, item: SessionMessage, /) -> None:
        message = item.message
        self._wire.sent(message)
        if self._wire.closed:
            raise anyio.BrokenResourceError
        body = message.model_dump(by_alias=True, mode="json", exclude_unset=True)
        try:
            response = await request_within_origin(self._client, "POST", self._endpoint, json=body)
        except httpx2.StreamError:
            return  # the answer comes on the stream; the POST's own response does not matter
        if response.status_code >= 300 and isinstance(message, JSONRPCRequest):
            self._inbox.inject(error_reply(message.id, "Server returned an error response"))

    async def aclose(self) -> None:
        """Nothing to do: the client is closed when the transport is left."""

    async def __aenter__(self) -> "_Poster":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


class StreamableTransport(_HttpTransport):
    """One connection, or with a stateless server (Home Assistant, every 2026 one) a series of requests."""

    foreign = True  # the SDK reads it, so the wire is in front of it

    async def __aenter__(self) -> TransportStreams:
        client = await self._stack.enter_async_context(new_client(self._config, self._gate))
        return await self._stack.enter_async_context(
            # The HTTP client has bounded each event already; this limit only must not be stricter.
            streamable_http_client(self._config.url or "", http_client=client, max_sse_event_size=2 * LINE_CAP)
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, trace)


Link = StdioTransport | SseTransport | StreamableTransport


def link_to(
    config: ServerSettings, wire: Wire, lose: Callable[[Failure], None], account: OAuthAccount | None = None
) -> Link:
    """A transport, not yet entered; `lose` is called with what ends the connection."""
    match config.type:
        case "stdio":
            return StdioTransport(config, child_environment(os.environ, config.env), wire)
        case "sse":
            return SseTransport(config, wire, lose, account)
        case _:
            return StreamableTransport(config, wire, lose, account)
