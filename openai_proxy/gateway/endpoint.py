"""One request to `/mcp`: admitted like any other, answered in the protocol's own format, including errors."""

import asyncio
import importlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote

from aiohttp.web_request import BaseRequest

from openai_proxy.endpoints import MCP
from openai_proxy.errors import BadRequest, NotFound, Overloaded, ProxyError
from openai_proxy.exchange import Caller, Outcome, new_request_id
from openai_proxy.gateway.calls import RunningCalls, ToolCall
from openai_proxy.gateway.elicitation import PATIENCE, QUESTION, Elicitations, can_ask, question
from openai_proxy.gateway.offer import Offer, Offers
from openai_proxy.gateway.streams import Streams
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.headers import lines
from openai_proxy.server.reply import JSON, ClientGone, Reply
from openai_proxy.server.request_body import BodyLimits, RequestBody
from openai_proxy.tools.base import OwnersConsent, ToolResult
from openai_proxy.tools.result import failure

SESSION: Final = "Mcp-Session-Id"

_MAX_BODY: Final = 4 * 1024 * 1024
_SERVER_WAIT: Final = 4.0  # seconds that a list waits for starting servers; their tools are announced later
_STREAM_AFTER: Final = 15.0  # seconds after which a slow answer becomes a stream, and pings
_EVENTS: Final = "text/event-stream"
_EVENT_HEAD: Final = lines(
    [
        ("Content-Type", _EVENTS),
        ("Cache-Control", "no-cache, no-transform"),
        ("X-Accel-Buffering", "no"),
    ]
)


_ASKED_FOR_CONSENT: Final = object()
_LOCAL: Final = Caller("local", admin=True)
"""The caller on the control socket."""


class Gateway:
    """The endpoint, for the life of one listener."""

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._offers = Offers(state)
        self._calls = RunningCalls()
        self._streams = Streams(state, self._offers)
        self._elicitations = Elicitations()
        self._rpc: Any = None
        state.idle_closers.append(self._streams.close)

    async def serve(self, request: BaseRequest, reply: Reply, path: str, *, local: bool) -> None:
        """Answer; `local`: on the control socket, which needs no key."""
        reply.extra.append(("x-request-id", new_request_id()))
        if self._rpc is None:
            self._rpc = await asyncio.to_thread(importlib.import_module, "openai_proxy.gateway.rpc")
        context = _McpRequest(self._state.generation, request, reply, unquote(path[len(MCP.path) :].strip("/")) or None)
        try:
            if not local:
                context.caller = await context.generation.gate.admitted(request.remote or "", request.headers)
            await self._serve(context)
        except self._rpc.RpcRefusal as refusal:
            await self._send(reply, refusal.status, refusal.body())
        except ProxyError as error:
            await self._refuse(reply, error)
        finally:
            context.release()

    async def _serve(self, context: "_McpRequest") -> None:
        offer = self._offers.of(context.generation, context.caller, context.model)
        if self._calls.has_ended(context.who, context.header(SESSION)):
            raise NotFound("This session has ended.", code="session_ended")
        match context.request.method:
            case "POST":
                await self._post(context, offer)
            case "GET" if _EVENTS in context.header("accept") and self._rpc.has_stream(
                context.headers, context.header(SESSION)
            ):
                self._streams.admit()
                context.release()
                self._begin_events(context.reply)
                changed = self._rpc.event(self._rpc.tools_changed(None))
                await self._streams.serve(
                    context.reply, context.caller, context.model, first=b"", changed=changed, last=b""
                )
            case "DELETE" if session := context.header(SESSION):
                self._calls.end_session(context.who, session)
                await context.reply.send(200, b"")
            case _:
                raise BadRequest(
                    "This method is not served here.", status=405, code="method_not_allowed",
                    headers={"Allow": "GET, POST, DELETE"},
                )  # fmt: skip

    async def _post(self, context: "_McpRequest", offer: Offer) -> None:
        rpc = self._rpc
        limits = context.generation.config.limits
        rules = BodyLimits(_MAX_BODY, limits.body_idle_seconds, limits.body_bytes_per_second)
        body = await RequestBody(context.request, context.reply, rules).whole()
        message = rpc.read(body, context.headers, list(context.request.headers.items()))
        if isinstance(message, rpc.Response):
            self._elicitations.response(context.who, message.id, message.result)
            await context.reply.send(202, b"")
            return
        if message.id is None:
            if message.method == "notifications/cancelled" and not message.modern:
                self._cancel(context, message)
            await context.reply.send(202, b"")
            return
        match message.method, message.modern:
            case "tools/call", _:
                await self._call(context, offer, message)
            case "tools/list", _:
                if message.params.get("cursor") is not None:
                    raise message.error(rpc.INVALID_PARAMS, "This cursor is unknown.")
                offer = await self._complete(context, offer)
                await self._answer(context, rpc.listed(message, offer.listing))
            case "initialize", False:
                session = new_request_id()
                self._elicitations.declared(context.who, session, message.params.get("capabilities"))
                await self._send(context.reply, 200, rpc.initialized(message, offer.instructions), (SESSION, session))
            # Clients of the older version request these although they are not offered; in the newer it is an error.
            case ("prompts/list" | "resources/list" | "resources/templates/list") as method, False:
                await self._answer(context, rpc.nothing_of(message, method))
            case "ping", False:
                await self._answer(context, message.result({}))
            case "server/discover", True:
                await self._answer(context, rpc.discovered(message, offer.instructions))
            case "subscriptions/listen", True:
                await self._listen(context, message)
            case _:
                raise message.error(rpc.METHOD_NOT_FOUND, "Method not found", message.method)

    async def _listen(self, context: "_McpRequest", message: Any) -> None:
        rpc = self._rpc
        kinds = message.params.get("notifications")
        if not isinstance(kinds, dict):
            raise message.error(rpc.INVALID_PARAMS, "The kinds of notifications must be in `notifications`.")
        self._streams.admit()
        context.release()
        self._begin_events(context.reply)
        wanted = kinds.get("toolsListChanged") is True
        await self._streams.serve(
            context.reply, context.caller, context.model,
            first=rpc.event(rpc.acknowledged(message, kinds)),
            changed=rpc.event(rpc.tools_changed(message)) if wanted else b": nothing you asked for\n\n",
            last=rpc.event(rpc.unsubscribed(message)),
        )  # fmt: skip

    async def _call(self, context: "_McpRequest", offer: Offer, message: Any) -> None:
        """`tools/call`: refused before it runs, or run and answered."""
        rpc, params = self._rpc, message.params
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(name, str):
            raise message.error(rpc.INVALID_PARAMS, "The name of the tool is missing.")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise message.error(rpc.INVALID_PARAMS, "The arguments must be an object.")
        if name not in offer.toolbox:
            offer = await self._complete(context, offer)
        tool = offer.toolbox.get(name)
        if tool is None:  # even one that exists and is not this caller's
            raise message.error(rpc.INVALID_PARAMS, f"Unknown tool: {name[:128]}")
        if (schema := offer.marked_schema(tool)) is not None:
            rpc.check_parameter_headers(message, schema, arguments, context.headers)
        consent = None
        if offer.toolbox.needs_consent(tool):
            verdict = await self._ask(context, message, name, arguments)
            if verdict is _ASKED_FOR_CONSENT:
                return
            consent = OwnersConsent() if verdict is True else None
            if verdict is False:
                await self._end(context, message.result(_content(failure("The person has declined. It was not run."))))
                return
        state, generation = self._state, context.generation
        if len(state.running) >= generation.config.limits.max_concurrent_requests:
            raise Overloaded("The proxy is busy. Try again in a moment.", headers={"Retry-After": "1"})
        call = ToolCall(state, generation, offer, context.caller, context.model, name, _carrier(context, params))
        key = (context.who, context.header(SESSION), message.id)
        if key[1]:  # without a session two clients may use the same id
            self._calls.add(key, call)
        outcome, problem = Outcome.CLIENT_CLOSED, None
        try:
            call.start(arguments, consent)
            await self._run(context, message, call)
            outcome = Outcome.CANCELLED if call.cancelled else Outcome.DONE
        except asyncio.CancelledError:
            problem, task = call.exchange.cut, asyncio.current_task()
            if problem is None or context.reply.gone or task is None:
                raise
            task.uncancel()
            outcome = Outcome.CANCELLED
            await self._end(context, message.error(rpc.INTERNAL_ERROR, problem.message).body())
        finally:
            self._calls.remove(key, call)
            call.close(outcome, context.reply.status, problem)

    async def _ask(self, context: "_McpRequest", message: Any, name: str, arguments: dict[str, Any]) -> object:
        """The person's answer to whether `name` may run: True, False, None if nobody can be asked.

        _ASKED_FOR_CONSENT if the client must ask, and will repeat the call with the answer.
        """
        rpc, asking, params = self._rpc, self._elicitations, message.params
        if message.modern:
            answer = asking.answered(
                context.who, name, arguments, params.get("requestState"), params.get("inputResponses")
            )
            if answer is not None or not can_ask(message.capabilities):
                return answer
            state = asking.state(context.who, name, arguments)
            await self._send(
                context.reply, 200, rpc.input_required(message, QUESTION, question(name, arguments), state)
            )
            return _ASKED_FOR_CONSENT
        if not (asking.is_able(context.who, context.header(SESSION)) and _EVENTS in context.header("accept")):
            return None
        request_id, answered = asking.open(context.who)
        try:
            self._begin_events(context.reply)
            await context.reply.write(rpc.event(rpc.elicitation(request_id, question(name, arguments))))
            async with asyncio.timeout(PATIENCE):
                while True:
                    done, _ = await asyncio.wait({answered}, timeout=_STREAM_AFTER)
                    if done:
                        return answered.result()
                    await context.reply.write(b": ping\n\n")
        except TimeoutError:
            return False
        finally:
            answered.cancel()

    async def _run(self, context: "_McpRequest", message: Any, call: ToolCall) -> None:
        """Wait for the result, reporting progress to a client that asked for it and accepts events."""
        rpc, reply, token = self._rpc, context.reply, message.progress_token
        takes_events = _EVENTS in context.header("accept")
        while True:
            woken = await call.wait(_STREAM_AFTER)
            progress = call.progress() if token is not None else []
            if takes_events and (progress or not woken):
                if not reply.started:
                    self._begin_events(reply)
                events = [rpc.event(rpc.progressed(token, *step)) for step in progress]
                await reply.write(b"".join(events) or b": ping\n\n")
            if call.over:
                break
        result = call.result
        if result is None:
            await self._end(context, message.error(rpc.CANCELLED, "Request cancelled").body())
        else:
            await self._end(context, message.result(_content(result)))

    async def _complete(self, context: "_McpRequest", offer: Offer) -> Offer:
        """The offer once the servers that are just starting have listed their tools, or some seconds have passed."""
        if not offer.servers:
            return offer
        await self._state.supervisor.wait_ready(offer.servers, _SERVER_WAIT)
        return self._offers.of(self._state.generation, context.caller, context.model)

    def _cancel(self, context: "_McpRequest", message: Any) -> None:
        request_id = message.params.get("requestId")
        if isinstance(request_id, int | str):
            self._calls.cancel((context.who, context.header(SESSION), request_id))

    async def _end(self, context: "_McpRequest", body: bytes) -> None:
        """The final message of an answer, as JSON or on the stream that it has become."""
        if context.reply.started:
            await context.reply.write(self._rpc.event(body))
            await context.reply.end()
        else:
            await self._send(context.reply, 200, body)

    async def _answer(self, context: "_McpRequest", body: bytes) -> None:
        await self._send(context.reply, 200, body)

    async def _refuse(self, reply: Reply, error: ProxyError) -> None:
        if reply.started:
            raise ClientGone
        if error.status in (401, 403, 408, 413, 421):
            reply.keep_alive = False
        code = self._rpc.INTERNAL_ERROR if error.status >= 500 else self._rpc.INVALID_REQUEST
        body = self._rpc.RpcRefusal(code, error.message, status=error.status).body()
        await self._send(reply, error.status, body, *error.headers.items(), ("x-proxy-error", error.code))

    @staticmethod
    async def _send(reply: Reply, status: int, body: bytes, *fields: tuple[str, str]) -> None:
        await reply.send(status, body, JSON, *fields)

    @staticmethod
    def _begin_events(reply: Reply) -> None:
        reply.begin(200, b"OK", _EVENT_HEAD, None)


def _carrier(context: "_McpRequest", params: Mapping[str, Any]) -> Mapping[str, str]:
    """The trace context: from `_meta`, else from the header fields (https://www.w3.org/TR/trace-context/)."""
    meta = params.get("_meta")
    trace_fields = (
        {k: v for k, v in meta.items() if isinstance(k, str) and isinstance(v, str)} if isinstance(meta, dict) else {}
    )
    return {**context.headers, **trace_fields} if "traceparent" in trace_fields else context.headers


class _McpRequest:
    """One request. It leases its configuration until `release`, as an open stream may outlive a reload."""

    __slots__ = ("_leased", "caller", "generation", "headers", "model", "reply", "request")

    def __init__(self, generation: Generation, request: BaseRequest, reply: Reply, model: str | None) -> None:
        self.generation = generation
        self.request = request
        self.reply = reply
        self.caller = _LOCAL
        self.model = model
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in request.headers.items()}
        self._leased = True
        generation.lease.take()

    @property
    def who(self) -> str:
        """The owner of the request's session."""
        return self.caller.identity

    def release(self) -> None:
        """The configuration is no longer needed."""
        if self._leased:
            self._leased = False
            self.generation.lease.give_back()

    def header(self, name: str) -> str:
        """A header's value, or ""."""
        return self.headers.get(name.lower(), "")


def _content(result: ToolResult) -> dict[str, Any]:
    """The members of a `tools/call` result."""
    members: dict[str, Any] = {
        "content": list(result.blocks) or [{"type": "text", "text": result.text}],
        "isError": result.is_error,
    }
    if result.structured is not None:
        members["structuredContent"] = result.structured
    return members
