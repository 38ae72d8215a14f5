"""The order of steps for every request to the API, on one page.

    admit     pipeline.dispatch and auth.gate: who is the caller, and may they use the proxy
    limit     what the caller's group may use
    read      the body, as far as the endpoint needs it
    command   in-chat commands act on the session
    redact    secrets are taken out
    decide    decision.decide: where it goes and how it is answered; without side effects
    begin     decision.begin: turns are taken, just before the first attempt
    send      to the provider, with failover
    relay     the answer to the client
    record    records.recording, from a copy

What passes through byte for byte takes the same steps in `fastpath.eligible`, in one callback.
"""

from functools import partial
from typing import Final

from openai_proxy.bounds import check_names, user_of
from openai_proxy.decision.decide import Decision, DecisionKind
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.pipeline import redacting, steering
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document, read_document
from openai_proxy.pipeline.passthrough import own_document, pass_through, upstream_request
from openai_proxy.protocols.json_members import check_unique
from openai_proxy.server.headers import is_upgrade
from openai_proxy.tasks import beside

_JSON_BEGINS: Final = (b"{", b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
"""Including byte order marks: some servers accept JSON in UTF-16, too."""


MAX_HEARD: Final = 4 << 20
"""Maximum bytes of an answer that are kept to identify its conversation later; a longer one ends the session."""


async def serve(context: RequestContext) -> None:
    """Answer one API request. Raises ProxyError before anything was sent."""
    await limit(context)
    if is_upgrade(context.request):
        from openai_proxy.pipeline import realtime

        await realtime.serve(context)
        return
    if context.endpoint.name == "stored":
        from openai_proxy.pipeline import stored  # few clients use stored answers

        if await stored.serve(context):
            return
    if not context.body.present:
        decision = context.decide(None)
        await pass_through(context, decision, lambda target: upstream_request(context, target, None))
    elif await _is_document(context):
        await _serve_document(context)
    elif context.content_type.startswith("multipart/"):
        from openai_proxy.pipeline import uploads

        await uploads.serve(context)
    else:
        await _serve_bytes(context)


async def _is_document(context: RequestContext) -> bool:
    """True for a body that is JSON, or that a provider might treat as JSON, whatever its Content-Type says.

    Otherwise a caller could show a model to the provider but not to us. Only where files are passed unchanged does the
    Content-Type decide.
    """
    if context.endpoint.json or context.content_type.endswith("json"):
        return True
    if context.content_type.startswith("multipart/") or context.endpoint.raw:
        return False
    if context.content_codings:
        return context.endpoint.generates
    beginning = await context.body.begins_with()
    return beginning.startswith(_JSON_BEGINS) or beginning[:8].replace(b"\0", b"").lstrip().startswith(b"{")


async def limit(context: RequestContext) -> None:
    """Admit the request under its group's limits, unless the fast path has. Raises RateLimited and BudgetExceeded."""
    generation, exchange = context.generation, context.exchange
    if generation.allowances and exchange.permit is None:
        allowance = generation.allowances.get(exchange.caller.group)
        if allowance is not None:
            await context.state.governor.enter(exchange, allowance)
            if exchange.budget_left is not None:
                left = f"{exchange.budget_left:.6f}".rstrip("0").rstrip(".")
                context.reply.extra.append(("x-proxy-budget-remaining", left))


async def _serve_document(context: RequestContext) -> None:
    read = await _read(context)
    logged = await redacting.for_the_log(context, read)
    steered = await _command(context, read)
    if steered is None:
        return
    cleaned = await redacting.clean(context, steered)
    context.document = cleaned.members
    walked = context.large and context.restricted  # everything in the body is searched for names of models
    decision = await beside(walked, context.decide, context.requested_model(cleaned.members))
    context.entry.request(logged)
    if context.opening is not None:
        context.entry.limit = MAX_HEARD
    await _send(context, decision, cleaned)
    if context.opening is not None and context.session is not None:
        from openai_proxy.pipeline import answer_text

        text_of_answer = answer_text.text_of_answer(context.entry, context.endpoint)
        context.state.sessions.begun(context.opening, text_of_answer, context.session)


async def _read(context: RequestContext) -> Document:
    raw, plain = await context.plain_body()
    read = await read_document(plain, raw)
    members = read.members
    context.exchange.model = context.requested_model(members)
    check_names(members)
    if context.restricted:
        await beside(read.large, check_unique, plain)
    context.exchange.stream = context.wants_stream(members)
    context.large = read.large
    context.exchange.user = user_of(members) or context.exchange.user
    return read


async def _command(context: RequestContext, read: Document) -> Document | None:
    """The request changed by its session, without its commands; None if it has been answered."""
    if not await steering.may_concern(context, read):
        return read
    return await steering.steer(context, read)


async def _send(context: RequestContext, decision: Decision, document: Document) -> None:
    generation, dialect = context.generation, context.endpoint.dialect
    make = partial(own_document, context, decision, document)
    if dialect == "chat" and generation.augmented is not None:
        from openai_proxy.pipeline import augmented  # without augmented models or tools the agent is never needed

        if decision.kind is DecisionKind.AUGMENTED:
            await augmented.serve(context, decision, document.members)
            return
        if augmented.executes_tools(context, document.members):
            await augmented.serve_with_tools(context, decision, document.members)
            return
    elif dialect == "responses":
        from openai_proxy.pipeline import responses

        await responses.serve(context, decision, document, make)
        return
    elif dialect not in ("", "chat"):
        from openai_proxy.pipeline import translated

        if await translated.serve(context, decision, document, make):
            return

    await pass_through(context, decision, make)


async def _serve_bytes(context: RequestContext) -> None:
    """A body that names no model we could read: sent to the default connection, unchanged."""

    def make(target: Target) -> UpstreamRequest:
        request = upstream_request(context, target, context.body.pieces())
        request.length = context.body.length
        return request

    await pass_through(context, context.decide(None), make)
