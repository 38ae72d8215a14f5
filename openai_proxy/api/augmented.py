"""Answering for an augmented model: assemble the prompt, run the agent, send its one answer."""

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import Any

import orjson

from openai_proxy.agent import run as agent
from openai_proxy.agent.plan import check_request, is_probe
from openai_proxy.agent.refusal import NO_RETRY, UpstreamRefused
from openai_proxy.agent.turn import CallRecord, Turn
from openai_proxy.api.headers import downstream_fields, lines, upstream_fields, wire_lines
from openai_proxy.api.passthrough import came_to_an_end, check_answer, error_event, field
from openai_proxy.api.preface import into_completion, into_stream
from openai_proxy.api.redacting import clean_round
from openai_proxy.api.visit import Visit
from openai_proxy.errors import BadRequest, ProxyError, UpstreamError
from openai_proxy.exchange import Headers, Outcome, Target, UpstreamRequest, UpstreamResponse
from openai_proxy.routing.router import Route
from openai_proxy.runtime.augmented import AugmentedModel
from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.transforms.params import shape
from openai_proxy.upstream.failover import Opened, open_first
from openai_proxy.upstream.inprocess import BytesResponse

SERVER_WAIT = 5.0
"""Seconds a request waits for MCP servers that are still starting; then it goes on without them."""

_OURS = ("stream", "stream_options", "tools")
"""Members of an upstream request that the loop itself decides, whatever `params` say."""

_NOT_FOR_US = frozenset({b"accept-encoding", b"content-type", b"content-encoding", b"accept"})
_STREAM = (
    ("Content-Type", "text/event-stream; charset=utf-8"),
    ("Cache-Control", "no-cache"),
    ("X-Accel-Buffering", "no"),
)


async def serve(visit: Visit, model: AugmentedModel, route: Route, document: dict[str, Any]) -> None:
    """Answer a chat request for an augmented model."""
    await _answer(visit, await turn_for(visit, model, route, document), document)


async def turn_for(visit: Visit, model: AugmentedModel, route: Route, document: dict[str, Any]) -> Turn:
    """The agent's turn for a chat request: prompt filled in, tools at hand."""
    check_request(document)
    state = visit.state
    probe = is_probe(document)
    if model.servers and not probe:
        missing = await state.supervisor.wait_ready(model.servers, SERVER_WAIT)
        visit.exchange.notes.extend(f"without MCP server '{name}'" for name in missing)
    house = visit.house.everything.toolbox()
    context = CallContext(visit.exchange.id, visit.exchange.caller.identity)

    async def call(name: str, arguments: Mapping[str, Any], **options: Any) -> ToolResult:
        return await house.run(name, arguments, context, **options)

    messages = await model.prompt.messages(
        document["messages"],
        call,
        known=house.__contains__,
        cache=state.workshop.cache,
        probe=probe,
    )
    body = {**document, "messages": messages}
    return Turn(
        body=body,
        model=model.config.name,
        ask=_Asking(visit, route, model.config.upstream_model),
        toolbox=None if probe else model.tools.toolbox(),
        settings=model.settings,
        caller=visit.exchange.caller.identity,
        request_id=visit.exchange.id,
        turns=state.turns,
        observer=_Watcher(visit),
    )


async def serve_with_tools(visit: Visit, route: Route, document: dict[str, Any], model: str) -> None:
    """Answer a plain model's chat request under `execute_tools`: calls to tools we have are run."""
    turn = Turn(
        body=document,
        model=model,
        ask=_Asking(visit, route, model),
        toolbox=visit.house.everything.toolbox(),
        caller=visit.exchange.caller.identity,
        request_id=visit.exchange.id,
        turns=visit.state.turns,
        observer=_Watcher(visit),
        offered_only=True,
    )
    await _answer(visit, turn, document)


async def _answer(visit: Visit, turn: Turn, document: Mapping[str, Any]) -> None:
    try:
        answer = await agent.start(turn)
        if document.get("stream") is True:
            await _stream(visit, answer)
            return
        completion = await _completion(visit, answer)
    except UpstreamRefused as refused:
        await _refused(visit, refused)
        return
    _note_id(visit, answer.headers)
    if visit.preface:
        into_completion(completion, visit.preface)
    body = orjson.dumps(completion)
    visit.entry.response(200, ((b"content-type", b"application/json"),))
    visit.entry.data(body)
    await visit.reply.send(200, body)


async def _completion(visit: Visit, answer: agent.Answer) -> dict[str, Any]:
    try:
        return await answer.completion()
    except asyncio.CancelledError:
        if answer.acted and visit.exchange.cut is not None:
            visit.exchange.cut.headers.update(NO_RETRY)
        raise


async def _stream(visit: Visit, answer: agent.Answer) -> None:
    reply, exchange, entry = visit.reply, visit.exchange, visit.entry
    _note_id(visit, answer.headers)
    entry.response(200, ((b"content-type", b"text/event-stream"),))
    try:
        reply.begin(200, b"OK", lines(_STREAM), None)
        async with aclosing(answer.stream()) as pieces:
            async for data in into_stream(pieces, visit.preface) if visit.preface else pieces:
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
    if answer.error is not None:
        exchange.outcome = Outcome.ERROR
        exchange.error_code = answer.error.code if isinstance(answer.error, ProxyError) else "upstream_refused"
    await reply.end()


async def _refused(visit: Visit, refused: UpstreamRefused) -> None:
    """The provider's own error, unchanged but for what stops at a proxy."""
    visit.exchange.outcome = Outcome.ERROR
    visit.exchange.error_code = "upstream_refused"
    _note_id(visit, refused.headers)
    ours = {b"x-request-id"}
    if visit.exchange.tries > 1:  # ours says whether to try again
        refused.extra.update(NO_RETRY)
        ours.add(b"x-should-retry")
    passed = [f for f in downstream_fields(refused.headers) if f[0].lower() not in ours]
    head = wire_lines(passed) + lines(refused.extra.items())
    visit.reply.begin(refused.status, refused.reason.encode("latin-1"), head, len(refused.body))
    visit.entry.response(refused.status, refused.headers)
    visit.entry.data(refused.body)
    await visit.reply.write(refused.body)
    await visit.reply.end()


def _note_id(visit: Visit, headers: Headers) -> None:
    upstream = field(headers, b"x-request-id")
    name = upstream.decode("utf-8", "surrogateescape") if upstream else visit.exchange.id
    visit.reply.extra.append(("x-request-id", name))
    if visit.exchange.tries > 1:
        visit.reply.extra.append(("x-proxy-attempts", str(visit.exchange.tries)))


class _Asking:
    """Sends the rounds of one turn: the first with failover, the later ones where the first was answered.

    Reasoning items, thought signatures and prompt caches are the provider's own, so a turn never changes it.
    """

    def __init__(self, visit: Visit, route: Route, model: str) -> None:
        self._visit = visit
        self._route = route
        self._model = model
        self._won: Opened | None = None

    async def __call__(self, body: dict[str, Any]) -> UpstreamResponse:
        visit = self._visit
        generation = visit.generation
        targets = self._route.targets if self._won is None else (self._won.target,)

        def make(target: Target) -> UpstreamRequest:
            try:
                shaped = shape(body, generation.rules(target.connection, visit.exchange.model)).applied(body)
                shaped.update({name: body[name] for name in _OURS if name in body})
                shaped["model"] = target.model or self._model
                sent = clean_round(visit, orjson.dumps(shaped), shaped)
            except TypeError:  # lone surrogates, 255 levels: fine to pass on untouched, but not to write anew
                message = "The request holds text that is no Unicode, or is nested too deeply."
                raise BadRequest(message, code="invalid_json") from None
            fields = [f for f in upstream_fields(visit.request.raw_headers) if f[0].lower() not in _NOT_FOR_US]
            fields += [(b"Content-Type", b"application/json"), (b"Accept-Encoding", b"identity")]
            return UpstreamRequest(
                "POST", "/chat/completions", "", fields, sent, client_authorization=visit.authorization_for(target)
            )

        preferred = self._won.key if self._won is not None else None
        opened = await open_first(targets, make, generation.upstreams, visit.exchange, preferred=preferred)
        if self._won is None:
            visit.exchange.tries = len(visit.exchange.attempts)
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


class _Watcher:
    """agent.turn.Observer: what the status page, the record and live events learn of a turn."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    def state(self, state: str) -> None:
        """The turn's present state."""
        self._visit.exchange.state = state

    def tool_call(self, record: CallRecord) -> None:
        """One of our calls has ended."""
        try:
            arguments = orjson.loads(record.arguments or "{}")
        except orjson.JSONDecodeError:
            arguments = record.arguments
        self._visit.entry.tool_call(
            record.tool, arguments, record.result, record.seconds * 1000, record.status, record.id
        )
        self._visit.state.publish(
            "tool_call",
            {"request_id": self._visit.exchange.id, "tool": record.tool, "status": record.status,
             "duration_ms": round(record.seconds * 1000, 1)},
        )  # fmt: skip
