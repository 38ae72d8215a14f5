"""One exchange relayed directly: what the provider's socket receives is written to the client's in the same callback.

No task is woken, no header dictionary is created and nothing is buffered here; per chunk its framing is checked once,
and there is one write and one list append for the record.
"""

import asyncio
from abc import ABC, abstractmethod
from typing import Final

from openai_proxy.errors import ProxyError, UpstreamError
from openai_proxy.exchange import Attempt, Exchange, Outcome
from openai_proxy.fastpath.known_heads import KnownHead
from openai_proxy.fastpath.send_plan import SendPlan
from openai_proxy.fastpath.stream_end import AFTER_DONE, error_event
from openai_proxy.protocols.http1 import CloseFraming, ResponseHead
from openai_proxy.records.recording.entry import Entry
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.tasks import spawn
from openai_proxy.upstream.connection import HttpConnection, Sink
from openai_proxy.upstream.failover import Opened
from openai_proxy.upstream.response import StreamedResponse

DONE_TAILS: Final = (b"[DONE]\n\n\r\n", b"[DONE]\r\n\r\n\r\n")
"""The end of a last chunk with `data: [DONE]`, including the chunk's own CRLF."""

BRACKET: Final = 0x5D

TOGETHER: Final = 16 * 1024
"""Bytes of a body up to which the head goes out with them, which saves a system call."""


class RelayClient(ABC):
    """The client connection a direct relay writes to."""

    __slots__ = ("state",)

    def __init__(self, state: ProxyState) -> None:
        self.state = state

    @abstractmethod
    def send(self, data: bytes) -> None:
        """Write to the client."""

    @abstractmethod
    def cut(self) -> None:
        """Close without a proper end after what was sent: the client must see that the answer broke off."""

    @abstractmethod
    def reset(self) -> None:
        """Drop the connection, and what the client did not read."""

    @abstractmethod
    def committed(self) -> None:
        """The answer has begun: there will be no retry."""

    @abstractmethod
    def fall_back(self, relay: "DirectRelay", opened: Opened | None, error: ProxyError | None = None) -> None:
        """Nothing was sent yet: the pipeline continues from here."""

    @abstractmethod
    def finished(self, relay: "DirectRelay") -> None:
        """The exchange is over."""


class DirectRelay(Sink):
    """See the module. A `connection.Sink`, and the fast path's state while one request is running."""

    __slots__ = (
        "_attempt",
        "_blocked_since",
        "_body",
        "_client",
        "_connecting",
        "_done_by",
        "_head",
        "_plan",
        "_rechunk",
        "_reused",
        "_unsent",
        "connection",
        "entry",
        "exchange",
        "generation",
        "keep_alive",
        "known",
    )  # fmt: skip

    def __init__(
        self,
        client: RelayClient,
        generation: Generation,
        exchange: Exchange,
        entry: Entry,
        known: KnownHead,
        plan: SendPlan,
        body: bytes,
    ) -> None:
        self._client = client
        self.generation = generation
        self.exchange = exchange
        self.entry = entry
        self.known = known
        self._plan = plan
        self._body = body
        self.keep_alive = known.keep_alive
        self.connection: HttpConnection | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._reused = False
        self._head: ResponseHead | None = None
        self._rechunk = False
        self._blocked_since = 0.0
        self._done_by = 0.0
        self._unsent = b""
        target = plan.target
        self._attempt = Attempt(target)
        exchange.connection = target.connection
        exchange.upstream_model = target.model or exchange.model
        exchange.state = "waiting"

    @property
    def plan(self) -> SendPlan:
        """How the request is sent."""
        return self._plan

    # -- the request ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Send the request, over a kept connection or a new one."""
        self._client.state.enter(self)
        self.exchange.attempts.append(self._attempt)
        health = self.generation.upstreams.health
        if not health.all_healthy:
            health.record_attempt(self._plan.target, self.exchange.model)
        connection = self._plan.pool.take()
        if connection is not None:
            self._reused = True
            self._send(connection)
        else:
            self._connect()

    def _connect(self) -> None:
        self._reused = False
        self._connecting = spawn(self._connected(), name="connect for a direct relay")

    async def _connected(self) -> None:
        plan = self._plan
        try:
            connection = await plan.pool.connect(plan.limits.connect)
        except UpstreamError as error:
            self._connecting = None
            self.failed(error)
            return
        self._connecting = None
        self._send(connection)

    def _send(self, connection: HttpConnection) -> None:
        self.connection = connection
        plan, body = self._plan, self._body
        connection.begin(self, "POST", plan.limits)
        connection.write(b"".join((plan.start, str(len(body)).encode(), b"\r\n\r\n", body)))

    # -- Sink -------------------------------------------------------------------------------------------------------

    def head(self, head: ResponseHead, more: bool) -> list[bytes] | None:
        """connection.Sink: 2xx is passed on at once; everything else is handled by the pipeline."""
        connection = self.connection
        assert connection is not None
        self._attempt.status = head.status
        if not 200 <= head.status < 300:
            response = StreamedResponse(self._client.state.loop, connection)
            connection.sink = response
            self.connection = None
            out = response.head(head, more)
            self._fall_back(response)
            return out
        self._rechunk = type(connection.framing) is CloseFraming
        opening = self._opening(head, b"")
        self._body = b""
        self._client.committed()
        if more:  # one system call for head and body: 5 µs saved
            self._unsent = opening
        else:
            self._client.send(opening)
        return self.entry.parts  # the framing that is read here is also removed for the record

    def whole(self, head: ResponseHead, body: bytes) -> None:
        """connection.Sink: a whole answer that arrived in one piece is sent in one, and the exchange is over."""
        self.connection = None
        self._attempt.status = head.status
        self._client.send(self._opening(head, body))
        self.exchange.ended = self.exchange.first_byte
        entry = self.entry
        entry.parts.append(body)
        entry.size = len(body)
        self._finish(Outcome.DONE)

    def _opening(self, head: ResponseHead, body: bytes) -> bytes:
        """The client's head, followed by `body`. The answer begins with it, so there is no retry afterwards."""
        exchange, state, known = self.exchange, self._client.state, self.known
        health = self.generation.upstreams.health
        if not health.all_healthy:
            health.record_success(self._plan.target, exchange.model, self._plan.key)
        self._head = head
        exchange.state = "streaming"
        exchange.status = head.status
        if state.draining:
            self.keep_alive = False
        self.entry.response(head.status, head.media)
        return b"%b%b%b%b%b%b" % (
            head.opening_without(self._plan.secrets),
            b"" if head.has_request_id else b"x-request-id: %b\r\n" % exchange.id.encode(),
            known.extra,
            b"Transfer-Encoding: chunked\r\n" if self._rechunk else b"",
            b"\r\n" if self.keep_alive else b"Connection: close\r\n\r\n",
            body,
        )

    def data(self, data: bytes) -> None:
        """connection.Sink: pass it on to the client; the record gets its copy."""
        size = len(data)
        if self._rechunk:
            data = b"%x\r\n%b\r\n" % (size, data)
        if self._unsent:
            if size > TOGETHER:  # a second copy of it would stay as long as the client does not read
                self._client.send(self._unsent)
            else:
                data = self._unsent + data
            self._unsent = b""
        self._client.send(data)
        self.entry.passed(size)
        # One byte distinguishes nearly every chunk from a last one: an event ends in a brace.
        if size > 9 and (data[-5] == BRACKET or data[-7] == BRACKET) and data.endswith(DONE_TAILS):
            self._done_by = self._client.state.loop.time() + AFTER_DONE
            self._client.state.providers.watch.add(self)

    def done(self) -> None:
        """connection.Sink: a clean end."""
        self.connection = None
        self._flush()
        if self._rechunk:
            self._client.send(b"0\r\n\r\n")
        self._finish(Outcome.DONE)

    def failed(self, error: UpstreamError) -> None:
        """connection.Sink: if nothing was sent yet, the pipeline retries; else the client gets an error, or is cut
        off.
        """
        if self._head is None:
            self.connection = None
            if self._reused and error.code == "upstream_disconnected" and self.exchange.endpoint.replayable:
                self._connect()  # the server had closed the kept connection: it never saw this request
                return
            self._attempt.failed(error)
            self._client.fall_back(self, None, error)
            return
        if self._done_by and self._end_after_done():
            return  # the message was complete; only the connection broke
        self._attempt.failed(error)
        self._break(error, Outcome.ERROR)

    # -- other endings ----------------------------------------------------------------------------------------------

    def client_gone(self) -> None:
        """The client's connection is closed: stop the provider at once."""
        self._let_go()
        self._finish(Outcome.CLIENT_CLOSED)

    def cut(self, error: ProxyError) -> None:
        """state.Running: an admin, or the shutdown."""
        if self.exchange.cut is not None:
            return
        self.exchange.cut = error
        outcome = Outcome.SHUTDOWN if error.code == "server_shutting_down" else Outcome.CANCELLED
        if self._head is None:
            self._let_go()
            self._client.fall_back(self, None, error)
            return
        self._break(error, outcome)

    def _flush(self) -> None:
        """Send a head that waited for body bytes which did not arrive after all."""
        if self._unsent:
            self._client.send(self._unsent)
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
            self._client.send(b"%x\r\n%b\r\n0\r\n\r\n" % (len(event), event))
            self.keep_alive = False
        else:
            self._client.cut()
        self.exchange.error_code = error.code
        self._finish(outcome, error)

    def _end_after_done(self) -> bool:
        """`[DONE]` was sent: end the answer for the client, whatever the provider does; returns whether that is
        possible.
        """
        self._flush()
        connection = self.connection
        if connection is not None and connection.framing is not None and connection.framing.at_event_boundary():
            self._let_go()
            self._client.send(b"0\r\n\r\n")
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
        client, exchange = self._client, self.exchange
        if self._done_by or self._blocked_since:
            client.state.providers.watch.discard(self)
        if exchange.permit is not None:
            exchange.release()
        self.entry.close(outcome, error.code if error is not None else None)
        client.state.leave(exchange)
        client.finished(self)

    def _fall_back(self, response: StreamedResponse) -> None:
        plan = self._plan
        self._client.fall_back(self, Opened(response, plan.provider, plan.target, plan.key))

    # -- a client that does not keep up -----------------------------------------------------------------------------

    def hold(self) -> None:
        """The client's socket is full."""
        if self.connection is not None:
            self.connection.pause()
        self._blocked_since = self._client.state.loop.time()
        self._client.state.providers.watch.add(self)

    def release(self) -> None:
        """The client is reading again."""
        self._blocked_since = 0.0
        if not self._done_by:
            self._client.state.providers.watch.discard(self)
        if self.connection is not None:
            self.connection.resume()

    def check(self, now: float) -> None:
        """Watched: cut off a client that reads nothing; do not wait for a provider that stays after its `[DONE]`."""
        if self._done_by and now >= self._done_by and not self._blocked_since:
            self._done_by = 0.0
            self._end_after_done()
        elif self._blocked_since and now - self._blocked_since >= self.generation.config.limits.write_seconds:
            self._client.reset()
