"""The fast path of one client connection: requests that only need routing are handled in callbacks.

A request whose head has been read before is recognised by its bytes and starts here at once. Any other one is first
parsed by aiohttp (`server.connection`), and then offered to the fast path. Either way its answer is relayed directly,
and the connection is left idle again as if nothing had happened.
"""

import asyncio
from typing import Any, Final

from openai_proxy.bounds import MAX_HEAD
from openai_proxy.decision.decide import Decision
from openai_proxy.endpoints import FAST
from openai_proxy.errors import ProxyError
from openai_proxy.fastpath.direct_relay import DirectRelay, RelayClient
from openai_proxy.fastpath.eligible import choose
from openai_proxy.fastpath.handover import Handover
from openai_proxy.fastpath.known_heads import CachedHead, HeadCaches, KnownHead
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.fast_path import BODY_WAIT
from openai_proxy.server.headers import head_size
from openai_proxy.upstream.failover import Opened

MAX_BODY: Final = 512 * 1024
"""Maximum bytes of a body on the fast path: longer ones gain nothing from it."""

MAX_PIPELINED: Final = 256 * 1024


class FastConnection(RelayClient):
    """The fast path of one connection. A `server.fast_path.FastPath`; `connection` is aiohttp's side of it."""

    __slots__ = (
        "_awaited", "_body", "_body_timer", "_cached", "_cached_for", "_caches", "_holds", "_peer", "_pending",
        "_raw", "_relay", "_transport", "connection",
    )  # fmt: skip

    def __init__(self, connection: Any, state: ProxyState, caches: HeadCaches) -> None:
        """`connection` is a `server.connection.RelayingConnection`, which is not compiled."""
        super().__init__(state)
        self.connection = connection
        self._transport: Any = None
        self._peer = ""  # the client's address
        self._relay: DirectRelay | None = None
        self._body = b""
        self._raw = b""  # a message taken without the parser, in case it must be parsed after all
        self._holds = False  # the connection holds the parsed message, in case the pipeline must have it
        self._body_timer: asyncio.TimerHandle | None = None
        self._caches = caches
        # An incomplete message taken without the parser: its head, the bytes it needs, and its caller.
        self._awaited: tuple[KnownHead, int, Generation] | None = None
        self._cached: CachedHead | None = None  # the head of the last request that was known, and its generation
        self._cached_for: Generation | None = None
        self._pending = b""  # pipelined behind the present request

    def connected(self, transport: Any, peer: str) -> None:
        """The connection is open."""
        self._transport = transport
        self._peer = peer

    # -- what comes from the client ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol: take known requests, let aiohttp parse the rest."""
        if self._relay is not None or self._pending:  # pipelined: it waits behind those already waiting
            self._pending += data
            if len(self._pending) > MAX_PIPELINED and self._transport is not None:
                self._transport.pause_reading()
        else:
            self._received(data)

    def _received(self, data: bytes) -> None:
        if self._awaited is not None:
            self._more_of_known(data)
        elif self.connection.parsing or not self._take_known(data):
            self.connection.parse(data)

    def _take_known(self, data: bytes) -> bool:
        """A request whose head has been read before, on an idle connection: no need to parse it again."""
        state, connection = self.state, self.connection
        if state.draining:
            return False
        generation = state.generation
        cached = self._cached if self._cached_for is generation else None
        found = cached.body_of(data) if cached is not None else None
        if found is None:  # another client's turn on a shared connection, another path, or an edit
            cached = self._caches.of(generation).find(self._peer, data)
            found = cached.body_of(data) if cached is not None else None
            if cached is None or found is None:
                return False
            self._cached, self._cached_for = cached, generation
        assert cached is not None
        begin, length = found
        end = begin + length
        if length > MAX_BODY or len(data) > end or not connection.begin_unparsed():
            return False
        self._raw = data
        if len(data) == end:
            self._begin(cached.head, data[begin:])
        else:
            self._awaited = (cached.head, end, generation)
            self._body_timer = state.loop.call_later(BODY_WAIT, self._known_is_late)
        return True

    def _more_of_known(self, data: bytes) -> None:
        """More of the body after a known head (SDKs send head and body separately)."""
        assert self._awaited is not None
        known, end, generation = self._awaited
        self._raw += data
        if len(self._raw) < end:
            return
        if len(self._raw) > end or generation is not self.state.generation:
            # Pipelined, or an edit came between head and body: what was known about the caller is no longer valid.
            self._known_is_late()
            return
        self._stop_waiting()
        self._begin(known, self._raw[self._raw.index(b"\r\n\r\n") + 4 :])

    def _known_is_late(self) -> None:
        self._stop_waiting()
        raw, self._raw = self._raw, b""
        self.connection.parse(raw)

    def _stop_waiting(self) -> None:
        self._awaited = None
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def wants(self, message: Any) -> bool:
        """FastPath: true if the head alone does not rule this way out."""
        if getattr(message, "path", None) not in FAST or message.method != "POST" or message.version != (1, 1):
            return False
        headers = message.headers
        if message.upgrade or message.chunked or self.state.draining:
            return False
        if "Expect" in headers or "Content-Encoding" in headers or "Origin" in headers:
            return False
        length = headers.get("Content-Length", "")
        return length.isdigit() and 0 < int(length) <= MAX_BODY and head_size(message) <= MAX_HEAD

    def parsed(self, message: Any, first: bytes, body: bytes) -> None:
        """FastPath: a request is complete."""
        generation = self.state.generation
        self._body = body
        self._holds = True
        try:
            head = KnownHead(generation.gate, generation.access, self._peer, FAST[message.path], message)
        except (ProxyError, ValueError):
            self._hand_back(None)
            return
        if first and generation.validator is None:  # a validator may change its answer at any time
            self._caches.of(generation).learn(self._peer, first, first.index(b"\r\n\r\n"), head)
        self._begin(head, body)

    def _begin(self, head: KnownHead, body: bytes) -> None:
        """Take the request, or pass it to the pipeline, which will explain a refusal."""
        self._body = body
        try:
            chosen = choose(self, head, body)
        except ProxyError:
            self._hand_back(None)
            return
        if isinstance(chosen, DirectRelay):
            self._relay = chosen
            chosen.start()
        else:
            self._hand_back(chosen)

    def _hand_back(self, decision: Decision | None) -> None:
        """Nothing has begun: the pipeline takes the request, with the decision about it."""
        self._give(Handover(self._body, self.state.generation, decision=decision))

    def _give(self, handover: Handover) -> None:
        raw, self._raw = self._raw, b""
        self._body = b""
        self._holds = False
        self.connection.hand_back(handover, raw)

    @property
    def busy(self) -> bool:
        """FastPath: true while a request is here."""
        return self._relay is not None or self._awaited is not None

    # -- called by the relay ----------------------------------------------------------------------------------------

    def fall_back(self, relay: DirectRelay, opened: Opened | None, error: ProxyError | None = None) -> None:
        """RelayClient: nothing was sent yet, the pipeline continues from here."""
        self._relay = None
        self.state.leave(relay.exchange)
        plan = relay.plan
        self._give(
            Handover(
                self._body, relay.generation, relay.exchange, relay.entry, plan.decision, plan.targets, opened, error
            )
        )
        self._replay()

    def committed(self) -> None:
        """RelayClient: release what was kept for a retry, however long the stream will be."""
        if self._holds:
            self._holds = False
            self.connection.answer_begun()
        self._body = self._raw = b""

    def send(self, data: bytes) -> None:
        """RelayClient."""
        transport = self._transport
        if transport is not None:
            transport.write(data)

    def cut(self) -> None:
        """RelayClient."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """RelayClient."""
        if self._transport is not None:
            self._transport.abort()

    def finished(self, relay: DirectRelay) -> None:
        """RelayClient: be idle again, as if nothing had happened."""
        self._relay = None
        self.committed()
        if self._transport is None:
            return
        if not relay.keep_alive:
            self._transport.close()
            return
        self.connection.rest()
        if self._pending:
            self._replay()

    def _replay(self) -> None:
        if self._pending:
            self.state.loop.call_soon(self._take_pending)

    def _take_pending(self) -> None:
        pending, self._pending = self._pending, b""
        if self._transport is not None and pending:
            if len(pending) > MAX_PIPELINED:
                self._transport.resume_reading()
            self._received(pending)

    def pause(self) -> None:
        """FastPath: the client's socket is full."""
        if self._relay is not None:
            self._relay.hold()

    def resume(self) -> None:
        """FastPath: the client is reading again."""
        if self._relay is not None:
            self._relay.release()

    # -- the end ----------------------------------------------------------------------------------------------------

    def client_gone(self) -> None:
        """FastPath: the client has closed; stop the provider at once."""
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.client_gone()

    def disconnected(self) -> None:
        """FastPath: the connection is closed."""
        self._transport = None
        self._pending = self._raw = b""
        self._holds = False
        self._stop_waiting()
        self.client_gone()
        self.connection = None  # breaks the reference cycle between the two halves of the connection
