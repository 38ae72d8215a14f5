"""The lane in front of aiohttp's request handler: what needs no parsing but routing passes through it in callbacks.

aiohttp still parses every request (llhttp's strictness stays); when exactly one complete message has come on an idle
connection and it is a plain JSON POST that nothing but its model name decides, it is taken off aiohttp's queue,
spliced, and the connection is left idle again as if nothing had happened. Everything else stays on the queue and
takes the ordinary way (`api.door`); so does what the lane began when it turns out to need a second look: retries,
errors, redirects.

What this file knows of aiohttp's internals (3.14): RequestHandler's `_messages`, `_waiter`, `_parser`,
`_request_count`, `_reading_paused`, `_keepalive_handle`, `_next_keepalive_close_time`, `_process_keepalive`, and
StreamReader's `_buffer`. tests/front/test_seams.py fails loudly when they move. Learnt on the way:
- a message that is taken must be given back to the parser's count (`message_consumed`), or it stops after 32;
- reading the payload's stream re-enters `data_received` and costs 3 µs: its buffer is read instead;
- the first bytes can come before the handler task has run once: idle is "it waits, or has never had a request".
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from openai_proxy.api import steering
from openai_proxy.api.chat import asked_model
from openai_proxy.api.headers import clean, upstream_fields
from openai_proxy.api.ids import new_id
from openai_proxy.api.protocol import Protocol
from openai_proxy.api.splice import Splice
from openai_proxy.auth.gate import bearer
from openai_proxy.auth.peers import host_name
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Caller, Exchange, Outcome
from openai_proxy.protocols.json_members import edit, parse_object
from openai_proxy.records.recorder import Entry
from openai_proxy.routing.router import Route
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import State
from openai_proxy.transforms.params import NOTHING, shape
from openai_proxy.upstream.failover import Opened
from openai_proxy.upstream.openai import OpenAIProvider

PATHS = {
    prefix + path: path
    for path in ("/chat/completions", "/completions", "/embeddings", "/responses", "/moderations")
    for prefix in ("", "/v1")
}
"""Targets the lane takes, as written -> below the API root."""

MAX_BODY = 512 * 1024
"""Bytes of a body that may wait for its end in the lane: longer ones gain nothing from it."""

BODY_WAIT = 0.25
"""Seconds a body may take in the lane; then the ordinary way waits for it, with its own limits."""

MAX_PIPELINED = 256 * 1024
KEEP_ALIVE = 75.0


@dataclass(slots=True)
class Prior:
    """What the lane knows of a request that it hands to the ordinary way: its body, and what was tried, if anything."""

    body: bytes
    generation: Generation
    exchange: Exchange | None = None
    entry: Entry | None = None
    route: Route | None = None
    opened: Opened | None = None
    error: ProxyError | None = None


class LaneProtocol(Protocol):
    """One client connection, with a lane."""

    __slots__ = ("_body", "_body_timer", "_held", "_pending", "_prior", "_route", "_splice", "state")

    def __init__(self, manager: Any, state: State, **kwargs: Any) -> None:
        super().__init__(manager, **kwargs)
        self.state = state
        self._splice: Splice | None = None
        self._held: Any = None  # the message that is off aiohttp's queue, and its payload
        self._body = b""
        self._pending = b""
        self._prior: Prior | None = None
        self._route: Route | None = None
        self._body_timer: asyncio.TimerHandle | None = None

    # -- what comes from the client ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol: let aiohttp parse, then see whether the lane takes what has come."""
        if self._splice is not None:  # pipelined: it waits for its turn
            self._pending += data
            if len(self._pending) > MAX_PIPELINED and self.transport is not None:
                self.transport.pause_reading()
            return
        waiter = self._waiter
        self._waiter = None  # so that aiohttp wakes nobody yet
        super().data_received(data)
        self._waiter = waiter
        if self._held is not None:
            if self._held[1].is_eof():
                self._decide()
            return
        messages = self._messages
        if not messages:
            return
        idle = waiter is not None or self._request_count == 1
        if idle and len(messages) == 1 and self._eligible(messages[0][0]):
            self._held = messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            if self._held[1].is_eof():
                self._decide()
            else:
                self._body_timer = self._loop.call_later(BODY_WAIT, self._put_back)
            return
        self._wake()

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _eligible(self, message: Any) -> bool:
        """True if the head alone does not rule the lane out."""
        if getattr(message, "path", None) not in PATHS or message.method != "POST" or message.version != (1, 1):
            return False
        headers = message.headers
        if message.upgrade or message.chunked or self.state.draining or self._close:
            return False
        if "Expect" in headers or "Content-Encoding" in headers or "Origin" in headers:
            return False
        length = headers.get("Content-Length", "")
        return length.isdigit() and 0 < int(length) <= MAX_BODY

    def _decide(self) -> None:
        """The body is whole: take the request, or hand it to the ordinary way."""
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        message, payload = self._held
        buffered = payload._buffer
        self._body = buffered[0] if len(buffered) == 1 else b"".join(buffered)
        if self._reading_paused:
            self.resume_reading()
        try:
            splice = self._take(message)
        except ProxyError:
            splice = None  # the ordinary way will say the same, in words
        if splice is None:
            self._put_back()
            return
        self._splice = splice
        splice.start()

    def _take(self, message: Any) -> Splice | None:
        """The exchange, ready to start, if nothing but the model's name decides it."""
        state = self.state
        generation = state.generation
        self._route = None  # what was decided for the request before is nothing to this one
        headers = message.headers
        host = headers.get("Host")
        if (
            host is None
            or host_name(host) is None
            or len(state.running) >= generation.config.limits.max_concurrent_requests
        ):
            return None
        path = PATHS[message.path]
        caller = generation.gate.admit(self._peer(), headers)
        body = self._body
        document = parse_object(body)
        model = asked_model(document)
        if generation.config.execute_tools and document.get("tools"):
            return None
        if self._is_special(generation, caller, headers, document, path):
            return None
        chosen = self._choose(generation, caller, model, path)
        if chosen is None:
            return None
        route, provider = chosen
        self._route = route
        target = route.targets[0]
        exchange = Exchange(new_id(), caller, "POST", path, model, document.get("stream") is True)
        extra = b""
        if (session := headers.get("X-Session-ID")) is not None:
            exchange.session_id = session
            extra = f"X-Session-ID: {clean(session[:256])}\r\n".encode("latin-1", "replace")
        if generation.allowances:
            allowance = generation.allowances.get(caller.group)
            if allowance is not None and not state.governor.enter_now(exchange, allowance):
                return None
        entry = state.recorder.open(exchange)
        entry.request(body)
        rules = generation.params[target.connection]
        changes = shape(document, rules) if rules else NOTHING
        members = changes.members() if changes else {}
        if target.model is not None:
            members["model"] = orjson.dumps(target.model)
        sent = edit(body, members, changes.removed) if members or changes else body
        upstreams = generation.upstreams
        key = upstreams.health.keys.pick(target.connection, upstreams.keys[target.connection])
        head = provider.post_head(path, key, upstream_fields(message.raw_headers), len(sent))
        return Splice(
            self, generation, exchange, entry, provider, route, key, head + sent,
            keep_alive=not message.should_close, extra=extra,
        )  # fmt: skip

    def _is_special(
        self, generation: Generation, caller: Caller, headers: Any, document: dict[str, Any], path: str
    ) -> bool:
        """True if the body may hold a command or a secret, or the caller has a session; never wrongly False."""
        state, body = self.state, self._body
        if path in steering.PATHS and (
            generation.command_mark.in_body(body)
            or generation.config.commands.interactive
            or (len(state.sessions) > 0 and state.sessions.concern(caller.identity))
        ):
            return True
        redactor = state.redactor
        own = bearer(headers.get("Authorization")) or headers.get("x-api-key")
        return not redactor.fresh or redactor.suspects(body, document, own)

    def _choose(
        self, generation: Generation, caller: Caller, model: str | None, path: str
    ) -> tuple[Route, OpenAIProvider] | None:
        """The route of this request, if its first target can be spliced."""
        access = generation.access
        if model is None or model in generation.snapshot.models or not access.may_use(caller, model):
            return None
        route = generation.router.resolve(model)
        if route is None:
            return None
        targets = access.reachable(caller, route.targets)
        if not targets:
            return None
        providers = generation.providers
        if any(type(providers[t.connection]) is not OpenAIProvider for t in targets):
            return None
        upstreams = generation.upstreams
        health = upstreams.health
        if len(targets) > 1:
            if route.policy == "round_robin":
                targets = health.in_turn(route.rule, targets)
            targets = health.ordered(targets, model, upstreams.keys)
        if not health.calm:
            if len(targets) == 1 and health.rests(targets[0], model, upstreams.keys[targets[0].connection]):
                return None  # whether it may be asked now is decided the ordinary way
            health.begun(targets[0], model)
        if targets is not route.targets:
            route = Route(targets, route.policy, route.rule)
        provider = providers[targets[0].connection]
        assert type(provider) is OpenAIProvider
        return None if provider.config.forward_auth else (route, provider)

    def _peer(self) -> str:
        name = self.peername
        return name[0] if isinstance(name, tuple) else ""

    # -- the ordinary way -------------------------------------------------------------------------------------------

    def _put_back(self, prior: Prior | None = None) -> None:
        """The ordinary way shall have the held message, with what is known of it."""
        self._body_timer = None
        held, self._held = self._held, None
        if held is None:
            return
        if prior is None and held[1].is_eof():
            prior = Prior(self._body, self.state.generation, route=self._route)
        self._route = None
        self._prior = prior
        self._body = b""
        self._messages.appendleft(held)
        self._wake()

    def take_prior(self) -> Prior | None:
        """For the handler of the message that was put back: what is known of it."""
        prior, self._prior = self._prior, None
        return prior

    def fall_back(self, splice: Splice, opened: Opened | None, error: ProxyError | None = None) -> None:
        """Nothing was sent yet: the ordinary way goes on from here."""
        self._splice = None
        self.state.leave(splice.exchange)
        prior = Prior(self._body, splice.generation, splice.exchange, splice.entry, splice.route, opened, error)
        self._put_back(prior)
        self._replay()

    # -- what the splice asks for -----------------------------------------------------------------------------------

    def committed(self) -> None:
        """The answer has begun: what was kept for another try is let go of, however long the stream."""
        self._held = None
        self._body = b""

    def send(self, data: bytes) -> None:
        """Write to the client."""
        if self.transport is not None:
            self.transport.write(data)

    def cut(self) -> None:
        """Close without a proper end, behind what was sent: the client must see that the answer broke."""
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Drop the connection, and what the client did not read."""
        if self.transport is not None:
            self.transport.abort()

    def finished(self, splice: Splice) -> None:
        """The exchange is over: be idle again, as if nothing had happened."""
        self._splice = self._held = None
        self._body = b""
        if self.transport is None:
            return
        if not splice.keep_alive:
            self.transport.close()
            return
        self._next_keepalive_close_time = self._loop.time() + KEEP_ALIVE
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(self._next_keepalive_close_time, self._process_keepalive)
        self._replay()

    def _replay(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, b""
            self._loop.call_soon(self._received_before, pending)

    def _received_before(self, data: bytes) -> None:
        if self.transport is not None:
            if len(data) > MAX_PIPELINED:
                self.transport.resume_reading()
            self.data_received(data)

    # -- asyncio.Protocol, aiohttp ----------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._splice is not None:
            self._splice.hold()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._splice is not None:
            self._splice.release()

    def eof_received(self) -> None:
        if self._splice is not None:
            splice, self._splice = self._splice, None
            splice.client_gone()
        super().eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        splice, self._splice = self._splice, None
        prior, self._prior = self._prior, None
        if prior is not None and prior.exchange is not None and prior.entry is not None:
            prior.exchange.release()  # nobody takes it up any more
            prior.entry.close(Outcome.CLIENT_CLOSED)
        self._pending = b""
        self._held = None
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None
        if splice is not None:
            splice.client_gone()
        super().connection_lost(exc)

    def _process_keepalive(self) -> None:
        if self._splice is not None or self._held is not None:
            self._keepalive_handle = None  # `finished` sets it again
            return
        super()._process_keepalive()

    @property
    def resting(self) -> bool:
        """True if no request is on its way: the connection may be closed without harm."""
        return self._splice is None and self._held is None and super().resting
