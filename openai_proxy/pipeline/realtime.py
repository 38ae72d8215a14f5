"""WebSocket upgrades (`/v1/realtime?model=…`): the handshake is routed, then bytes flow both ways untouched."""

import asyncio
from urllib.parse import parse_qsl, urlencode

from aiohttp.web_request import BaseRequest

from openai_proxy.errors import BadRequest, ProxyError
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.passthrough import add_trace, relay
from openai_proxy.protocols.http1 import ResponseHead
from openai_proxy.server.connection import receive_raw
from openai_proxy.server.headers import downstream_fields, upstream_fields, wire_lines
from openai_proxy.tasks import cancel, spawn
from openai_proxy.upstream.connection import HttpConnection
from openai_proxy.upstream.failover import open_first
from openai_proxy.upstream.response import StreamedResponse


def is_upgrade(request: BaseRequest) -> bool:
    """True for a WebSocket handshake (RFC 6455 §4.1)."""
    return request.method == "GET" and request.headers.get("Upgrade", "").lower() == "websocket"


async def serve(context: RequestContext) -> None:
    """Pass a WebSocket through. Raises ProxyError before the upgrade."""
    fields = parse_qsl(context.query, keep_blank_values=True)
    names = [value for name, value in fields if name == "model"]
    if len(names) > 1:
        raise BadRequest("The model stands more than once in the query.", param="model")
    decision = context.decide(names[0] if names else None)

    def make(target: Target) -> UpstreamRequest:
        query = context.query
        if target.model is not None:
            query = urlencode([(name, target.model if name == "model" else value) for name, value in fields])
        headers = upstream_fields(context.request.raw_headers)
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        return UpstreamRequest(
            "GET", context.endpoint.path, query, headers, client_authorization=context.authorization_for(target)
        )

    generation = context.generation
    opened = await open_first(context.begin(decision), make, generation.upstreams, context.exchange)
    response = opened.response
    connection = response.connection if isinstance(response, StreamedResponse) else None
    if response.status != 101 or connection is None:
        await relay(opened, context.reply, context.exchange, context.entry)
        return
    assert isinstance(response, StreamedResponse)
    await _tunnel(context, response, connection)


async def _tunnel(context: RequestContext, response: StreamedResponse, connection: HttpConnection) -> None:
    reply, exchange = context.reply, context.exchange
    head = response.wire_head
    add_trace(reply, exchange, upstream_id=head.get(b"x-request-id") is not None)
    exchange.state = "streaming"
    lines = wire_lines(downstream_fields(head.items())) + _accepted(head)
    inbound = _ClientBytes(connection, context.request.transport)
    receive_raw(context.request, inbound)
    reply.begin_upgrade(lines)
    outbound = spawn(_to_client(context, response), name="websocket to client")
    try:
        await asyncio.wait([outbound, inbound.ended], return_when=asyncio.FIRST_COMPLETED)
        if outbound.done() and (error := outbound.exception()) is not None and not isinstance(error, ProxyError):
            raise error
    finally:
        await cancel(outbound)
        response.close()
        connection.abort()
        reply.abort()


async def _to_client(context: RequestContext, response: StreamedResponse) -> None:
    while piece := await response.chunk():
        await context.reply.write_raw(piece)


def _accepted(head: ResponseHead) -> bytes:
    return b"Upgrade: websocket\r\nConnection: Upgrade\r\n"


class _ClientBytes:
    """Takes the client's bytes from aiohttp and writes them to the provider, no faster than it takes them."""

    def __init__(self, connection: HttpConnection, transport: asyncio.Transport | None) -> None:
        self._connection = connection
        self._transport = transport
        self._held: asyncio.Task[None] | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """aiohttp: more bytes from the client."""
        self._connection.write(data)
        if self._connection.write_paused and self._held is None and self._transport is not None:
            self._transport.pause_reading()
            self._held = spawn(self._resume(), name="websocket waits for the provider")
        return False, b""

    async def _resume(self) -> None:
        await self._connection.drain()
        self._held = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def feed_eof(self) -> None:
        """aiohttp: the client left."""
        if not self.ended.done():
            self.ended.set_result(None)
