"""Requests in another API's language than chat, for models whose connection does not speak it, and augmented models.

So every client can use every model of the house. The request is read into a chat request by its dialect, answered like
one, and the answer is written in the dialect; a target that speaks it among others that do not gets the bytes as they
came.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from openai_proxy.agent import run as agent
from openai_proxy.agent.plan import offers_ours
from openai_proxy.agent.refusal import UpstreamRefused
from openai_proxy.agent.turn import Turn
from openai_proxy.decision.decide import Decision, DecisionKind
from openai_proxy.dialects import CLIENT_DIALECTS, client_dialect, json_text
from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.fitting import for_connection
from openai_proxy.dialects.messages.read_request import estimate_tokens
from openai_proxy.dialects.ollama.options import left_out
from openai_proxy.errors import ProxyError, UpstreamError
from openai_proxy.exchange import Target, UpstreamRequest, UpstreamResponse, header
from openai_proxy.pipeline import augmented
from openai_proxy.pipeline.command_notice import prefaced
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document, prepared
from openai_proxy.pipeline.passthrough import check_answer, relay
from openai_proxy.server.headers import upstream_fields
from openai_proxy.tasks import spawn
from openai_proxy.transforms.params import shape
from openai_proxy.upstream.client_dialect import WrittenStream, as_dialect
from openai_proxy.upstream.failover import Opened, open_first
from openai_proxy.upstream.inprocess import BytesResponse, ChunksResponse
from openai_proxy.upstream.openai import OpenAIProvider

_NOTHING_ELSE = frozenset({"ollama", "gemini"})
"""Dialects whose documents mean nothing to a connection of another kind, whatever model it has of its own."""

_NOT_FOR_CHAT = (b"accept-encoding", b"content-type", b"content-encoding", b"anthropic-version", b"anthropic-beta")


def _needs_translation(context: RequestContext, decision: Decision) -> bool:
    """True if the request must be translated for one of its targets at least."""
    dialect = decision.endpoint.dialect
    if dialect not in CLIENT_DIALECTS or context.exchange.method != "POST":
        return False
    if decision.model is None:
        return dialect in _NOTHING_ELSE
    if decision.kind is DecisionKind.AUGMENTED:
        return True
    return not all(_takes_as_it_is(context, decision, target) for target in decision.route.targets)


def _takes_as_it_is(context: RequestContext, decision: Decision, target: Target) -> bool:
    """True if `target` is asked with the client's own document."""
    if not decision.native(context.generation.providers[target.connection]):
        return False
    # What `params` and interactive mode change has other places in Ollama's documents.
    return decision.endpoint.dialect != "ollama" or not (decision.rules[target.connection] or context.notice)


def tool_turn(context: RequestContext, decision: Decision, members: dict[str, Any]) -> Turn | None:
    """The turn of a plain model's request that offers tools which `execute_tools` runs here; None for any other."""
    if decision.kind is not DecisionKind.PLAIN or not augmented.executes_tools(context, members):
        return None
    dialect = decision.endpoint.dialect
    if dialect not in CLIENT_DIALECTS or not decision.endpoint.generates or decision.model is None:
        return None
    try:
        chat = client_dialect(dialect).read_request(context.whole_path, members).chat
    except ProxyError:
        return None  # what we cannot read, a provider that speaks the same language may
    turn = augmented.turn_with_tools(context, decision, chat)
    return turn if turn.toolbox is not None and offers_ours(chat, turn.toolbox) else None


async def serve(context: RequestContext, decision: Decision, document: Document) -> bool:
    """Answer a request whose endpoint has a dialect of its own; False if it can pass as it is."""
    turn = tool_turn(context, decision, document.members)
    if turn is None and not _needs_translation(context, decision):
        return False
    if decision.endpoint.name == "count_tokens":
        context.reply.extra.append(("x-request-id", context.exchange.id))
        await context.reply.send(200, orjson.dumps({"input_tokens": estimate_tokens(document.members)}))
        return True
    members = json_text.with_exact_numbers(document.members, document.plain)
    request = client_dialect(decision.endpoint.dialect).read_request(context.whole_path, members)
    if request.answer is not None:
        context.reply.extra.append(("x-request-id", context.exchange.id))
        await context.reply.send(200, request.answer)
    else:
        await answer(context, decision, document if turn is None else None, request, turn)
    return True


async def answer(
    context: RequestContext,
    decision: Decision,
    document: Document | None,
    request: IncomingRequest,
    turn: Turn | None = None,
    *,
    published: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Answer `request`, by `turn` where there is one.

    Without `document`, the bytes it was read from, every target is asked by chat. `published` waits until other
    daemons know what was kept of the answer, before the client sees its end.
    """
    if decision.kind is DecisionKind.AUGMENTED:
        turn = await augmented.turn_for(context, decision, request.chat)
    elif turn is not None:
        await augmented.caught_up(context, request.chat)
    if turn is not None:
        response = await _augmented(turn)
        opened = Opened(response, context.generation.providers[context.targets[0].connection], context.targets[0], None)
    else:
        opened = await _plain(context, decision, document, request)
    native = (
        document is not None
        and decision.kind is DecisionKind.PLAIN
        and _takes_as_it_is(context, decision, opened.target)
    )
    if not native:
        if dropped := (*request.dropped, *left_out(request.chat, opened.provider.api_type)):
            context.reply.extra.append(("x-proxy-dropped", ", ".join(dropped)))
        opened = await _written(context, decision, request, opened, checked=turn is not None)
        if published is not None:
            await _publish(opened.response, published)
    elif context.notice:
        opened.response = prefaced(opened.response, context.notice, context.endpoint.path)
    await relay(opened, context.reply, context.exchange, context.entry)


async def _augmented(turn: Turn) -> UpstreamResponse:
    try:
        answer = await agent.start(turn)
        if turn.body.get("stream") is True:
            pieces = answer.chunks()

            def end() -> None:
                spawn(pieces.aclose(), name="end of an agent's turn")

            return ChunksResponse(pieces, on_close=end)
        return BytesResponse(orjson.dumps(await answer.completion()))
    except UpstreamRefused as refused:
        return BytesResponse(refused.body, status=refused.status)


async def _plain(
    context: RequestContext, decision: Decision, document: Document | None, request: IncomingRequest
) -> Opened:
    """The first answer that stands, of a target that speaks the client's language or of one that is asked by chat."""
    generation, chat = context.generation, request.chat

    def make(target: Target) -> UpstreamRequest:
        fields = upstream_fields(context.request.raw_headers)
        rules = decision.rules[target.connection]
        asked: dict[str, Any] | None = None
        provider = generation.providers[target.connection]
        if document is not None and _takes_as_it_is(context, decision, target):
            changes = shape(document.members, rules, decision.endpoint.dialect)
            members = changes.members()
            if target.model is not None:
                members["model"] = orjson.dumps(target.model)
            changed = members or changes.removed
            body = document.edited(members, changes.removed) if changed else document.plain
            path, query = context.endpoint.path, context.query
            fields = [f for f in fields if f[0].lower() != b"content-encoding"]
        else:
            shaped = shape(chat, rules).applied(chat)
            ours = {"stream": chat["stream"]} if "stream" in chat else {}  # what the client is to get
            asked = for_connection({**shaped, **ours, "model": target.model or decision.name}, provider.api_type)
            if isinstance(provider, OpenAIProvider):
                asked = provider.fitted(asked)
            body = json_text.dumps(asked)
            path, query = request.path, ""
            fields = [f for f in fields if f[0].lower() not in _NOT_FOR_CHAT]
            fields += [(b"Content-Type", b"application/json"), (b"Accept-Encoding", b"identity")]
        return UpstreamRequest(
            "POST", path, query, fields, body, client_authorization=context.authorization_for(target), document=asked
        )

    await context.reserve(decision)
    targets = context.begin(decision)
    asking = await prepared(make, targets, large=context.large)
    return await open_first(targets, asking, generation.upstreams, context.exchange)


async def _written(
    context: RequestContext, decision: Decision, request: IncomingRequest, opened: Opened, *, checked: bool
) -> Opened:
    """`opened` with its answer in the client's language; an answer of the agent has been `checked`."""
    response = opened.response
    if not checked:
        seen = await check_answer(opened)
        if seen:
            response = BytesResponse(b"".join(seen), status=response.status, headers=_without_framing(response))
            opened.response.close()
    try:
        if context.notice:
            response = prefaced(response, context.notice)
        language = client_dialect(decision.endpoint.dialect)
        name = opened.target.connection
        asked = str(request.chat.get("model") or decision.model)
        answer = await as_dialect(
            response, language, request, asked, connection=name, on_usage=lambda usage: _note_usage(context, usage)
        )
    except UpstreamError:
        opened.response.close()
        raise
    # What is written here is an error of ours, and came after our own attempts.
    told = any(name == "x-should-retry" for name, _ in context.reply.extra)
    if answer.status >= 500 and not told and header(answer.headers, b"x-should-retry") is None:
        context.reply.extra.append(("x-should-retry", "false"))
    return Opened(answer, opened.provider, opened.target, None)


def _note_usage(context: RequestContext, usage: Any) -> None:
    """Keep what the provider told of a plain model's answer: the rounds of an augmented one are summed elsewhere."""
    if isinstance(usage, dict) and context.exchange.rounds == 1:
        context.exchange.usage = {**(context.exchange.usage or {}), **usage}


async def _publish(response: UpstreamResponse, published: Callable[[], Awaitable[None]]) -> None:
    if isinstance(response, WrittenStream):
        response.published = published
    else:
        await published()


def _without_framing(response: UpstreamResponse) -> list[tuple[bytes, bytes]]:
    return [f for f in response.headers if f[0].lower() not in (b"content-length", b"transfer-encoding")]
