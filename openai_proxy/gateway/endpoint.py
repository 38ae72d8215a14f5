"""One request to `/mcp`: admitted like any other, answered in the protocol's own shape, errors included."""

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
_SERVER_WAIT: Final = 4.0  # seconds a list waits for servers that are just starting; their tools are told later
_STREAM_AFTER: Final = 15.0  # seconds after which an answer that takes its time becomes a stream, and pings
_EVENTS: Final = "text/event-stream"
_EVENT_HEAD: Final = lines(
    [
        ("Content-Type", _EVENTS),
        ("Cache-Control", "no-cache, no-transform"),
        ("X-Accel-Buffering", "no"),
    ]
)


_ASKED: Final = object()
_LOCAL: Final = Caller("local", admin=True)
"""Who asks on the control socket."""


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
        """Answer; `local`: on the control socket, where no key is asked for."""
        reply.extra.append(("x-request-id", new_request_id()))
        if self._rpc is None:
            self._rpc = await asyncio.to_thread(importlib.import_module, "openai_proxy.gateway.rpc")
        visit = _Visit(self._state.generation, request, reply, unquote(path[len(MCP.path) :].strip("/")) or None)
        try:
            if not local:
                visit.caller = await visit.generation.gate.admitted(request.remote or "", request.headers)
            await self._serve(visit)
        except self._rpc.RpcRefusal as refusal:
            await self._send(reply, refusal.status, refusal.body())
        except ProxyError as error:
            await self._refuse(reply, error)
        finally:
            visit.let_go()

    async def _serve(self, visit: "_Visit") -> None:
        offer = self._offers.of(visit.generation, visit.caller, visit.model)
        if self._calls.has_ended(visit.who, visit.header(SESSION)):
            raise NotFound("This session has ended.", code="session_ended")
        match visit.request.method:
            case "POST":
                await self._post(visit, offer)
            case "GET" if _EVENTS in visit.header("accept") and self._rpc.has_stream(
                visit.headers, visit.header(SESSION)
            ):
                self._streams.admit()
                visit.let_go()
                self._begin_events(visit.reply)
                changed = self._rpc.event(self._rpc.tools_changed(None))
                await self._streams.serve(visit.reply, visit.caller, visit.model, first=b"", changed=changed, last=b"")
            case "DELETE" if session := visit.header(SESSION):
                self._calls.end_session(visit.who, session)
                await visit.reply.send(200, b"")
            case _:
                raise BadRequest(
                    "This method is not served here.", status=405, code="method_not_allowed",
                    headers={"Allow": "GET, POST, DELETE"},
                )  # fmt: skip

    async def _post(self, visit: "_Visit", offer: Offer) -> None:
        rpc = self._rpc
        limits = visit.generation.config.limits
        rules = BodyLimits(_MAX_BODY, limits.body_idle_seconds, limits.body_bytes_per_second)
        body = await RequestBody(visit.request, visit.reply, rules).whole()
        message = rpc.read(body, visit.headers, list(visit.request.headers.items()))
        if isinstance(message, rpc.Response):
            self._elicitations.response(visit.who, message.id, message.result)
            await visit.reply.send(202, b"")
            return
        if message.id is None:
            if message.method == "notifications/cancelled" and not message.modern:
                self._cancel(visit, message)
            await visit.reply.send(202, b"")
            return
        match message.method, message.modern:
            case "tools/call", _:
                await self._call(visit, offer, message)
            case "tools/list", _:
                if message.params.get("cursor") is not None:
                    raise message.error(rpc.INVALID_PARAMS, "This cursor is not known.")
                offer = await self._complete(visit, offer)
                await self._answer(visit, rpc.listed(message, offer.listing))
            case "initialize", False:
                session = new_request_id()
                self._elicitations.declared(visit.who, session, message.params.get("capabilities"))
                await self._send(visit.reply, 200, rpc.initialized(message, offer.instructions), (SESSION, session))
            # Clients of the older era ask for these although they are not offered; in the newer it is an error.
            case ("prompts/list" | "resources/list" | "resources/templates/list") as method, False:
                await self._answer(visit, rpc.nothing_of(message, method))
            case "ping", False:
                await self._answer(visit, message.result({}))
            case "server/discover", True:
                await self._answer(visit, rpc.discovered(message, offer.instructions))
            case "subscriptions/listen", True:
                await self._listen(visit, message)
            case _:
                raise message.error(rpc.METHOD_NOT_FOUND, "Method not found", message.method)

    async def _listen(self, visit: "_Visit", message: Any) -> None:
        rpc = self._rpc
        kinds = message.params.get("notifications")
        if not isinstance(kinds, dict):
            raise message.error(rpc.INVALID_PARAMS, "The kinds of notifications are expected as `notifications`.")
        self._streams.admit()
        visit.let_go()
        self._begin_events(visit.reply)
        wanted = kinds.get("toolsListChanged") is True
        await self._streams.serve(
            visit.reply, visit.caller, visit.model,
            first=rpc.event(rpc.acknowledged(message, kinds)),
            changed=rpc.event(rpc.tools_changed(message)) if wanted else b": nothing you asked for\n\n",
            last=rpc.event(rpc.unsubscribed(message)),
        )  # fmt: skip

    async def _call(self, visit: "_Visit", offer: Offer, message: Any) -> None:
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
            offer = await self._complete(visit, offer)
        tool = offer.toolbox.get(name)
        if tool is None:  # also one that exists and is not this caller's
            raise message.error(rpc.INVALID_PARAMS, f"Unknown tool: {name[:128]}")
        if (schema := offer.marked_schema(tool)) is not None:
            rpc.check_parameter_headers(message, schema, arguments, visit.headers)
        consent = None
        if offer.toolbox.needs_consent(tool):
            verdict = await self._ask(visit, message, name, arguments)
            if verdict is _ASKED:
                return
            consent = OwnersConsent() if verdict is True else None
            if verdict is False:
                await self._end(visit, message.result(_content(failure("The person has said no. It was not run."))))
                return
        state, generation = self._state, visit.generation
        if len(state.running) >= generation.config.limits.max_concurrent_requests:
            raise Overloaded("The proxy is busy. Try again in a moment.", headers={"Retry-After": "1"})
        call = ToolCall(state, generation, offer, visit.caller, visit.model, name, _carrier(visit, params))
        key = (visit.who, visit.header(SESSION), message.id)
        if key[1]:  # without a session two clients may use the same id
            self._calls.add(key, call)
        outcome, problem = Outcome.CLIENT_CLOSED, None
        try:
            call.start(arguments, consent)
            await self._run(visit, message, call)
            outcome = Outcome.CANCELLED if call.cancelled else Outcome.DONE
        except asyncio.CancelledError:
            problem, task = call.exchange.cut, asyncio.current_task()
            if problem is None or visit.reply.gone or task is None:
                raise
            task.uncancel()
            outcome = Outcome.CANCELLED
            await self._end(visit, message.error(rpc.INTERNAL_ERROR, problem.message).body())
        finally:
            self._calls.remove(key, call)
            call.close(outcome, visit.reply.status, problem)

    async def _ask(self, visit: "_Visit", message: Any, name: str, arguments: dict[str, Any]) -> object:
        """The person's answer to whether `name` may run: True, False, None if nobody can be asked.

        _ASKED if the client was told to ask, and repeats the call with the answer.
        """
        rpc, asking, params = self._rpc, self._elicitations, message.params
        if message.modern:
            answer = asking.answered(
                visit.who, name, arguments, params.get("requestState"), params.get("inputResponses")
            )
            if answer is not None or not can_ask(message.capabilities):
                return answer
            state = asking.state(visit.who, name, arguments)
            await self._send(visit.reply, 200, rpc.input_required(message, QUESTION, question(name, arguments), state))
            return _ASKED
        if not (asking.is_able(visit.who, visit.header(SESSION)) and _EVENTS in visit.header("accept")):
            return None
        request_id, answered = asking.open(visit.who)
        try:
            self._begin_events(visit.reply)
            await visit.reply.write(rpc.event(rpc.elicitation(request_id, question(name, arguments))))
            async with asyncio.timeout(PATIENCE):
                while True:
                    done, _ = await asyncio.wait({answered}, timeout=_STREAM_AFTER)
                    if done:
                        return answered.result()
                    await visit.reply.write(b": ping\n\n")
        except TimeoutError:
            return False
        finally:
            answered.cancel()

    async def _run(self, visit: "_Visit", message: Any, call: ToolCall) -> None:
        """Wait for the result, telling progress to a client that asked for it and takes events."""
        rpc, reply, token = self._rpc, visit.reply, message.progress_token
        takes_events = _EVENTS in visit.header("accept")
        while True:
            came = await call.wait(_STREAM_AFTER)
            news = call.progress() if token is not None else []
            if takes_events and (news or not came):
                if not reply.started:
                    self._begin_events(reply)
                events = [rpc.event(rpc.progressed(token, *told)) for told in news]
                await reply.write(b"".join(events) or b": ping\n\n")
            if call.over:
                break
        result = call.result
        if result is None:
            await self._end(visit, message.error(rpc.CANCELLED, "Request cancelled").body())
        else:
            await self._end(visit, message.result(_content(result)))

    async def _complete(self, visit: "_Visit", offer: Offer) -> Offer:
        """The offer once the servers that are just starting have told their tools, or some seconds have passed."""
        if not offer.servers:
            return offer
        await self._state.supervisor.wait_ready(offer.servers, _SERVER_WAIT)
        return self._offers.of(self._state.generation, visit.caller, visit.model)

    def _cancel(self, visit: "_Visit", message: Any) -> None:
        request_id = message.params.get("requestId")
        if isinstance(request_id, int | str):
            self._calls.cancel((visit.who, visit.header(SESSION), request_id))

    async def _end(self, visit: "_Visit", body: bytes) -> None:
        """The last word of an answer, as JSON or on the stream it has become."""
        if visit.reply.started:
            await visit.reply.write(self._rpc.event(body))
            await visit.reply.end()
        else:
            await self._send(visit.reply, 200, body)

    async def _answer(self, visit: "_Visit", body: bytes) -> None:
        await self._send(visit.reply, 200, body)

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


def _carrier(visit: "_Visit", params: Mapping[str, Any]) -> Mapping[str, str]:
    """Where a trace context may stand: in `_meta`, else in the header fields (https://www.w3.org/TR/trace-context/)."""
    meta = params.get("_meta")
    told = (
        {k: v for k, v in meta.items() if isinstance(k, str) and isinstance(v, str)} if isinstance(meta, dict) else {}
    )
    return {**visit.headers, **told} if "traceparent" in told else visit.headers


class _Visit:
    """What is known of one request. It leases its configuration until `let_go`: a held stream may outlive that."""

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
        """To whom the request's session belongs."""
        return self.caller.identity

    def let_go(self) -> None:
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
