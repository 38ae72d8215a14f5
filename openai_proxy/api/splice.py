"""One exchange spliced: what the provider's socket receives is written to the client's in the same callback.

No task is woken, no header dictionary is made and nothing is buffered here; a chunk costs one look at its framing,
one write and one list append for the record.
"""

import asyncio
from typing import Protocol

from openai_proxy.api.passthrough import AFTER_DONE, error_event
from openai_proxy.errors import Overloaded, ProxyError, UpstreamError
from openai_proxy.exchange import Attempt, Exchange, Outcome
from openai_proxy.protocols.http1 import CloseFraming, ResponseHead
from openai_proxy.records.entry import Entry
from openai_proxy.routing.router import Route
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import Running, State
from openai_proxy.tasks import spawn
from openai_proxy.upstream.connection import HttpConnection
from openai_proxy.upstream.failover import Opened
from openai_proxy.upstream.openai import OpenAIProvider
from openai_proxy.upstream.response import StreamedResponse

DONE_TAILS = (b"NE]\n\n", b"]\r\n\r\n")
"""How a last chunk that ends with `data: [DONE]` ends, before the CRLF of its own."""

REPLAYED = frozenset({"/chat/completions", "/completions", "/embeddings"})


class Lane(Protocol):
    """The client connection a splice writes to."""

    state: State

    def send(self, data: bytes) -> None:
        """Write to the client."""
        ...

    def cut(self) -> None:
        """Close without a proper end, behind what was sent."""
        ...

    def reset(self) -> None:
        """Drop the connection, and what the client did not read."""
        ...

    def committed(self) -> None:
        """The answer has begun: there will be no other try."""
        ...

    def fall_back(self, splice: "Splice", opened: Opened | None, error: ProxyError | None = None) -> None:
        """Nothing was sent yet: the ordinary way goes on from here."""
        ...

    def finished(self, splice: "Splice") -> None:
        """The exchange is over."""
        ...


class Splice:
    """See the module. A `connection.Sink`, and what the lane holds while one request is under way."""

    __slots__ = (
        "_attempt", "_blocked_since", "_connecting", "_done_by", "_extra", "_head", "_key", "_lane", "_provider",
        "_rechunk", "_request", "_reused", "_target", "_unsent", "connection", "entry", "exchange", "generation",
        "keep_alive", "route",
    )  # fmt: skip

    def __init__(
        self,
        lane: "Lane",
        generation: Generation,
        exchange: Exchange,
        entry: Entry,
        provider: OpenAIProvider,
        route: Route,
        key: str | None,
        request: bytes,
        *,
        keep_alive: bool,
        extra: bytes,
    ) -> None:
        self._lane = lane
        self.generation = generation
        self.exchange = exchange
        self.entry = entry
        self._provider = provider
        self.route = route
        self._target = target = route.targets[0]
        self._key = key
        self._request = request
        self.keep_alive = keep_alive
        self._extra = extra
        self.connection: HttpConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reused = False
        self._head: ResponseHead | None = None
        self._rechunk = False
        self._blocked_since = 0.0
        self._done_by = 0.0
        self._unsent = b""
        self._attempt = Attempt(target)

    # -- the request ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Send the request, over a kept connection or a new one."""
        exchange = self.exchange
        self._lane.state.enter(Running(exchange, self.generation, self._cut))
        exchange.attempts.append(self._attempt)
        exchange.connection = self._target.connection
        exchange.upstream_model = self._target.model or exchange.model
        exchange.state = "waiting"
        connection = self._provider.pool.take()
        if connection is not None:
            self._reused = True
            self._send(connection)
        else:
            self._connect()

    def _connect(self) -> None:
        self._reused = False
        self._connecting = spawn(self._connected(), name="connect for a spliced request")

    async def _connected(self) -> None:
        try:
            connection = await self._provider.pool.connect(self._provider.limits.connect)
        except UpstreamError as error:
            self._connecting = None
            self.failed(error)
            return
        self._connecting = None
        self._send(connection)

    def _send(self, connection: HttpConnection) -> None:
        self.connection = connection
        connection.begin(self, "POST", self._provider.limits)
        connection.write(self._request)

    # -- Sink -------------------------------------------------------------------------------------------------------

    def head(self, head: ResponseHead, more: bool) -> list[bytes] | None:
        """connection.Sink: 2xx goes on at once; everything else is looked at the ordinary way."""
        connection = self.connection
        assert connection is not None
        self._attempt.status = head.status
        if not 200 <= head.status < 300:
            response = StreamedResponse(self._lane.state.loop, connection)
            connection.sink = response
            self.connection = None
            out = response.head(head, more)
            self._lane.fall_back(self, Opened(response, self._provider, self._target, self._key))
            return out
        health = self.generation.upstreams.health
        if not health.calm:
            health.well(self._target, self.exchange.model, self._key)
        self._head = head
        self._request = b""
        self._lane.committed()
        self.exchange.state = "streaming"
        self.exchange.status = head.status
        if type(connection.framing) is CloseFraming:
            self._rechunk = True
        if self._lane.state.draining:
            self.keep_alive = False
        lines = [b"HTTP/1.1 %d %b\r\n" % (head.status, head.reason), head.forwarded()]
        if not head.has_request_id:
            lines.append(b"x-request-id: %b\r\n" % self.exchange.id.encode())
        if self._extra:
            lines.append(self._extra)
        if self._rechunk:
            lines.append(b"Transfer-Encoding: chunked\r\n")
        lines.append(b"\r\n" if self.keep_alive else b"Connection: close\r\n\r\n")
        if more:  # one system call for head and body: 5 µs saved on every short answer
            self._unsent = b"".join(lines)
        else:
            self._lane.send(b"".join(lines))
        fields = ((b"content-type", head.content_type), (b"content-encoding", head.content_encoding))
        self.entry.response(head.status, fields, "chunked" if head.chunked else "plain")
        return None

    def data(self, data: bytes) -> None:
        """connection.Sink: on to the client, then into the record."""
        if self._rechunk:
            self._lane.send(self._unsent + b"%x\r\n%b\r\n" % (len(data), data))
            self._unsent = b""
        elif self._unsent:
            self._lane.send(self._unsent + data)
            self._unsent = b""
        else:
            self._lane.send(data)
        self.entry.data(data)
        if data[-7:-2] in DONE_TAILS:
            self._done_by = self._lane.state.loop.time() + AFTER_DONE
            self._lane.state.providers.watch.add(self)

    def done(self) -> None:
        """connection.Sink: a clean end."""
        self.connection = None
        self._flush()
        if self._rechunk:
            self._lane.send(b"0\r\n\r\n")
        self._finish(Outcome.DONE)

    def failed(self, error: UpstreamError) -> None:
        """connection.Sink: nothing sent yet means another try the ordinary way; else the client is told, or cut."""
        if self._head is None:
            self.connection = None
            if self._reused and error.code == "upstream_disconnected" and self.exchange.path in REPLAYED:
                self._connect()  # the server had closed the kept connection: it never saw this request
                return
            self._attempt.error = error.code
            self._lane.fall_back(self, None, error)
            return
        if self._done_by and self._end_after_done():
            return  # the message was whole; what broke is the connection
        self._break(error, Outcome.ERROR)

    # -- other endings ----------------------------------------------------------------------------------------------

    def client_gone(self) -> None:
        """The client's connection is closed: stop the provider at once."""
        self._let_go()
        self._finish(Outcome.CLIENT_CLOSED)

    def _cut(self) -> None:
        """Running.cut: an admin, or the shutdown."""
        error = self.exchange.cut or Overloaded("The request was cancelled.", code="cancelled")
        outcome = Outcome.SHUTDOWN if error.code == "server_shutting_down" else Outcome.CANCELLED
        if self._head is None:
            self._let_go()
            self._lane.fall_back(self, None, error)
            return
        self._break(error, outcome)

    def _flush(self) -> None:
        """A head that waited for body bytes which did not come after all."""
        if self._unsent:
            self._lane.send(self._unsent)
            self._unsent = b""

    def _break(self, error: ProxyError, outcome: Outcome) -> None:
        head, connection = self._head, self.connection
        assert head is not None
        self._flush()
        fits = (
            connection is not None
            and connection.framing is not None
            and connection.framing.at_event_boundary()
            and head.content_type.lower().startswith(b"text/event-stream")
            and not head.content_encoding
        )
        self._let_go()
        if fits:
            event = error_event(error, self.exchange.path)
            self._lane.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event))
            self.keep_alive = False
        else:
            self._lane.cut()
        self.exchange.error_code = error.code
        self._finish(outcome, error)

    def _end_after_done(self) -> bool:
        """`[DONE]` has gone out: end the answer for the client, whatever the provider does; True if that can be."""
        self._flush()
        connection = self.connection
        if connection is not None and connection.framing is not None and connection.framing.at_event_boundary():
            self._let_go()
            self._lane.send(b"0\r\n\r\n")
            self._finish(Outcome.DONE)
            return True
        return False

    def _let_go(self) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            self._connecting = None
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()

    def _finish(self, outcome: Outcome, error: ProxyError | None = None) -> None:
        lane = self._lane
        lane.state.providers.watch.discard(self)
        self.exchange.release()
        self.entry.close(outcome, error.code if error is not None else None)
        lane.state.leave(self.exchange)
        lane.finished(self)

    # -- a client that does not keep up -----------------------------------------------------------------------------

    def hold(self) -> None:
        """The client's socket is full."""
        if self.connection is not None:
            self.connection.pause()
        self._blocked_since = self._lane.state.loop.time()
        self._lane.state.providers.watch.add(self)

    def release(self) -> None:
        """The client reads again."""
        self._blocked_since = 0.0
        if not self._done_by:
            self._lane.state.providers.watch.discard(self)
        if self.connection is not None:
            self.connection.resume()

    def check(self, now: float) -> None:
        """Watched: a client that reads nothing is cut; a provider that stays after its `[DONE]` is not waited for."""
        if self._done_by and now >= self._done_by and not self._blocked_since:
            self._done_by = 0.0
            self._end_after_done()
        elif self._blocked_since and now - self._blocked_since >= self.generation.config.limits.write_seconds:
            self._lane.reset()
