"""Passes a provider's answer on: same status, same bytes as they arrive, same headers except hop-by-hop ones.

This is the way through aiohttp's request handler; `fastpath.direct_relay` relays what needs no inspection. Both follow
one rule above all: a truncated answer must never look complete.
"""

import asyncio
import time
from collections.abc import Callable

from openai_proxy.decision.decide import Decision
from openai_proxy.errors import ProxyError, UpstreamAuthError, UpstreamError, UpstreamRedirect
from openai_proxy.exchange import Body, Exchange, Headers, Outcome, Target, UpstreamRequest, UpstreamResponse, header
from openai_proxy.fastpath.stream_end import AFTER_DONE, DONE_ENDS, at_boundary, error_event, is_event_stream
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document, prepared
from openai_proxy.protocols.inflate import readable_part
from openai_proxy.records.recording.entry import Entry
from openai_proxy.server.headers import downstream_fields, upstream_fields, wire_lines
from openai_proxy.server.reply import Reply
from openai_proxy.upstream.credentials import credentials
from openai_proxy.upstream.failover import Opened, open_first
from openai_proxy.upstream.provider import EndsWithError
from openai_proxy.upstream.refusals import is_moderation

MAX_ERROR_BODY = 64 * 1024
"""An error body up to this size is read whole and searched for our key (contract §3)."""

MakeRequest = Callable[[Target], UpstreamRequest]


async def pass_through(context: RequestContext, decision: Decision, make: MakeRequest) -> None:
    """Send to the targets of `decision`, with the request that `make` builds for each, and relay the answer."""
    opened = await ask(context, decision, make)
    if context.notice:
        from openai_proxy.pipeline.command_notice import prefaced

        opened.response = prefaced(opened.response, context.notice, context.endpoint.dialect)
    await relay(opened, context.reply, context.exchange, context.entry)


async def ask(context: RequestContext, decision: Decision, make: MakeRequest) -> Opened:
    """The first final answer, starting with what the fast path has tried. Raises ProxyError."""
    make = await prepared(make, decision.route.targets, large=context.large)
    first, failed = context.first, context.failed
    context.first = context.failed = None
    if failed is not None and not isinstance(failed, UpstreamError):
        raise failed
    await context.reserve(decision)
    return await open_first(
        context.begin(decision), make, context.generation.upstreams, context.exchange, first, failed
    )


def upstream_request(context: RequestContext, target: Target, body: Body, *, recoded: bool = False) -> UpstreamRequest:
    """The client's request for `target` with `body`; `recoded` if that no longer has a content coding."""
    fields = upstream_fields(context.request.raw_headers)
    if recoded:
        fields = [field for field in fields if field[0].lower() != b"content-encoding"]
    if context.notice or context.opening is not None:  # to be read here
        fields = [field for field in fields if field[0].lower() != b"accept-encoding"]
        fields.append((b"Accept-Encoding", b"identity"))
    return UpstreamRequest(
        context.exchange.method,
        context.endpoint.path,
        context.query,
        fields,
        body,
        client_authorization=context.authorization_for(target),
    )


def own_document(context: RequestContext, decision: Decision, document: Document, target: Target) -> UpstreamRequest:
    """The client's request for a `target` with its API: `document` with what the `decision` changes for that target."""
    body = document.shaped(decision.rules[target.connection], decision.endpoint.dialect, target.model)
    return upstream_request(context, target, body, recoded=body is not document.raw or document.raw is document.plain)


async def relay(opened: Opened, reply: Reply, exchange: Exchange, entry: Entry) -> None:
    """Send `opened`'s answer to the client to its end, or show that it broke off.

    Raises the UpstreamError family before anything was sent; ClientGone when the client disconnected.
    """
    response = opened.response
    try:
        read = await check_answer(opened)
        headers = response.headers
        exchange.status = response.status
        length = _announced(headers)
        head = wire_lines(downstream_fields(headers))
        add_trace(reply, exchange, upstream_id=header(headers, b"x-request-id") is not None)
        exchange.state = "streaming"
        reply.begin(response.status, response.reason.encode("latin-1"), head, length)
        entry.response(response.status, headers)
        await _body(response, read, reply, exchange, entry)
    finally:
        response.close()


async def _body(response: UpstreamResponse, read: list[bytes], reply: Reply, exchange: Exchange, entry: Entry) -> None:
    """Send the body: first what was already `read`, then the rest as it arrives."""
    last = b""
    try:
        while piece := read.pop(0) if read else await _next(response, last):
            if exchange.first_byte is None:
                exchange.first_byte = time.monotonic()
            await reply.write(piece)
            entry.data(piece)
            last = piece[-16:] if len(piece) >= 16 else (last + piece)[-16:]
    except (UpstreamError, asyncio.CancelledError) as caught:
        if isinstance(caught, UpstreamError) and last.endswith(DONE_ENDS) and not reply.announced_length:
            await reply.end()  # the message was complete; only the connection broke
            return
        error = came_to_an_end(caught, reply, exchange)
        if not await end_with_error(error, reply, exchange, response, last):
            reply.abort()
        return
    await reply.end()


async def _next(response: UpstreamResponse, last: bytes) -> bytes:
    """The next piece. After `[DONE]` the stream is over: a provider that keeps it open is not waited for."""
    if not last.endswith(DONE_ENDS):
        return await response.chunk()
    try:
        async with asyncio.timeout(AFTER_DONE):
            return await response.chunk()
    except TimeoutError:
        return b""


def came_to_an_end(caught: UpstreamError | asyncio.CancelledError, reply: Reply, exchange: Exchange) -> ProxyError:
    """The error for a client whose answer was ended by `caught`. Raises `caught` if the client has disconnected."""
    if isinstance(caught, UpstreamError):
        exchange.outcome = Outcome.ERROR
        exchange.error_code = caught.code
        if exchange.attempts:
            exchange.attempts[-1].failed(caught)
        return caught
    task = asyncio.current_task()
    if exchange.cut is None or reply.gone or task is None:
        raise caught
    task.uncancel()  # ended by an admin or the shutdown; the client is still connected and gets the reason
    exchange.outcome = Outcome.SHUTDOWN if exchange.cut.code == "server_shutting_down" else Outcome.CANCELLED
    exchange.error_code = exchange.cut.code
    return exchange.cut


async def end_with_error(
    error: ProxyError, reply: Reply, exchange: Exchange, response: UpstreamResponse, last: bytes
) -> bool:
    """End a failed stream with an error in its API's own format, if possible; returns whether it was."""
    if reply.http10 or reply.announced_length:
        return False
    if isinstance(response, EndsWithError):
        ending = response.broken(error)
    elif is_event_stream(response.headers) and at_boundary(last):
        ending = error_event(error, exchange.path)
    else:
        return False
    await reply.write(ending)
    await reply.end()
    return True


def add_trace(reply: Reply, exchange: Exchange, *, upstream_id: bool = False) -> None:
    """Our fields in an answer, each once: the time in the queue, a request id if it has none, and the attempts."""
    present = {name for name, _ in reply.extra}
    if exchange.queued and "x-proxy-queued" not in present:
        reply.extra.append(("x-proxy-queued", f"{exchange.queued:.3f}"))
    if not upstream_id and "x-request-id" not in present:
        reply.extra.append(("x-request-id", exchange.id))
    if exchange.tried > 1 and "x-proxy-attempts" not in present:
        reply.extra.append(("x-proxy-attempts", str(exchange.tried)))


async def check_answer(opened: Opened) -> list[bytes]:
    """Check for what must not reach a client: redirects, refusals of our key, error bodies that contain it.

    Returns the part of the body that was read for this.
    """
    response = opened.response
    status = response.status
    if status < 300:
        return []
    who = f"The connection '{opened.provider.name}'"
    if status < 400:
        if header(response.headers, b"location") is not None:
            raise UpstreamRedirect(f"{who} redirects elsewhere; its address is probably wrong.")
        return []
    keys = credentials(opened)
    if not keys:  # there is none, or the caller's own was sent
        return []
    if status == 401:
        raise UpstreamAuthError(f"{who} refused its API key.")
    read: list[bytes] = []
    size = 0
    while size <= MAX_ERROR_BODY and (piece := await response.chunk()):
        read.append(piece)
        size += len(piece)
    if status == 403 and not is_moderation(b"".join(read)):
        raise UpstreamAuthError(f"{who} refused its API key.")
    if size <= MAX_ERROR_BODY and _holds(b"".join(read), keys, response.headers):
        raise UpstreamAuthError(f"{who} answered with an error that contains its API key.")
    return read


def _holds(body: bytes, keys: tuple[bytes, ...], headers: Headers) -> bool:
    if header(headers, b"content-encoding") is not None:
        body = readable_part(body, 16 * MAX_ERROR_BODY)
    return any(key in body for key in keys)


def _announced(headers: Headers) -> int | None:
    value = header(headers, b"content-length")
    return int(value) if value is not None and value.isdigit() else None
