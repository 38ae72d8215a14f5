"""The handler around every endpoint: ids, identity, drain, errors in the API's format, and the end of the record."""

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import parse_qs

from aiohttp.web_request import BaseRequest
from aiohttp.web_response import StreamResponse
from multidict import CIMultiDict

from openai_proxy.admin import paths
from openai_proxy.auth.cors import OriginRule
from openai_proxy.auth.credentials import AGENT_FIELD, GOOGLE_KEY, bearer, named_user
from openai_proxy.auth.peers import host_name
from openai_proxy.bounds import check_session
from openai_proxy.endpoints import MCP, Endpoint, language, locate, split_target
from openai_proxy.errors import BadRequest, InternalError, NotFound, NotServed, Overloaded, ProxyError, UpstreamError
from openai_proxy.exchange import Caller, Exchange, Outcome, new_request_id
from openai_proxy.fastpath.handover import Handover
from openai_proxy.pipeline import order
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.passthrough import add_trace
from openai_proxy.pipeline.warm_schedule import warm_now
from openai_proxy.records.process_log import refusals
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState, Running
from openai_proxy.server.connection import check_head, is_first, is_read, take_handover
from openai_proxy.server.headers import lines
from openai_proxy.server.reply import ClientGone, Reply, SentResponse
from openai_proxy.server.request_body import RequestBody

if TYPE_CHECKING:
    from openai_proxy.gateway.endpoint import Gateway
    from openai_proxy.pipeline.models import ModelLists

log = logging.getLogger(__name__)

METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
"""The methods that are served. TRACE would reveal our key, CONNECT asks for another kind of proxy."""


class Dispatcher:
    """The handler of the low-level aiohttp server. A `local` one (the control socket) serves admins without a key."""

    def __init__(self, state: ProxyState, *, local: bool = False, prefix: str = "") -> None:
        self._state = state
        self._local = local
        self._prefix = prefix
        self._models: ModelLists | None = None
        state.warm = partial(warm_now, state)
        self._gateway: Gateway | None = None

    async def __call__(self, request: BaseRequest) -> StreamResponse:
        handover = cast(Handover | None, take_handover(request))
        generation = handover.generation if handover is not None else self._state.generation
        reply = Reply(request, generation.config.limits.write_seconds)
        try:
            await self._serve(generation, request, reply, handover)
        except ClientGone:
            reply.abort()
        except ProxyError as error:
            if not reply.recorded:
                peer = generation.gate.remote(request.remote or "", request.headers)
                refusals.log_refusal(peer, f"{request.method} {request.raw_path.partition('?')[0]}", error)
            await _refuse(reply, error)
        except asyncio.CancelledError:
            reply.abort()
            raise
        except Exception:
            log.exception("request failed")
            await _refuse(reply, InternalError("Something went wrong in the proxy."))
        if not is_read(request) and reply.keep_alive:
            reply.keep_alive = False  # unread bytes would be taken for the next request
        return cast(StreamResponse, SentResponse(reply))

    async def _serve(
        self, generation: Generation, request: BaseRequest, reply: Reply, handover: Handover | None
    ) -> None:
        check_head(request)
        if request.method not in METHODS:
            raise BadRequest(
                "This method is not served here.", status=405, code="method_not_allowed",
                headers={"Allow": ", ".join(METHODS)},
            )  # fmt: skip
        path, query = split_target(request.raw_path)
        if self._prefix:
            if not path.startswith(self._prefix + "/"):
                raise NotFound("There is nothing at this path.")
            path = path[len(self._prefix) :]
        headers: Mapping[str, str] = request.headers
        reply.language = language(path, headers)
        check_session(headers.get("X-Claude-Code-Session-Id"))
        if (session := headers.get("X-Session-ID")) is not None:
            check_session(session)
            reply.extra.append(("X-Session-ID", session))
        _check_host(request)
        gate = generation.gate
        peer = request.remote or ""
        ours = paths.owns(path)
        # Other pages get no CORS permission for admin routes; the proxy's own page needs none.
        if (not ours or path in paths.HEALTH) and await _answer_preflight(gate.origins, request, reply):
            return
        if self._state.draining and not self._local:
            reply.keep_alive = False
            # Connections accepted before the stop are served, then closed; if the address stays open, kept connections
            # are served, too.
            if path not in paths.HEALTH and not (self._state.succeeded or is_first(request)):
                raise Overloaded("The proxy is shutting down.", code="draining", headers={"Retry-After": "5"})
        if path == MCP.path or path.startswith(f"{MCP.path}/"):
            await self._gateway_of().serve(request, reply, path, local=self._local)
            return
        admin: Caller | None = Caller("local", admin=True) if self._local else None
        if ours:
            reply.extra.append(("x-request-id", new_request_id()))
            from openai_proxy.admin import routes

            asked = await routes.serve(self._state, request, reply, path, query, local=self._local)
            if asked is None:
                return
            admin, path = asked
            reply.extra.pop()
        endpoint = locate(request.method, path)
        generation.lease.take()  # already leased here, because a validator may take its time
        try:
            if endpoint.dialect == "gemini":
                headers = _with_query_key(headers, query)
            caller = admin or await gate.admitted(peer, headers)
            if endpoint.elsewhere:
                raise NotServed("Models are managed on the server that runs them; a proxy cannot do that.")
            await self._serve_api(generation, request, reply, caller, endpoint, query, handover)
        finally:
            generation.lease.give_back()

    def _gateway_of(self) -> "Gateway":
        """The MCP endpoint, created for its first client."""
        if self._gateway is None:
            from openai_proxy.gateway.endpoint import Gateway

            self._gateway = Gateway(self._state)
        return self._gateway

    def _model_lists(self) -> "ModelLists":
        if self._models is None:
            from openai_proxy.pipeline.models import ModelLists

            self._models = ModelLists(self._state)
        return self._models

    def _exchange(self, request: BaseRequest, caller: Caller, endpoint: Endpoint) -> Exchange:
        headers = request.headers
        session = headers.get("X-Session-ID") or headers.get("X-Claude-Code-Session-Id")
        exchange = Exchange(new_request_id(), caller, request.method, endpoint, session_id=session)
        exchange.agent, exchange.user = headers.get(AGENT_FIELD), named_user(headers)
        if self._state.telemetry is not None:
            exchange.trace = self._state.telemetry.begin(exchange, headers)
        return exchange

    async def _serve_api(
        self,
        generation: Generation,
        request: BaseRequest,
        reply: Reply,
        caller: Caller,
        endpoint: Endpoint,
        query: str,
        handover: Handover | None,
    ) -> None:
        state = self._state
        if handover is not None and handover.exchange is not None and handover.entry is not None:
            exchange, entry = handover.exchange, handover.entry
        else:
            exchange = self._exchange(request, caller, endpoint)
            entry = state.recorder.open(exchange)
        reply.recorded = True
        body = RequestBody(request, reply, state.body_limits(generation))
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(state.running) >= generation.config.limits.max_concurrent_requests:
                raise Overloaded("The proxy is busy. Try again in a moment.", headers={"Retry-After": "1"})
            state.enter(Running(exchange, generation, task.cancel))
            if _is_about_models(request.method, endpoint):
                reply.extra.append(("x-request-id", exchange.id))
                await self._model_lists().serve(generation, caller, endpoint, request, query, body, reply)
            else:
                context = RequestContext(state, generation, request, reply, exchange, body, query, entry)
                context.client_authorization = _own_bearer(generation, request)
                if handover is not None:
                    _take_up(context, handover)
                await order.serve(context)
            exchange.outcome = exchange.outcome or Outcome.DONE
        except ClientGone:
            exchange.outcome = Outcome.CLIENT_CLOSED
            raise
        except asyncio.CancelledError:
            if reply.gone or exchange.cut is None or reply.started:
                exchange.outcome = Outcome.CLIENT_CLOSED
                raise
            task.uncancel()
            _fail(reply, exchange, exchange.cut, Outcome.CANCELLED)
            raise exchange.cut from None
        except ProxyError as error:
            _fail(reply, exchange, error)
            raise
        except Exception:
            _fail(reply, exchange, None)
            raise
        finally:
            exchange.status = reply.status or exchange.status
            state.leave(exchange)
            exchange.release()
            body.release()
            entry.close(exchange.outcome or Outcome.ERROR, exchange.error_code)


def _is_about_models(method: str, endpoint: Endpoint) -> bool:
    return endpoint.lists or (method in ("GET", "HEAD") and endpoint.name in ("models", "model"))


def _take_up(context: RequestContext, handover: Handover) -> None:
    """Continue with what the fast path knows about the request."""
    context.body.taken = handover.body
    context.decision, context.targets = handover.decision, handover.targets
    context.first, context.failed = handover.opened, handover.error


async def _answer_preflight(origins: OriginRule, request: BaseRequest, reply: Reply) -> bool:
    """Add the CORS fields for a permitted web page; True if the request was only a preflight, now answered."""
    origin = request.headers.get("Origin")
    if origin is None or not origins.allows(origin, request.headers.get("Host")):
        return False
    if request.method != "OPTIONS" or "Access-Control-Request-Method" not in request.headers:
        reply.extra += OriginRule.grant(origin)
        return False
    requested = request.headers.get("Access-Control-Request-Headers")
    reply.begin(204, b"No Content", lines(OriginRule.preflight(origin, requested)), 0)
    await reply.end()
    return True


def _fail(reply: Reply, exchange: Exchange, error: ProxyError | None, outcome: Outcome = Outcome.ERROR) -> None:
    """Note why the exchange failed; without `error`, because of a bug of ours."""
    exchange.outcome = outcome
    exchange.error_code = error.code if error is not None else InternalError.default_code
    exchange.status = error.status if error is not None else InternalError.status
    _trace(reply, exchange, error)


def _trace(reply: Reply, exchange: Exchange, error: ProxyError | None = None) -> None:
    if reply.started:
        return
    add_trace(reply, exchange)
    # What failed after the proxy's own attempts would only fail again, while someone is waiting for the answer.
    final = error is None or (isinstance(error, UpstreamError) and error.status >= 500)
    if exchange.tried and final and (error is None or "x-should-retry" not in error.headers):
        reply.extra.append(("x-should-retry", "false"))


async def _refuse(reply: Reply, error: ProxyError) -> None:
    if reply.started:  # too late for a message: at least it must not look complete
        reply.abort()
        return
    if all(name != "x-request-id" for name, _ in reply.extra):
        reply.extra.append(("x-request-id", new_request_id()))
    if error.status in (401, 403, 408, 413, 421, 431):
        reply.keep_alive = False
    try:
        await reply.send_error(error)
    except ClientGone:
        reply.abort()


def _check_host(request: BaseRequest) -> None:
    """Refuse a malformed Host from anyone, and an absolute target that names another one."""
    host = request.headers.get("Host")
    if host is not None and host_name(host) is None:
        raise BadRequest("The Host header is malformed.", code="invalid_host")
    target = request.raw_path
    if not target.startswith("/"):
        authority = target.partition("://")[2].partition("/")[0].partition("?")[0]
        if host is None or authority.lower() != host.lower():
            raise BadRequest("The request target and the Host header do not agree.", code="invalid_host")


def _with_query_key(headers: Mapping[str, str], query: str) -> Mapping[str, str]:
    """`headers` with the key that a Google client has put into the query, unless they have one."""
    key = parse_qs(query).get("key")
    if not key or GOOGLE_KEY in headers:
        return headers
    return CIMultiDict([*headers.items(), (GOOGLE_KEY, key[-1])])


def _own_bearer(generation: Generation, request: BaseRequest) -> bytes | None:
    """The caller's own Authorization for the provider, unless it is the key for this proxy."""
    if not generation.gate.forwarding:
        return None
    authorization = request.headers.get("Authorization")
    if authorization is None:
        return None
    token = bearer(authorization)
    if generation.gate.keys_required and token is not None and generation.gate.credential(request.headers) == token:
        return None
    return authorization.encode("utf-8", "surrogateescape")
