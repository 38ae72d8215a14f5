"""WebSockets (`/v1/realtime`): the handshake is decided like any request, then bytes flow both ways.

The model is known before anything is sent upstream: from `?model=`, or from the caller's session. Later messages of the
client are checked one by one, because they may name another model or contain a secret. JSON that only some readers
accept is refused, in binary messages too; messages that are not JSON (audio) and everything from the provider pass
unchanged, and usage is read from a copy. A key that a browser puts into `Sec-WebSocket-Protocol` is the client's key
and is not sent upstream.
"""

import asyncio
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any
from urllib.parse import parse_qsl, urlencode

from openai_proxy import steps
from openai_proxy.auth.credentials import KEY_PROTOCOL
from openai_proxy.decision.decide import Decision, decide, decided
from openai_proxy.decision.restricted import models_named_in, query_members
from openai_proxy.errors import BadRequest, ProxyError, unknown_model
from openai_proxy.exchange import Headers, Outcome, Target, UpstreamRequest
from openai_proxy.pipeline import redacting
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.passthrough import add_trace, relay
from openai_proxy.pipeline.realtime_answers import STEP, Answers
from openai_proxy.protocols.json_members import LARGE, ambiguous, check_unique, parse_object
from openai_proxy.protocols.large_json import read_object
from openai_proxy.protocols.websocket import (
    CLOSE,
    NORMAL_CLOSURE,
    POLICY_VIOLATION,
    TEXT,
    ClientFrames,
    ClientMessage,
    WebSocketError,
    client_frame,
    close_frame,
)
from openai_proxy.server.connection import receive_raw
from openai_proxy.server.headers import downstream_fields, upstream_fields, wire_lines
from openai_proxy.server.reply import ClientGone, Reply
from openai_proxy.tasks import cancel, in_thread, spawn
from openai_proxy.transforms.sessions import named
from openai_proxy.upstream.connection import HttpConnection
from openai_proxy.upstream.credentials import without_keys
from openai_proxy.upstream.failover import open_first
from openai_proxy.upstream.response import StreamedResponse

_WRITE_WAIT = 10.0  # seconds for which a side that does not read may delay the end of the other
_CLOSE_WAIT = 2.0  # seconds for which a client that was sent a close frame may take to close
_CUT = 16  # characters at the end of a text that a cut may have made invalid
_BEFORE_OBJECT = re.compile(rb"[\xef\xbb\xbf\xfe\xff\0 \t\r\n]*+(?:\{|\Z)")
"""What may come before an object, in any encoding of Unicode, and its brace; `_is_object` looks closer."""
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
    spelled = [value for name, value in query_members(context.query) if name.casefold().rstrip("[]") == "model"]
    if len(names) > 1 or spelled != names:
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
    """The client's header fields without extensions, which could not be read here, and without a key in its
    protocols.
    """
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
    answers = Answers(context, response)
    outbound = spawn(answers.pass_on(), name="websocket to client")
    try:
        with context.state.governor.telling(exchange, answers.booked):
            ends: list[asyncio.Future[Any]] = [outbound, inbound.ended, answers.refused]
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        if answers.refused.done():
            refused = answers.refused.result()
            inbound.feed_eof()
            await cancel(outbound)
            connection.write(client_frame(CLOSE, NORMAL_CLOSURE.to_bytes(2)))
            connection.abort()
            exchange.outcome, exchange.error_code, exchange.cause = Outcome.ERROR, refused.code, refused.message
            await _part(reply, answers.last_frames(refused))
        elif inbound.refusal is not None:
            await cancel(outbound)
            await _part(reply, close_frame(inbound.refusal.code, inbound.refusal.reason))
        elif outbound.done() and (error := outbound.exception()) is not None and not isinstance(error, ProxyError):
            raise error
    finally:
        await cancel(outbound)
        response.close()
        connection.abort()
        reply.abort()


async def _part(reply: Reply, last: bytes) -> None:
    """Send the last frames and wait for the client to close, too: a reset could take them away from it."""
    task = asyncio.current_task()
    assert task is not None
    try:
        async with asyncio.timeout(_WRITE_WAIT):
            await reply.write_raw(last)
        reply.half_close()
        async with asyncio.timeout(_CLOSE_WAIT):
            await asyncio.Event().wait()
    except (TimeoutError, ClientGone):
        return
    except asyncio.CancelledError:
        if not reply.gone:
            raise
        task.uncancel()  # the client has closed: what was waited for


class _Watch:
    """Checks what a client sends over an open socket."""

    def __init__(self, context: RequestContext, decision: Decision, target: Target) -> None:
        self._context = context
        self._decision = decision
        self._target = target
        self._frames = ClientFrames()
        self._strict = context.restricted or context.redacts

    def taken(self, data: bytes) -> list[bytes | ClientMessage]:
        """The items that `data` completes. Raises WebSocketError."""
        return self._frames.feed(data)

    def passed(self, item: bytes | ClientMessage) -> bytes:
        """The bytes of `item` to send upstream. Raises WebSocketError if it must not be sent."""
        if isinstance(item, bytes):
            return item
        data = item.data()
        if not self._strict and data[:1] == b"{" and b"ession" not in data and b"\\u" not in data:
            return item.raw
        try:
            members = read_object(data)[0] if len(data) >= LARGE else parse_object(data)
            self._check(data, members)
        except ProxyError as error:
            if isinstance(error, BadRequest) and not _is_object(data):
                return self._plain(item, data)
            raise WebSocketError(POLICY_VIOLATION, error.message) from None
        cleaned = redacting.clean_round(self._context, data, members)
        return item.raw if cleaned is data else client_frame(item.kind, cleaned)

    def _plain(self, message: ClientMessage, data: bytes) -> bytes:
        """A message that is not a JSON object: text with our secrets removed, audio unchanged."""
        if message.kind != TEXT or not self._context.redacts:
            return message.raw
        cleaned = self._context.state.redactor.lines(data)
        return message.raw if cleaned is data else client_frame(TEXT, cleaned)

    def _check(self, data: bytes, members: dict[str, Any]) -> None:
        """Raise ProxyError or WebSocketError for a message that names a forbidden model, in any spelling."""
        context = self._context
        sessions = list(_members(members, "session"))
        if context.restricted or sessions:
            check_unique(data)
        for session in sessions:
            for model in _members(session, "model") if isinstance(session, dict) else ():
                self._check_model(model)
        if context.restricted:
            access, caller = context.generation.access, context.exchange.caller
            for name in models_named_in(members):
                if not access.may_use(caller, name):
                    raise unknown_model(name)

    def _check_model(self, model: Any) -> None:
        """Refuse a model that a new request would be refused, or that this connection does not have under this name."""
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
            raise WebSocketError(POLICY_VIOLATION, "This model is not on the open connection. Please reconnect.")


def _members(document: Mapping[str, Any], name: str) -> Iterator[Any]:
    """The member called `name`. Raises BadRequest if its case differs, which some servers ignore."""
    for found, value in document.items():
        if found == name:
            yield value
        elif found.casefold() == name:
            raise ambiguous(found)


def _is_object(data: bytes) -> bool:
    """True if some reader accepts `data` as a JSON object, or as one followed by something.

    Some readers accept UTF-16, a byte order mark, NaN or broken text, or read only to the end of the object.
    """
    beginning = data[:LARGE]
    if _BEFORE_OBJECT.match(beginning) is None:
        return False
    text = beginning.decode(json.detect_encoding(beginning), "replace").lstrip("\ufeff \t\r\n\0")
    try:
        return isinstance(json.JSONDecoder(strict=False).raw_decode(text)[0], dict)
    except RecursionError:
        return True
    except json.JSONDecodeError as error:
        # A large message is an object only if its beginning is the beginning of one.
        rest = len(text) - error.pos
        return len(data) > LARGE and (rest < _CUT or error.msg.startswith("Unterminated string"))
    except ValueError:
        return False


class _ClientBytes:
    """Takes the client's bytes from aiohttp and writes them to the provider, no faster than it reads them.

    Many bytes are read in steps, and a large message is checked in a thread; later ones wait for it.
    """

    def __init__(self, watch: _Watch, connection: HttpConnection, transport: asyncio.Transport | None) -> None:
        self._watch = watch
        self._connection = connection
        self._transport = transport
        self._held: asyncio.Task[None] | None = None
        self._waiting: deque[bytes] = deque()
        self.refusal: WebSocketError | None = None
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """aiohttp: more bytes from the client."""
        if self.ended.done():
            return False, b""
        self._waiting += steps.pieces(data, step=STEP)
        if self._held is None:
            items = self._taken(self._waiting.popleft())
            if not any(map(_is_large, items)):
                self._write(items)
                items = []
            if (items or self._waiting or self._connection.write_paused) and self._transport is not None:
                self._transport.pause_reading()
                self._held = spawn(self._later(items), name="websocket waits for the provider")
        return False, b""

    def _taken(self, data: bytes) -> list[bytes | ClientMessage]:
        """The items that `data` completes."""
        try:
            return self._watch.taken(data)
        except WebSocketError as error:
            self._refuse(error)
            return []

    def _write(self, items: Iterable[bytes | ClientMessage]) -> None:
        passed: list[bytes] = []
        try:
            passed.extend(map(self._watch.passed, items))
        except WebSocketError as error:
            self._refuse(error)
        if passed:
            self._connection.write(b"".join(passed))

    async def _write_large(self, item: bytes | ClientMessage) -> None:
        if self.ended.done():
            return
        try:
            self._connection.write(await in_thread(self._watch.passed, item))
        except WebSocketError as error:
            self._refuse(error)
        await self._connection.drain()

    async def _later(self, items: list[bytes | ClientMessage]) -> None:
        while not self.ended.done():
            for large, some in groupby(items, _is_large):
                if large:
                    for item in some:
                        await self._write_large(item)
                else:
                    self._write(some)
                if self.ended.done():
                    return
            await self._connection.drain()
            if not self._waiting:
                break
            await asyncio.sleep(0)
            items = self._taken(self._waiting.popleft())
        self._held = None
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _refuse(self, error: WebSocketError) -> None:
        self.refusal = error
        self.feed_eof()

    def feed_eof(self) -> None:
        """aiohttp: the client disconnected."""
        if not self.ended.done():
            self.ended.set_result(None)


def _is_large(item: bytes | ClientMessage) -> bool:
    return isinstance(item, ClientMessage) and len(item.raw) >= LARGE
