"""WebSockets (`/v1/realtime`): the handshake is decided like any request, then bytes flow both ways.

The model is known before anything goes up: from `?model=`, or from the session of the caller. What the client says
later is looked at one text message at a time, because `session.update` may name another model and a text may hold a
secret; audio and everything from the provider pass as they come. A key that a browser puts into
`Sec-WebSocket-Protocol` is the client's key and stays here.
"""

import asyncio
from typing import Any
from urllib.parse import parse_qsl, urlencode

from openai_proxy.auth.credentials import KEY_PROTOCOL
from openai_proxy.decision.decide import Decision, decide, decided
from openai_proxy.errors import BadRequest, ProxyError
from openai_proxy.exchange import Headers, Target, UpstreamRequest
from openai_proxy.pipeline import redacting
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.passthrough import add_trace, relay
from openai_proxy.protocols.json_members import parse_object
from openai_proxy.protocols.websocket import (
    POLICY_VIOLATION,
    ClientFrames,
    TextMessage,
    WebSocketError,
    close_frame,
    text_frame,
)
from openai_proxy.server.connection import receive_raw
from openai_proxy.server.headers import downstream_fields, upstream_fields, wire_lines
from openai_proxy.tasks import cancel, spawn
from openai_proxy.transforms.sessions import named
from openai_proxy.upstream.connection import HttpConnection
from openai_proxy.upstream.credentials import without_keys
from openai_proxy.upstream.failover import open_first
from openai_proxy.upstream.response import StreamedResponse

_UPDATE = "session.update"
_WRITE_WAIT = 10.0  # seconds a side that does not read may hold up the end of the other
_ACCEPTED = b"Upgrade: websocket\r\nConnection: Upgrade\r\n"


async def serve(context: RequestContext) -> None:
    """Pass a WebSocket through. Raises ProxyError before the upgrade."""
    if context.endpoint.name.endswith("responses"):
        raise BadRequest(
            "Responses are not served over WebSockets; send a POST.", status=426, code="upgrade_required",
            headers={"Upgrade": "HTTP/1.1", "Connection": "close"},
        )  # fmt: skip
    fields = parse_qsl(context.query, keep_blank_values=True)
    names = [value for name, value in fields if name == "model"]
    if len(names) > 1:
        raise BadRequest("The query names more than one model.", param="model")
    model = names[0] if names else _model_of_session(context)
    decision = context.decide(model)

    def make(target: Target) -> UpstreamRequest:
        sent = target.model or (model if not names else None)
        query = context.query
        if sent is not None:
            others = [(name, sent if name == "model" else value) for name, value in fields]
            query = urlencode(others if names else [*others, ("model", sent)])
        headers = _upward(upstream_fields(context.request.raw_headers))
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
        path, own = context.endpoint.path, context.authorization_for(target)
        return UpstreamRequest("GET", path, query, headers, client_authorization=own)

    targets = context.begin(decision)
    opened = await open_first(targets, make, context.generation.upstreams, context.exchange)
    response = opened.response
    connection = response.connection if isinstance(response, StreamedResponse) else None
    if response.status != 101 or connection is None:
        await relay(opened, context.reply, context.exchange, context.entry)
        return
    assert isinstance(response, StreamedResponse)
    await _tunnel(context, _Watch(context, decision, opened.target), response, connection, without_keys(opened))


def _model_of_session(context: RequestContext) -> str | None:
    """The model set by command in the session that `X-Session-ID` names, if any."""
    key = named(context.exchange.caller.identity, context.exchange.session_id, {})
    session = context.state.sessions.get(key, context.generation.config.session_ttl) if key is not None else None
    return session.model if session is not None else None


def _upward(fields: Headers) -> list[tuple[bytes, bytes]]:
    """The client's fields without extensions, which nobody here could read, and without a key among its protocols."""
    kept: list[tuple[bytes, bytes]] = []
    for name, value in fields:
        lower = name.lower()
        if lower == b"sec-websocket-extensions":
            continue
        if lower == b"sec-websocket-protocol":
            protocols = [text for part in value.split(b",") if (text := part.strip())]
            value = b", ".join(text for text in protocols if not text.lower().startswith(KEY_PROTOCOL.encode()))
            if not value:
                continue
        kept.append((name, value))
    return kept


async def _tunnel(
    context: RequestContext, watch: "_Watch", response: StreamedResponse, connection: HttpConnection, fields: Headers
) -> None:
    reply, exchange = context.reply, context.exchange
    head = response.wire_head
    add_trace(reply, exchange, upstream_id=head.get(b"x-request-id") is not None)
    exchange.state = "streaming"
    inbound = _ClientBytes(watch, connection, context.request.transport)
    receive_raw(context.request, inbound)
    reply.begin_upgrade(wire_lines(downstream_fields(fields)) + _ACCEPTED)
    outbound = spawn(_to_client(context, response), name="websocket to client")
    try:
        await asyncio.wait([outbound, inbound.ended], return_when=asyncio.FIRST_COMPLETED)
        if inbound.refusal is not None:
            await cancel(outbound)
            async with asyncio.timeout(_WRITE_WAIT):
                await reply.write_raw(close_frame(inbound.refusal.code, inbound.refusal.reason))
        elif outbound.done() and (error := outbound.exception()) is not None and not isinstance(error, ProxyError):
            raise error
    finally:
        await cancel(outbound)
        response.close()
        connection.abort()
        reply.abort()


async def _to_client(context: RequestContext, response: StreamedResponse) -> None:
    while piece := await response.chunk():
        await context.reply.write_raw(piece)


class _Watch:
    """Looks at what a client says over a socket that is open."""

    def __init__(self, context: RequestContext, decision: Decision, target: Target) -> None:
        self._context = context
        self._decision = decision
        self._target = target
        self._frames = ClientFrames()

    def passed(self, data: bytes) -> bytes:
        """What of `data` goes up now. Raises WebSocketError for what must not."""
        return b"".join(item if isinstance(item, bytes) else self._message(item) for item in self._frames.feed(data))

    def _message(self, message: TextMessage) -> bytes:
        if b"session" not in message.data and b"\\u" not in message.data and not self._context.redacts:
            return message.raw
        try:
            members = parse_object(message.data)
        except BadRequest:
            return message.raw
        session = members.get("session")
        if members.get("type") == _UPDATE and isinstance(session, dict) and "model" in session:
            self._check_model(session["model"])
        cleaned = redacting.clean_round(self._context, message.data, members)
        return message.raw if cleaned is message.data else text_frame(cleaned)

    def _check_model(self, model: Any) -> None:
        """Refuse a model a new request would be refused, or that is not on this connection under this name."""
        context = self._context
        if model == self._decision.model and self._target.model is None:
            return
        try:
            if not isinstance(model, str):
                raise BadRequest("The model must be a string.", param="model")
            found = decided(
                decide(context.generation, context.exchange.caller, context.endpoint, model, context.session)
            )
        except ProxyError as error:
            raise WebSocketError(POLICY_VIOLATION, error.message) from None
        here = Target(self._target.connection)
        if here not in found.route.targets:
            raise WebSocketError(POLICY_VIOLATION, "This model is not on the connection that is open. Connect anew.")


class _ClientBytes:
    """Takes the client's bytes from aiohttp and writes them to the provider, no faster than it takes them."""

    def __init__(self, watch: _Watch, connection: HttpConnection, transport: asyncio.Transport | None) -> None:
        self._watch = watch
        self._connection = connection
        self._transport = transport
        self._held: asyncio.Task[None] | None = None
        self.refusal: WebSocketError | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """aiohttp: more bytes from the client."""
        if self.ended.done():
            return False, b""
        try:
            passed = self._watch.passed(data)
        except WebSocketError as error:
            self.refusal = error
            self.feed_eof()
            return False, b""
        if passed:
            self._connection.write(passed)
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
