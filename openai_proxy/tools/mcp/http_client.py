"""The HTTP client of one remote server: its failures affect one call each, and its answers are bounded.

In the SDK (2.3.0) any exception of httpx2 in one POST cancels the task that owns the transport, and with it every call
on that server (https://github.com/modelcontextprotocol/python-sdk/issues/3522); its error codes hide the HTTP status; a
JSON answer has no size limit and is parsed on the loop. So the SDK's client gets a transport of ours, in which

* an exception becomes a 502 response, and an interrupted body an error that the SDK assigns to the call,
* each request carries the token of the server's sign-in, and is sent once more with a new one if that is refused,
* the status of each call is noted in its trace, and refused credentials or a refused connection end the connection,
* large answers are cut down in a thread before the SDK sees them.

Imports the SDK's HTTP library: reached only through `sdk.py`.
"""

import asyncio
import logging
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import orjson

from openai_proxy.dialects import json_text
from openai_proxy.dialects.sse import EventSplitter, RawEvents, encode
from openai_proxy.tools.mcp.failures import TRACE, CallTrace, Failure, FailureKind, auth_hint, sign_in_hint
from openai_proxy.tools.mcp.filter import Wire
from openai_proxy.tools.mcp.lines import LINE_CAP, Oversized, parse
from openai_proxy.tools.mcp.oauth.account import OAuthAccount, SignInNeeded, SignInUnavailable
from openai_proxy.tools.mcp.repair import slim_message
from openai_proxy.tools.mcp.settings import ServerSettings, call_timeout

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10.0
_OFF_LOOP = 64 * 1024  # bytes from which an answer is cut down in a thread
_SESSION = "mcp-session-id"


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Between the SDK and the network. `failure` and `status` are those of the last request."""

    def __init__(
        self, config: ServerSettings, wire: Wire, lose: Callable[[Failure], None], account: OAuthAccount | None = None
    ) -> None:
        keepalive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
        if hasattr(socket, "TCP_KEEPIDLE"):
            # A peer that vanished silently is noticed after two minutes, on streams that may idle for days.
            keepalive += [(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60), (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)]
        self._inner = httpx2.AsyncHTTPTransport(
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=16),
            proxy=environment_proxy(config.url or ""),
            socket_options=keepalive,
        )
        self._name = config.name
        self._wire = wire
        self._lose = lose
        self._account = account
        self._patience = call_timeout(config) + 30.0  # an answer after its call's deadline is useless
        self.failure: str | None = None
        self.status: int | None = None
        self.refused: Failure | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it with the token of the server's sign-in, if any; never raises network errors."""
        trace = TRACE.get() or CallTrace()
        request.headers["accept-encoding"] = "identity"
        request.headers.update(trace.propagated)
        try:
            token = await self._account.token() if self._account is not None else None
            response = await self._send(request, trace, token)
            refused = response.status_code == 401 and request.method != "DELETE"
            if refused and token is not None and self._account is not None:
                response = await self._again(request, response, trace, await self._account.renewed(token))
        except SignInNeeded:
            self._refuse(Failure(FailureKind.AUTH, sign_in_hint(self._name)))
            return httpx2.Response(401, request=request)
        except SignInUnavailable as problem:
            trace.broken, self.failure = True, str(problem)
            self._lose(Failure(FailureKind.BROKEN, self.failure))
            return httpx2.Response(502, request=request)
        if trace.broken:
            return response
        self.failure = None
        self._note_status(request, response, trace)
        return await self._bounded(request, response)

    async def _again(
        self, request: httpx2.Request, refused: httpx2.Response, trace: CallTrace, token: str | None
    ) -> httpx2.Response:
        """Send a refused request again with another token; without one, it stays refused."""
        if token is None:
            return refused
        await refused.aclose()
        return await self._send(request, trace, token)

    async def _send(self, request: httpx2.Request, trace: CallTrace, token: str | None) -> httpx2.Response:
        """One exchange; a network failure becomes a 502 response, with `trace.broken`."""
        if token is not None:
            request.headers["authorization"] = f"Bearer {token}"
        sent_before, trace.sent, trace.broken = trace.sent, True, False
        request.extensions = {**request.extensions, "timeout": self._timeouts(request)}
        try:
            return await self._inner.handle_async_request(request)
        except httpx2.TransportError as problem:
            unsent = isinstance(problem, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout)
            trace.sent = sent_before if unsent else True
            trace.broken = True
            self.failure = network_error_text(problem)
            if unsent:
                self._lose(Failure(FailureKind.BROKEN, self.failure))
            return httpx2.Response(502, request=request)

    async def aclose(self) -> None:
        """Close every connection."""
        await self._inner.aclose()

    def _timeouts(self, request: httpx2.Request) -> dict[str, float | None]:
        endless = request.method == "GET" or request.headers.get("mcp-method") == "subscriptions/listen"
        read = None if endless else 3.0 if request.method == "DELETE" else self._patience
        return {"connect": CONNECT_TIMEOUT, "read": read, "write": 30.0, "pool": CONNECT_TIMEOUT}

    def _note_status(self, request: httpx2.Request, response: httpx2.Response, trace: CallTrace) -> None:
        trace.status = status = response.status_code
        trace.session = _SESSION in request.headers
        if request.method == "DELETE":
            return
        self.status = status
        if status in (401, 403):
            self._refused(status, response.headers.get("www-authenticate", ""), trace)
        elif status == 404 and trace.session:
            self._lose(Failure(FailureKind.SESSION, "it forgot the session (HTTP 404)"))

    def _refused(self, status: int, challenge: str, trace: CallTrace) -> None:
        """Credentials that are missing, wrong, or insufficient (only the latter leaves the connection in service)."""
        account = self._account
        if account is None:
            self._refuse(Failure(FailureKind.AUTH, auth_hint(status)))
            return
        account.challenged(status, challenge)
        more_access_required = account.challenge is not None and account.challenge.requires_more_access
        hint = sign_in_hint(self._name, more=more_access_required) if account.offers_sign_in else auth_hint(status)
        self.refused = Failure(FailureKind.AUTH, hint)
        if more_access_required and account.signed_in:
            trace.more_access_required = True
        else:
            self._refuse(self.refused)

    def _refuse(self, failure: Failure) -> None:
        self.refused = failure
        self._lose(failure)

    async def _bounded(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        stream = response.stream
        assert isinstance(stream, httpx2.AsyncByteStream)
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            await stream.aclose()
            self._wire.note("compresses its answers although it was asked not to; refused")
            return httpx2.Response(502, request=request)
        body: httpx2.AsyncByteStream
        if kind == "text/event-stream":
            body = _Events(stream, self._wire)
        else:
            body = _Body(stream, self._wire, is_json=kind == "application/json")
        headers = [(name, value) for name, value in response.headers.raw if name.lower() != b"content-length"]
        return httpx2.Response(
            response.status_code, headers=headers, stream=body, request=request, extensions=response.extensions
        )


class _Body(httpx2.AsyncByteStream):
    """A whole body: read to its end within the limit, large JSON cut down in a thread."""

    def __init__(self, inner: httpx2.AsyncByteStream, wire: Wire, *, is_json: bool) -> None:
        self._inner = inner
        self._wire = wire
        self._is_json = is_json

    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in self._inner:
                chunks.append(chunk)
                size += len(chunk)
                if size > LINE_CAP:
                    raise httpx2.StreamError(f"the answer is larger than {LINE_CAP >> 20} MiB")
        except httpx2.TransportError as problem:
            # Of the errors that reading can raise, the SDK assigns only StreamError to the call.
            raise httpx2.StreamError(network_error_text(problem)) from None
        body = b"".join(chunks)
        if self._is_json and size >= _OFF_LOOP:
            body = await asyncio.to_thread(_slim, body, self._wire)
        yield body

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Events(httpx2.AsyncByteStream):
    """A stream of events, passed on one by one; large ones cut down, too large ones replaced by an error."""

    def __init__(self, inner: httpx2.AsyncByteStream, wire: Wire) -> None:
        self._inner = inner
        self._wire = wire

    async def __aiter__(self) -> AsyncIterator[bytes]:
        events = RawEvents(LINE_CAP, self._too_large)
        async for chunk in self._inner:
            for event in events.feed(chunk):
                yield await self._slim(event) if len(event) >= _OFF_LOOP else event

    async def _slim(self, raw: bytes) -> bytes:
        for event in EventSplitter().feed(raw):
            fields = {b"event": event.name.encode(), b"id": event.id.encode()}
            data = await asyncio.to_thread(_slim, event.data, self._wire)
            return b"".join([*(b"%b: %b\n" % field for field in fields.items() if field[1]), encode(data)])
        return raw  # a comment

    def _too_large(self, head: bytes, size: int, tail: bytes) -> bytes:
        """An error in place of an answer beyond the limit; in a call's own stream the SDK sets the right id."""
        self._wire.note(f"dropped an event of more than {LINE_CAP >> 20} MiB")
        fields, _, data = head.partition(b"data:")
        text = f"The result was too large ({size >> 20} MiB) and was dropped."
        error = {"code": -32603, "message": text}
        return fields + encode(
            orjson.dumps({"jsonrpc": "2.0", "id": Oversized(data, size, tail).answers() or 0, "error": error})
        )

    async def aclose(self) -> None:
        await self._inner.aclose()


def _slim(body: bytes, wire: Wire) -> bytes:
    """A smaller version of the same message, still JSON; `body` itself if it is not JSON. Runs in a thread."""
    try:
        message = parse(body)
        wire.left_out += slim_message(message)
        return json_text.dumps(message)
    except (ValueError, TypeError):
        return body


def network_error_text(problem: httpx2.TransportError) -> str:
    """What went wrong in the network, without an address."""
    cause: BaseException | None = problem
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {getattr(cause, 'verify_message', '') or cause.reason or 'handshake'}"
        if isinstance(cause, socket.gaierror):
            return "its host name is not known"
        if isinstance(cause, ConnectionRefusedError):
            return "the connection was refused"
        cause = cause.__cause__ or cause.__context__
    match problem:
        case httpx2.ConnectTimeout():
            return f"no connection within {CONNECT_TIMEOUT:g} s"
        case httpx2.TimeoutException():
            return "it did not answer in time"
        case httpx2.ConnectError():
            return "no connection"
        case _:
            return "the connection broke"


def environment_proxy(url: str) -> str | None:
    """The proxy that the environment names for `url`: a client with a custom transport does not look for it."""
    parsed = httpx2.URL(url)
    if urllib.request.proxy_bypass(parsed.host):
        return None
    return urllib.request.getproxies().get(parsed.scheme)


def new_client(config: ServerSettings, gate: GuardedTransport) -> Any:
    """A client for one connection generation, with the server's headers and no cookies or settings of another."""
    return httpx2.AsyncClient(transport=gate, headers=dict(config.headers), trust_env=False)
