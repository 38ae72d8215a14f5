"""The lane in front of aiohttp's request handler: what needs no parsing but routing passes through it in callbacks.

A request whose head has been read before is known by its bytes and begins here at once. Any other one aiohttp parses
first (`api.lane_protocol`), and the lane is given what it may take. Either way it is spliced, and the connection is
left idle again as if nothing had happened.
"""

import asyncio
from typing import Any, Final

from openai_proxy.api.choosing import choose
from openai_proxy.api.client import KEEP_ALIVE, Client
from openai_proxy.api.heads import HeadBooks, Kept, KnownHead
from openai_proxy.api.splice import Splice
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Exchange
from openai_proxy.records.entry import Entry
from openai_proxy.routing.router import Route
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import State
from openai_proxy.upstream.failover import Opened

MAX_BODY: Final = 512 * 1024
"""Bytes of a body that may wait for its end in the lane: longer ones gain nothing from it."""

BODY_WAIT: Final = 0.25
"""Seconds a body may take in the lane; then the ordinary way waits for it, with its own limits."""

MAX_PIPELINED: Final = 256 * 1024


class Prior:
    """What the lane knows of a request that it hands to the ordinary way: its body, and what was tried, if anything."""

    __slots__ = ("body", "entry", "error", "exchange", "generation", "opened", "route")

    def __init__(
        self,
        body: bytes,
        generation: Generation,
        exchange: Exchange | None = None,
        entry: Entry | None = None,
        route: Route | None = None,
        opened: Opened | None = None,
        error: ProxyError | None = None,
    ) -> None:
        self.body = body
        self.generation = generation
        self.exchange = exchange
        self.entry = entry
        self.route = route
        self.opened = opened
        self.error = error


class Lane(Client):
    """One client connection's lane. `handler` is aiohttp's side of the connection, a LaneProtocol."""

    __slots__ = (
        "_awaited", "_books", "_kept", "_kept_for", "_messages", "_pending", "body", "body_timer", "handler", "holding",
        "parsing", "peer", "raw", "route", "splice", "transport",
    )  # fmt: skip

    def __init__(self, handler: Any, state: State, books: HeadBooks, messages: Any) -> None:
        """`messages` is the handler's queue of parsed messages."""
        super().__init__(state)
        self.handler = handler
        self.transport: Any = None
        self.peer = ""  # the client's address
        self.splice: Splice | None = None
        self.parsing = False  # the parser has a part of a message and waits for the rest
        self.holding = False  # the handler holds a parsed message for us
        self.body = b""
        self.raw = b""  # a message that was taken without the parser, in case it must see it after all
        self.route: Route | None = None
        self.body_timer: asyncio.TimerHandle | None = None
        self._books = books
        self._messages = messages
        # A message that was taken without the parser and is not whole: its head, the bytes it wants, and whose.
        self._awaited: tuple[KnownHead, int, Generation] | None = None
        self._kept: Kept | None = None  # the head of the last request that was known, and under which generation
        self._kept_for: Generation | None = None
        self._pending = b""

    def connected(self, transport: Any, peer: str) -> None:
        """The connection is open."""
        self.transport = transport
        self.peer = peer

    # -- what comes from the client ---------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol: take what is known, let aiohttp parse the rest."""
        if self.splice is not None:  # pipelined: it waits for its turn
            self._pending += data
            if len(self._pending) > MAX_PIPELINED and self.transport is not None:
                self.transport.pause_reading()
        elif self._awaited is not None:
            self._more_of_known(data)
        elif self.parsing or not self._take_known(data):
            self.handler.parse(data)

    def _take_known(self, data: bytes) -> bool:
        """A request whose head has been read before, on an idle connection: no parser needs to look at it again."""
        state, handler = self.state, self.handler
        if self._messages or state.draining or handler._close or (handler._waiter is None and handler._request_count):
            return False
        generation = state.generation
        kept = self._kept if self._kept_for is generation else None
        found = kept.body_of(data) if kept is not None else None
        if found is None:  # another client's turn on a shared connection, another path, or an edit
            kept = self._books.of(generation).find(self.peer, data)
            found = kept.body_of(data) if kept is not None else None
            if kept is None or found is None:
                return False
            self._kept, self._kept_for = kept, generation
        assert kept is not None
        begin, length = found
        wanted = begin + length
        if length > MAX_BODY or len(data) > wanted or self.holding:
            return False
        self.raw = data
        handler._request_count += 1
        if len(data) == wanted:
            self.begin(kept.head, data[begin:])
        else:
            self._awaited = (kept.head, wanted, generation)
            self.body_timer = state.loop.call_later(BODY_WAIT, self._known_is_late)
        return True

    def _more_of_known(self, data: bytes) -> None:
        """More of a body whose head was known (SDKs send head and body apart)."""
        assert self._awaited is not None
        known, wanted, generation = self._awaited
        self.raw += data
        if len(self.raw) < wanted:
            return
        if len(self.raw) > wanted or generation is not self.state.generation:
            # Pipelined, or an edit came between head and body: what was known of the caller holds no more.
            self._known_is_late()
            return
        self._stop_waiting()
        self.begin(known, self.raw[self.raw.index(b"\r\n\r\n") + 4 :])

    def _known_is_late(self) -> None:
        self._stop_waiting()
        raw, self.raw = self.raw, b""
        self.handler.parse(raw)

    def _stop_waiting(self) -> None:
        self._awaited = None
        self.stop_timer()

    def stop_timer(self) -> None:
        """Nobody waits for the rest of a body any more."""
        if self.body_timer is not None:
            self.body_timer.cancel()
            self.body_timer = None

    def learn(self, generation: Generation, first: bytes, head: KnownHead) -> None:
        """Remember `head`, which aiohttp has read from `first`, the bytes a message began with."""
        self._books.of(generation).learn(self.peer, first, first.index(b"\r\n\r\n"), head)

    def begin(self, head: KnownHead, body: bytes) -> None:
        """Take the request, or hand it to the ordinary way, which will say in words why not."""
        self.body = body
        self.route = None  # what was decided for the request before is nothing to this one
        try:
            chosen = choose(self, head, body)
        except ProxyError:
            self.handler.put_back(None)
            return
        if isinstance(chosen, Splice):
            self.splice = chosen
            chosen.start()
        else:
            self.route = chosen
            self.handler.put_back(None)

    def known(self) -> Prior:
        """What is known of the request that could not be taken."""
        return Prior(self.body, self.state.generation, route=self.route)

    @property
    def busy(self) -> bool:
        """True while a request is here."""
        return self.splice is not None or self.holding or self._awaited is not None

    # -- what the splice asks for -----------------------------------------------------------------------------------

    def fall_back(self, splice: Splice, opened: Opened | None, error: ProxyError | None = None) -> None:
        """Client: nothing was sent yet, the ordinary way goes on from here."""
        self.splice = None
        self.state.leave(splice.exchange)
        prior = Prior(self.body, splice.generation, splice.exchange, splice.entry, splice.route, opened, error)
        self.handler.put_back(prior)
        self._replay()

    def committed(self) -> None:
        """Client: what was kept for another try is let go of, however long the stream."""
        if self.holding:
            self.holding = False
            self.handler.let_go()
        self.body = self.raw = b""

    def send(self, data: bytes) -> None:
        """Client."""
        transport = self.transport
        if transport is not None:
            transport.write(data)

    def cut(self) -> None:
        """Client."""
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Client."""
        if self.transport is not None:
            self.transport.abort()

    def finished(self, splice: Splice) -> None:
        """Client: be idle again, as if nothing had happened."""
        self.splice = None
        self.committed()
        if self.transport is None:
            return
        if not splice.keep_alive:
            self.transport.close()
            return
        handler, loop = self.handler, self.state.loop
        until = loop.time() + KEEP_ALIVE
        handler._next_keepalive_close_time = until
        if handler._keepalive_handle is None:
            handler._keepalive_handle = loop.call_at(until, handler._process_keepalive)
        if self._messages:  # pipelined, and parsed with the end of the body that was waited for
            handler.wake()
        if self._pending:
            self._replay()

    def _replay(self) -> None:
        if self._pending:
            pending, self._pending = self._pending, b""
            self.state.loop.call_soon(self._received_before, pending)

    def _received_before(self, data: bytes) -> None:
        if self.transport is not None:
            if len(data) > MAX_PIPELINED:
                self.transport.resume_reading()
            self.data_received(data)

    # -- the end ----------------------------------------------------------------------------------------------------

    def client_gone(self) -> None:
        """The client has closed: stop the provider at once."""
        splice, self.splice = self.splice, None
        if splice is not None:
            splice.client_gone()

    def disconnected(self) -> None:
        """The connection is closed."""
        self.transport = None
        self._pending = self.raw = b""
        self._awaited = None
        self.holding = False
        self.stop_timer()
        self.client_gone()
        self.handler = None  # it holds us: a ring that only the collector of garbage would find
