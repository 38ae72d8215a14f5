"""Answers a request for an augmented model: assembles the prompt, runs the agent, sends its answer."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

from openai_proxy import steps
from openai_proxy.agent import run as agent
from openai_proxy.agent.conversations import Conversation, digests_of
from openai_proxy.agent.deadline import Deadline
from openai_proxy.agent.plan import check_request, is_probe
from openai_proxy.agent.refusal import NO_RETRY, UpstreamRefused
from openai_proxy.agent.turn import CallRecord, Turn
from openai_proxy.decision.decide import Decision, DecisionKind
from openai_proxy.dialects import json_text
from openai_proxy.dialects.chat.chunks import size_of
from openai_proxy.dialects.chat.conversation_id import chosen_id
from openai_proxy.errors import BadRequest, ProxyError, UpstreamError, answered_with
from openai_proxy.exchange import Headers, Outcome, Target, UpstreamRequest, UpstreamResponse, header
from openai_proxy.fastpath.stream_end import error_event
from openai_proxy.pipeline.command_notice import into_completion, into_stream
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import prepared
from openai_proxy.pipeline.passthrough import add_trace, came_to_an_end, check_answer
from openai_proxy.pipeline.redacting import clean_round
from openai_proxy.pipeline.round_request import chat_request, round_document
from openai_proxy.prompt.assembly import device_of, newest_user_text
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.headers import downstream_fields, lines, wire_lines
from openai_proxy.tasks import beside
from openai_proxy.tools.base import CallContext, OwnersConsent, ToolResult
from openai_proxy.upstream.failover import Opened, open_first
from openai_proxy.upstream.inprocess import BytesResponse
from openai_proxy.upstream.lessons import ConnectionLessons

SERVER_WAIT = 5.0
"""Seconds that a request waits for MCP servers that are starting; then it continues without them."""

_STREAM = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
)


async def caught_up(context: RequestContext, document: Mapping[str, Any]) -> None:
    """For a continued conversation, get what another daemon may have stored about it."""
    if context.state.shared.live and any(message.get("role") == "assistant" for message in document["messages"]):
        await context.state.shared.caught_up()


async def serve(context: RequestContext, decision: Decision, document: dict[str, Any]) -> None:
    """Answer a chat request for an augmented model."""
    await _answer(context, await turn_for(context, decision, document), document)


async def turn_for(context: RequestContext, decision: Decision, document: dict[str, Any]) -> Turn:
    """The agent's turn for a chat request, with its prompt and tools."""
    await beside(context.large, check_request, document)
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
    shared_tools, extra = context.augmented.everything.toolbox(), context.augmented.context
    device = await beside(context.large, device_of, document["messages"])
    call_context = CallContext(
        context.exchange.id, context.exchange.caller.identity, device=device, consent=OwnersConsent()
    )

    async def call(name: str, arguments: Mapping[str, Any], **options: Any) -> ToolResult:
        return await (shared_tools if name in shared_tools else extra).run(name, arguments, call_context, **options)

    assembled = await model.prompt.messages(
        document["messages"],
        call,
        known=lambda name: name in shared_tools or name in extra,
        cache=state.workshop.cache,
        probe=probe,
        within=max(0.0, deadline.for_tools()),
        device=device,
        large=context.large,
    )
    body = {**document, "messages": assembled.messages}
    conversation = await _conversation(context, model.config.name, document)
    theirs = await model.device_tools(device, max(0.0, deadline.for_tools())) if device and not probe else ()
    asking = _Asking(context, decision, assembled.tail)
    return Turn(
        body=body,
        model=model.config.name,
        ask=asking,
        toolbox=None if probe else model.offering.offered(conversation, theirs),
        settings=model.settings,
        caller=context.exchange.caller.identity,
        request_id=context.exchange.id,
        device=device,
        turns=state.turns,
        published=state.shared.written,
        observer=_Watcher(context),
        newest=await beside(context.large, newest_user_text, document["messages"]),
        started=context.exchange.started,
        waking=waking,
        thinking=_Thinking(state, asking),
        consent=conversation,
        large=context.large,
    )


async def _conversation(context: RequestContext, model: str, document: dict[str, Any]) -> Conversation:
    """What is stored about the conversation that a chat request continues."""
    conversations = context.state.workshop.conversations
    conversations.follow(context.generation.config.session_ttl)
    name = chosen_id(context.exchange.session_id, document)
    messages = document.get("messages")
    messages = messages if isinstance(messages, list) else ()
    digests = await beside(context.large, digests_of, messages)
    return conversations.of(context.exchange.caller.identity, model, name, messages, digests)


def executes_tools(context: RequestContext, document: Mapping[str, Any]) -> bool:
    """True if `execute_tools` may affect a plain model's request: it is on, and tools are offered."""
    generation = context.generation
    return generation.config.execute_tools and generation.augmented is not None and bool(document.get("tools"))


async def serve_with_tools(context: RequestContext, decision: Decision, document: dict[str, Any]) -> None:
    """Answer a plain model's chat request under `execute_tools`: calls to tools that we have are run."""
    await beside(context.large, check_request, document)
    await caught_up(context, document)
    await _answer(context, await turn_with_tools(context, decision, document), document)


async def turn_with_tools(context: RequestContext, decision: Decision, document: dict[str, Any]) -> Turn:
    """The agent's turn for a plain model's chat request, which only runs offered tools that we have."""
    return Turn(
        body=document,
        model=str(decision.model),
        ask=_Asking(context, decision),
        toolbox=context.augmented.everything.toolbox(),
        caller=context.exchange.caller.identity,
        request_id=context.exchange.id,
        device=await beside(context.large, device_of, document["messages"]),
        turns=context.state.turns,
        published=context.state.shared.written,
        observer=_Watcher(context),
        offered_only=True,
        consent=await _conversation(context, str(decision.model), document),
        large=context.large,
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
    _trace(context, answer.headers)
    if context.notice:
        into_completion(completion, context.notice)
    body = await beside(size_of(completion) >= LARGE, json_text.dumps, completion)
    del completion  # it must not stay beside its JSON while the client does not read
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
    _trace(context, answer.headers)
    entry.response(200, ((b"content-type", b"text/event-stream"),))
    try:
        reply.begin(200, b"OK", lines(_STREAM), None, hold=True)
        async with aclosing(answer.stream()) as pieces:
            async for data in into_stream(pieces, context.notice) if context.notice else pieces:
                for piece in steps.pieces(data):
                    entry.data(piece)
                    await reply.write(piece)
    except asyncio.CancelledError as caught:
        error = came_to_an_end(caught, reply, exchange)
        await reply.write(error_event(error, exchange.path))
        await reply.end()
        return
    finally:
        if answer.usage is not None:
            # Clients rarely request usage, but records, limits and costs need it, even of failed turns: so there is an
            # event for the record only.
            entry.data(b"data: %b\n\n" % json_text.dumps({"choices": [], "usage": answer.usage}))
    _note_error(context, answer)
    await reply.end()


def _note_error(context: RequestContext, answer: agent.TurnAnswer) -> None:
    if answer.error is not None:
        context.exchange.outcome = Outcome.ERROR
        context.exchange.error_code = answer.error.code if isinstance(answer.error, ProxyError) else "upstream_refused"


async def _refused(context: RequestContext, refused: UpstreamRefused) -> None:
    """The provider's own error, unchanged except for hop-by-hop fields.

    Raises UpstreamError, with a sentence of ours, if an augmented model's provider answered with a page of HTML or gave
    no reason: its client may be a voice assistant.
    """
    if context.decision is not None and context.decision.kind is DecisionKind.AUGMENTED and not refused.says_why:
        kept = {name: value for name in ("Retry-After",) if (value := _field(refused.headers, name))}
        who = context.exchange.attempts[-1].target.connection
        raise UpstreamError(
            answered_with(who, refused.status),
            status=refused.status,
            headers=kept | refused.extra,
        )
    context.exchange.outcome = Outcome.ERROR
    context.exchange.error_code = "upstream_refused"
    _trace(context, refused.headers)
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


def _trace(context: RequestContext, headers: Headers) -> None:
    upstream = header(headers, b"x-request-id")
    if upstream:
        context.reply.extra.append(("x-request-id", upstream.decode("utf-8", "surrogateescape")))
    add_trace(context.reply, context.exchange)


class _Asking:
    """Sends the rounds of one turn: the first with failover, later ones to the connection that answered the first.

    Reasoning items, thought signatures and prompt caches belong to the provider, so a turn never changes it.
    """

    def __init__(self, context: RequestContext, decision: Decision, tail: str = "") -> None:
        """`tail` is the end of the newest user message that changes every turn."""
        self._context = context
        self._tail = tail
        self._decision = decision
        self._won: Opened | None = None

    @property
    def answering(self) -> tuple[str, str, str]:
        """The connection that answers, or will be tried first, with the model's name there and its base URL."""
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
                written = json_text.dumps(shaped, large=context.large)
                sent = clean_round(context, written, shaped)
            except (TypeError, RecursionError):  # valid to pass on unchanged, but too deep to encode again
                message = "The request is nested too deeply."
                raise BadRequest(message, code="invalid_json") from None
            return chat_request(context, target, sent, shaped if sent is written else None)

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
    """agent.turn.Thinking: what is known about the model that answers, stored with its other lessons."""

    def __init__(self, state: ProxyState, asking: _Asking) -> None:
        self._state = state
        self._asking = asking

    @property
    def expected(self) -> bool:
        lessons, model = self._known()
        return lessons.thinks(model)

    def seen(self, *, thinks: bool) -> None:
        lessons, model = self._known()
        lessons.learn_thinks(model, thinks=thinks)

    def _known(self) -> tuple[ConnectionLessons, str]:
        connection, model, base = self._asking.answering
        return self._state.providers.lessons.of(connection, base), model


class _Watcher:
    """agent.turn.Observer: what the status page, the record and live events learn about a turn."""

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._streaming = False

    def state(self, state: str) -> None:
        """The turn's present state."""
        exchange = self._context.exchange
        exchange.state = state
        if state == "streaming" and exchange.stream and not self._streaming:
            self._streaming = True
            # The head may have been sent long before, ahead of tools or a wake-up.
            exchange.first_byte = time.monotonic()

    def usage(self, total: dict[str, Any] | None, rounds: int) -> None:
        """The usage of the rounds so far."""
        exchange = self._context.exchange
        exchange.usage, exchange.rounds = total, rounds
        if exchange.trace is not None:
            exchange.trace.round_ended(total)

    def tool_begins(self, call: str, tool: str) -> dict[str, str]:
        """One of our calls starts."""
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
