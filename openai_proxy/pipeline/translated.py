"""Requests in another API than chat, for augmented models and for models whose connection lacks that API.

So every client can use every model. The dialect reads the request as a chat request, which is answered like one, and
the answer is written in the dialect; a target with that API among others without it gets the original bytes.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from openai_proxy.agent import run as agent
from openai_proxy.agent.plan import offers_ours
from openai_proxy.agent.refusal import UpstreamRefused
from openai_proxy.agent.turn import Turn
from openai_proxy.decision.decide import Decision, DecisionKind
from openai_proxy.dialects import CLIENT_DIALECTS, client_dialect, json_text
from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.chat.chunks import size_of
from openai_proxy.dialects.estimate import estimate_tokens
from openai_proxy.dialects.ollama.options import left_out
from openai_proxy.errors import ProxyError, UpstreamError
from openai_proxy.exchange import Target, UpstreamRequest, UpstreamResponse, header
from openai_proxy.pipeline import augmented
from openai_proxy.pipeline.command_notice import prefaced
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document
from openai_proxy.pipeline.passthrough import MakeRequest, ask, check_answer, relay
from openai_proxy.pipeline.round_request import chat_request, round_document
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.tasks import beside, spawn
from openai_proxy.upstream.client_dialect import WrittenStream, as_dialect
from openai_proxy.upstream.failover import Opened
from openai_proxy.upstream.inprocess import BytesResponse, ChunksResponse
from openai_proxy.upstream.translating import dropped_names

_NOTHING_ELSE = frozenset({"ollama", "gemini"})
"""Dialects whose documents only connections of their own type understand, whatever models others have."""


def _needs_translation(context: RequestContext, decision: Decision) -> bool:
    """True if the request must be translated for at least one of its targets."""
    dialect = decision.endpoint.dialect
    if dialect not in CLIENT_DIALECTS or context.exchange.method != "POST":
        return False
    if decision.model is None:
        return dialect in _NOTHING_ELSE
    if decision.kind is DecisionKind.AUGMENTED:
        return True
    return not all(_takes_as_it_is(context, decision, target) for target in decision.route.targets)


def _takes_as_it_is(context: RequestContext, decision: Decision, target: Target) -> bool:
    """True if `target` gets the client's own document."""
    if not decision.native(context.generation.providers[target.connection]):
        return False
    # What `params` and interactive mode change is in other places in Ollama's documents.
    return decision.endpoint.dialect != "ollama" or not (decision.rules[target.connection] or context.notice)


async def tool_turn(context: RequestContext, decision: Decision, members: dict[str, Any]) -> Turn | None:
    """The turn of a plain model's request that offers tools which `execute_tools` runs here; None for any other."""
    if decision.kind is not DecisionKind.PLAIN or not augmented.executes_tools(context, members):
        return None
    dialect = decision.endpoint.dialect
    if dialect not in CLIENT_DIALECTS or not decision.endpoint.generates or decision.model is None:
        return None
    try:
        read = client_dialect(dialect).read_request
        chat = (await beside(context.large, read, context.whole_path, members)).chat
    except ProxyError:
        return None  # a provider with the same API may be able to read it
    turn = await augmented.turn_with_tools(context, decision, chat)
    return turn if turn.toolbox is not None and offers_ours(chat, turn.toolbox) else None


async def serve(context: RequestContext, decision: Decision, document: Document, make: MakeRequest) -> bool:
    """Answer a request whose endpoint has a dialect of its own; False if it can be passed through.

    `make` builds it for targets with that dialect.
    """
    turn = await tool_turn(context, decision, document.members)
    if turn is None and not _needs_translation(context, decision):
        return False
    read = client_dialect(decision.endpoint.dialect).read_request
    if decision.endpoint.name == "count_tokens":
        # A request that could not be answered is not counted either.
        await beside(context.large, read, context.whole_path, {"max_tokens": 1, **document.members})
        counted = await beside(context.large, estimate_tokens, document.members)
        await context.send(json_text.dumps({"input_tokens": counted}))
        return True
    request = await beside(context.large, read, context.whole_path, document.exact())
    if request.answer is not None:
        await context.send(request.answer)
    else:
        await answer(context, decision, make if turn is None else None, request, turn)
    return True


async def answer(
    context: RequestContext,
    decision: Decision,
    own: MakeRequest | None,
    request: IncomingRequest,
    turn: Turn | None = None,
    *,
    published: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Answer `request`, by `turn` if there is one.

    Without `own`, which builds the client's own request, every target gets a chat request. `published` waits until
    other daemons know what was stored of the answer, before the client sees its end.
    """
    if decision.kind is DecisionKind.AUGMENTED:
        turn = await augmented.turn_for(context, decision, request.chat)
    elif turn is not None:
        await augmented.caught_up(context, request.chat)
    if turn is not None:
        response = await _augmented(turn)
        opened = Opened(response, context.generation.providers[context.targets[0].connection], context.targets[0], None)
    else:
        opened = await _plain(context, decision, own, request)
    native = (
        own is not None and decision.kind is DecisionKind.PLAIN and _takes_as_it_is(context, decision, opened.target)
    )
    if not native:
        if dropped := dropped_names((*request.dropped, *left_out(request.chat, opened.provider.api_type))):
            context.reply.extra.append(("x-proxy-dropped", dropped))
        opened = await _written(context, decision, request, opened, checked=turn is not None)
        if published is not None:
            await _publish(opened.response, published)
    elif context.notice:
        opened.response = prefaced(opened.response, context.notice, context.endpoint.dialect)
    await relay(opened, context.reply, context.exchange, context.entry)


async def _augmented(turn: Turn) -> UpstreamResponse:
    try:
        answer = await agent.start(turn)
        if turn.body.get("stream") is True:
            pieces = answer.chunks()

            def end() -> None:
                spawn(pieces.aclose(), name="end of an agent's turn")

            return ChunksResponse(pieces, on_close=end)
        completion = await answer.completion()
        return BytesResponse(await beside(size_of(completion) >= LARGE, json_text.dumps, completion))
    except UpstreamRefused as refused:
        return BytesResponse(refused.body, status=refused.status)


async def _plain(
    context: RequestContext, decision: Decision, own: MakeRequest | None, request: IncomingRequest
) -> Opened:
    """The first final answer, of a target with the client's API or of one that gets a chat request."""

    def make(target: Target) -> UpstreamRequest:
        if own is not None and _takes_as_it_is(context, decision, target):
            return own(target)
        asked = round_document(context.generation, decision, target, request.chat, kept=("stream",))
        return chat_request(context, target, json_text.dumps(asked, large=context.large), asked, request.path)

    return await ask(context, decision, make)


async def _written(
    context: RequestContext, decision: Decision, request: IncomingRequest, opened: Opened, *, checked: bool
) -> Opened:
    """`opened` with its answer in the client's dialect; an answer of the agent was already `checked`."""
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
            response,
            language,
            request,
            asked,
            connection=name,
            on_usage=lambda usage: _note_usage(context, usage),
            large=context.large,
        )
    except UpstreamError:
        opened.response.close()
        raise
    # This is an error of ours, and came after our own attempts.
    present = any(name == "x-should-retry" for name, _ in context.reply.extra)
    if answer.status >= 500 and not present and header(answer.headers, b"x-should-retry") is None:
        context.reply.extra.append(("x-should-retry", "false"))
    return Opened(answer, opened.provider, opened.target, None)


def _note_usage(context: RequestContext, usage: Any) -> None:
    """Note the usage of a plain model's answer: the rounds of an augmented one are summed elsewhere."""
    if isinstance(usage, dict) and context.exchange.rounds == 1:
        context.exchange.usage = {**(context.exchange.usage or {}), **usage}


async def _publish(response: UpstreamResponse, published: Callable[[], Awaitable[None]]) -> None:
    if isinstance(response, WrittenStream):
        response.published = published
    else:
        await published()


def _without_framing(response: UpstreamResponse) -> list[tuple[bytes, bytes]]:
    return [f for f in response.headers if f[0].lower() not in (b"content-length", b"transfer-encoding")]
