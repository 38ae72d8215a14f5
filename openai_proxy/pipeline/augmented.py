"""Answering for an augmented model: assemble the prompt, run the agent, send its one answer."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import orjson

from openai_proxy.agent import run as agent
from openai_proxy.agent.conversations import Conversation, Said, said_in
from openai_proxy.agent.deadline import Deadline
from openai_proxy.agent.plan import check_request, is_probe
from openai_proxy.agent.refusal import NO_RETRY, UpstreamRefused
from openai_proxy.agent.turn import CallRecord, Turn
from openai_proxy.decision.decide import Decision, DecisionKind
from openai_proxy.dialects import json_text
from openai_proxy.dialects.chat.conversation import chosen_id
from openai_proxy.errors import BadRequest, ProxyError, UpstreamError
from openai_proxy.exchange import Headers, Outcome, Target, UpstreamRequest, UpstreamResponse, header
from openai_proxy.fastpath.stream_end import error_event
from openai_proxy.pipeline.command_notice import into_completion, into_stream
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import prepared
from openai_proxy.pipeline.passthrough import came_to_an_end, check_answer, note_queue
from openai_proxy.pipeline.redacting import clean_round
from openai_proxy.pipeline.round_request import round_document
from openai_proxy.prompt.assembly import device_of, newest_user_text
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.headers import downstream_fields, lines, upstream_fields, wire_lines
from openai_proxy.tasks import in_thread
from openai_proxy.tools.base import CallContext, OwnersConsent, ToolResult
from openai_proxy.upstream.failover import Opened, open_first
from openai_proxy.upstream.inprocess import BytesResponse
from openai_proxy.upstream.lessons import ConnectionLessons

SERVER_WAIT = 5.0
"""Seconds a request waits for MCP servers that are still starting; then it goes on without them."""

_NOT_FOR_US = frozenset(
    {b"accept-encoding", b"content-type", b"content-encoding", b"accept", b"anthropic-version", b"anthropic-beta"}
)
"""Fields that speak of the client's own body and answer: versions and betas of an API among them."""
_STREAM = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
)


async def caught_up(context: RequestContext, document: Mapping[str, Any]) -> None:
    """Where the conversation has begun already, know what another daemon may have kept of it."""
    if context.state.shared.live and any(message.get("role") == "assistant" for message in document["messages"]):
        await context.state.shared.caught_up()


async def serve(context: RequestContext, decision: Decision, document: dict[str, Any]) -> None:
    """Answer a chat request for an augmented model."""
    await _answer(context, await turn_for(context, decision, document), document)


async def turn_for(context: RequestContext, decision: Decision, document: dict[str, Any]) -> Turn:
    """The agent's turn for a chat request: prompt filled in, tools at hand."""
    check_request(document)
    await caught_up(context, document)
    model = context.augmented.models[str(decision.model)]
    state = context.state
    probe = is_probe(document)
    exchange = context.exchange
    if model.config.warm:
        state.last_asked[model.config.name] = time.monotonic()
    deadline = Deadline(model.settings.deadline, time.monotonic, exchange.started)
    exchange.deadline = deadline.end if deadline.limited else None
    waking = asyncio.Event() if context.generation.upstreams.wakers else None
    exchange.on_waking = waking.set if waking is not None else None
    if model.servers and not probe:
        missing = await state.supervisor.wait_ready(model.servers, min(SERVER_WAIT, max(0.0, deadline.for_tools())))
        context.exchange.notes.extend(f"without MCP server '{name}'" for name in missing)
    house, extra = context.augmented.everything.toolbox(), context.augmented.context
    device = device_of(document["messages"])
    call_context = CallContext(
        context.exchange.id, context.exchange.caller.identity, device=device, consent=OwnersConsent()
    )

    async def call(name: str, arguments: Mapping[str, Any], **options: Any) -> ToolResult:
        return await (house if name in house else extra).run(name, arguments, call_context, **options)

    assembled = await model.prompt.messages(
        document["messages"],
        call,
        known=lambda name: name in house or name in extra,
        cache=state.workshop.cache,
        probe=probe,
        within=max(0.0, deadline.for_tools()),
        device=device,
    )
    body = {**document, "messages": assembled.messages}
    said = await in_thread(said_in, document["messages"]) if context.large else None
    conversation = _conversation(context, model.config.name, document, said)
    asking = _Asking(context, decision, assembled.tail)
    return Turn(
        body=body,
        model=model.config.name,
        ask=asking,
        toolbox=None if probe else model.offering.offered(conversation),
        settings=model.settings,
        caller=context.exchange.caller.identity,
        request_id=context.exchange.id,
        device=device,
        turns=state.turns,
        published=state.shared.written,
        observer=_Watcher(context),
        newest=newest_user_text(document["messages"]),
        started=context.exchange.started,
        waking=waking,
        thinking=_Thinking(state, asking),
        consent=conversation,
    )


def _conversation(
    context: RequestContext, model: str, document: Mapping[str, Any], said: Said | None = None
) -> Conversation:
    """What is kept of the conversation that a chat request goes on with; `said` as in `Conversations.of`."""
    conversations = context.state.workshop.conversations
    conversations.ttl = context.generation.config.session_ttl
    name = chosen_id(context.exchange.session_id, document)
    messages = document.get("messages")
    return conversations.of(
        context.exchange.caller.identity, model, name, messages if isinstance(messages, list) else (), said
    )


def executes_tools(context: RequestContext, document: Mapping[str, Any]) -> bool:
    """True if `execute_tools` may concern a plain model's request: it is on, and tools are offered."""
    generation = context.generation
    return generation.config.execute_tools and generation.augmented is not None and bool(document.get("tools"))


async def serve_with_tools(context: RequestContext, decision: Decision, document: dict[str, Any]) -> None:
    """Answer a plain model's chat request under `execute_tools`: calls to tools we have are run."""
    check_request(document)
    await caught_up(context, document)
    await _answer(context, turn_with_tools(context, decision, document), document)


def turn_with_tools(context: RequestContext, decision: Decision, document: dict[str, Any]) -> Turn:
    """The agent's turn for a plain model's chat request, in which only offered tools that we have are run."""
    return Turn(
        body=document,
        model=str(decision.model),
        ask=_Asking(context, decision),
        toolbox=context.augmented.everything.toolbox(),
        caller=context.exchange.caller.identity,
        request_id=context.exchange.id,
        turns=context.state.turns,
        published=context.state.shared.written,
        observer=_Watcher(context),
        offered_only=True,
        consent=_conversation(context, str(decision.model), document),
    )


async def _answer(context: RequestContext, turn: Turn, document: Mapping[str, Any]) -> None:
    try:
        answer = await agent.start(turn)
        if document.get("stream") is True:
            await _stream(context, answer)
            return
        completion = await _completion(context, answer)
        _note_error(context, answer)
    except UpstreamRefused as refused:
        await _refused(context, refused)
        return
    _note_id(context, answer.headers)
    if context.notice:
        into_completion(completion, context.notice)
    body = orjson.dumps(completion)
    context.entry.response(200, ((b"content-type", b"application/json"),))
    context.entry.data(body)
    await context.reply.send_as_is(200, body)


async def _completion(context: RequestContext, answer: agent.TurnAnswer) -> dict[str, Any]:
    try:
        return await answer.completion()
    except asyncio.CancelledError:
        if answer.acted and context.exchange.cut is not None:
            context.exchange.cut.headers.update(NO_RETRY)
        raise


async def _stream(context: RequestContext, answer: agent.TurnAnswer) -> None:
    reply, exchange, entry = context.reply, context.exchange, context.entry
    _note_id(context, answer.headers)
    entry.response(200, ((b"content-type", b"text/event-stream"),))
    try:
        reply.begin(200, b"OK", lines(_STREAM), None)
        async with aclosing(answer.stream()) as pieces:
            async for data in into_stream(pieces, context.notice) if context.notice else pieces:
                entry.data(data)
                await reply.write(data)
    except asyncio.CancelledError as caught:
        error = came_to_an_end(caught, reply, exchange)
        await reply.write(error_event(error, exchange.path))
        await reply.end()
        return
    finally:
        if answer.usage is not None:
            # Clients seldom ask for it, but records, limits and costs need it, of broken turns too: an event for
            # the record alone.
            entry.data(b"data: %b\n\n" % orjson.dumps({"choices": [], "usage": answer.usage}))
    _note_error(context, answer)
    await reply.end()


def _note_error(context: RequestContext, answer: agent.TurnAnswer) -> None:
    if answer.error is not None:
        context.exchange.outcome = Outcome.ERROR
        context.exchange.error_code = answer.error.code if isinstance(answer.error, ProxyError) else "upstream_refused"


async def _refused(context: RequestContext, refused: UpstreamRefused) -> None:
    """The provider's own error, unchanged but for what stops at a proxy.

    Raises UpstreamError, a sentence of ours, where an augmented model's provider answered with a page of HTML or gave
    no reason: its client may be a voice.
    """
    if context.decision is not None and context.decision.kind is DecisionKind.AUGMENTED and not refused.says_why:
        kept = {name: value for name in ("Retry-After",) if (value := _field(refused.headers, name))}
        who = context.exchange.attempts[-1].target.connection
        raise UpstreamError(
            f"The connection '{who}' answered with status {refused.status}.",
            status=refused.status,
            headers=kept | refused.extra,
        )
    context.exchange.outcome = Outcome.ERROR
    context.exchange.error_code = "upstream_refused"
    _note_id(context, refused.headers)
    ours = {b"x-request-id"}
    if "x-should-retry" in refused.extra:  # a tool has acted, which the provider cannot know
        ours.add(b"x-should-retry")
    passed = [f for f in downstream_fields(refused.headers) if f[0].lower() not in ours]
    head = wire_lines(passed) + lines(refused.extra.items())
    context.reply.begin(refused.status, refused.reason.encode("latin-1"), head, len(refused.body))
    context.entry.response(refused.status, refused.headers)
    context.entry.data(refused.body)
    await context.reply.write(refused.body)
    await context.reply.end()


def _field(headers: Headers, name: str) -> str:
    return (header(headers, name.lower().encode()) or b"").decode("latin-1")


def _note_id(context: RequestContext, headers: Headers) -> None:
    note_queue(context.reply, context.exchange)
    upstream = header(headers, b"x-request-id")
    name = upstream.decode("utf-8", "surrogateescape") if upstream else context.exchange.id
    context.reply.extra.append(("x-request-id", name))
    if context.exchange.tried > 1:
        context.reply.extra.append(("x-proxy-attempts", str(context.exchange.tried)))


class _Asking:
    """Sends the rounds of one turn: the first with failover, the later ones where the first was answered.

    Reasoning items, thought signatures and prompt caches are the provider's own, so a turn never changes it.
    """

    def __init__(self, context: RequestContext, decision: Decision, tail: str = "") -> None:
        """`tail` is what ends the newest user message and changes from turn to turn."""
        self._context = context
        self._tail = tail
        self._decision = decision
        self._won: Opened | None = None

    @property
    def answering(self) -> tuple[str, str, str]:
        """The connection that answers, or is the first to be asked, with the model's name there and its base URL."""
        target = self._won.target if self._won is not None else self._decision.route.targets[0]
        connection = self._context.generation.config.connections.get(target.connection)
        base = connection.api_base if connection is not None else ""
        return target.connection, target.model or self._decision.name or "", base

    async def __call__(self, body: dict[str, Any]) -> UpstreamResponse:
        context = self._context
        generation = context.generation
        decision = self._decision
        await context.reserve(decision)
        targets = context.begin(decision) if self._won is None else (self._won.target,)

        def make(target: Target) -> UpstreamRequest:
            try:
                shaped = round_document(generation, decision, target, body, self._tail)
                written = json_text.dumps(shaped)
                sent = clean_round(context, written, shaped)
            except (TypeError, RecursionError):  # fine to pass on untouched, but not to write anew
                message = "The request is nested too deeply."
                raise BadRequest(message, code="invalid_json") from None
            fields = [f for f in upstream_fields(context.request.raw_headers) if f[0].lower() not in _NOT_FOR_US]
            fields += [(b"Content-Type", b"application/json"), (b"Accept-Encoding", b"identity")]
            return UpstreamRequest(
                "POST", "/chat/completions", "", fields, sent, client_authorization=context.authorization_for(target),
                document=shaped if sent is written else None,
            )  # fmt: skip

        preferred = self._won.key if self._won is not None else None
        asking = await prepared(make, targets, large=context.large)
        opened = await open_first(targets, asking, generation.upstreams, context.exchange, preferred=preferred)
        if self._won is None:
            context.exchange.tries = len(context.exchange.attempts)
        self._won = opened
        try:
            read = await check_answer(opened)
        except UpstreamError:
            opened.response.close()
            raise
        if read:
            response = opened.response
            headers = [f for f in response.headers if f[0].lower() != b"content-length"]
            body_read = b"".join(read)
            response.close()
            return BytesResponse(body_read, status=response.status, headers=headers)
        return opened.response


class _Thinking:
    """agent.thinkers.Thinking: what is known of the model that answers, kept with all else that was learnt of it."""

    def __init__(self, state: ProxyState, asking: _Asking) -> None:
        self._state = state
        self._asking = asking

    @property
    def expected(self) -> bool:
        """See Thinking."""
        lessons, model = self._known()
        return lessons.thinks(model)

    def seen(self, *, thinks: bool) -> None:
        """See Thinking."""
        lessons, model = self._known()
        lessons.learn_thinks(model, thinks=thinks)

    def _known(self) -> tuple[ConnectionLessons, str]:
        connection, model, base = self._asking.answering
        return self._state.providers.lessons.of(connection, base), model


class _Watcher:
    """agent.turn.Observer: what the status page, the record and live events learn of a turn."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context

    def state(self, state: str) -> None:
        """The turn's present state."""
        self._context.exchange.state = state

    def usage(self, total: dict[str, Any] | None, rounds: int) -> None:
        """What the rounds so far took."""
        exchange = self._context.exchange
        exchange.usage, exchange.rounds = total, rounds
        if exchange.trace is not None:
            exchange.trace.round_ended(total)

    def tool_begins(self, call: str, tool: str) -> dict[str, str]:
        """One of our calls begins."""
        trace = self._context.exchange.trace
        return trace.tool_begins(call, tool) if trace is not None else {}

    def tool_call(self, record: CallRecord) -> None:
        """One of our calls has ended."""
        try:
            arguments: Any = json_text.loads(record.arguments or "{}")
        except ValueError:
            arguments = record.arguments
        if (trace := self._context.exchange.trace) is not None:
            trace.tool_ended(record.id, arguments, record.result, failed=record.status != "ok")
        self._context.entry.tool_call(
            record.tool, arguments, record.result, record.seconds * 1000, record.status, record.id
        )
        self._context.state.publish(
            "tool_call",
            {"request_id": self._context.exchange.id, "tool": record.tool, "status": record.status,
             "duration_ms": round(record.seconds * 1000, 1)},
        )  # fmt: skip
