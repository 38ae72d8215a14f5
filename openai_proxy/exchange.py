"""What travels between the stations with one request. No behaviour beyond trivial accessors, no I/O.

Stations (auth, routing, transforms, prompt, tools, upstream, records) never import each other; what one hands to
the next is defined here.
"""

import random
import time
from collections.abc import AsyncIterable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Any, Final, Protocol

from openai_proxy.endpoints import Endpoint
from openai_proxy.errors import ProxyError

_monotonic: Final = time.monotonic  # kept: a module's attribute is looked up at every call
_wall_clock: Final = time.time

_START: Final = f"req_{random.getrandbits(56):014x}"
_next: Final = count((1 << 40) + random.getrandbits(32)).__next__
_hex: Final = hex


def new_request_id() -> str:
    """A request id: 24 hex digits, the process and the request's number. Not a secret."""
    return _START + _hex(_next())[3:]  # without "0x1": ten digits, and a third of what formatting takes


Headers = Sequence[tuple[bytes, bytes]]
"""Header fields as they stood on the wire: case and order kept, values without outer whitespace."""


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of the header field `name` (lower case)."""
    return next((value for found, value in headers if found.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is asking.

    `group` is None for an anonymous caller; `key_id` is the first 12 hex digits of the key's SHA-256 (safe to log);
    `key_digest` the whole of it (what state is bound to); `remote` the peer's address after `trusted_proxies`.
    """

    remote: str
    group: str | None = None
    key_id: str | None = None
    key_digest: bytes | None = None
    admin: bool = False

    @property
    def identity(self) -> str:
        """What state of this caller (sessions, pending tool turns) is bound to: key digest, else peer address."""
        return self.key_digest.hex() if self.key_digest is not None else self.remote


class Permit(Protocol):
    """A request that was let in under a limit."""

    def release(self) -> None:
        """It is over."""
        ...


class Trace(Protocol):
    """The spans of a request, where telemetry is on."""

    def attempt(self, attempt: "Attempt") -> "Headers":
        """A provider is about to be asked; the header fields that say which span asks."""
        ...

    def attempt_failed(self, attempt: "Attempt") -> None:
        """No usable answer came."""
        ...

    def round_ended(self, total: dict[str, Any] | None) -> None:
        """One answer of the model is whole; `total` is the usage of all so far."""
        ...

    def tool_begins(self, call: str, tool: str) -> dict[str, str]:
        """A tool of ours is about to run; what an MCP server is told in `_meta`."""
        ...

    def tool_ended(self, call: str, arguments: Any, result: str, *, failed: bool) -> None:
        """It has ended, one way or the other."""
        ...


class Outcome(StrEnum):
    """How an exchange ended; the `finish` of its log record."""

    DONE = "done"
    ERROR = "error"
    CLIENT_CLOSED = "client_closed"
    CANCELLED = "cancelled"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Target:
    """One place a request may be sent to: a connection and the model's name there (None: the body's own, untouched)."""

    connection: str
    model: str | None = None
    first_byte: float | None = None  # seconds until its answer begins, where the route says it; else the connection's


HIGH: Final = 0
NORMAL: Final = 1
PRIORITIES: Final = {"high": HIGH, "normal": NORMAL, "low": 2}
"""The priorities of requests; the smallest number goes first."""


class Attempt:
    """One try at one target: what `x-proxy-attempts`, the log and live events tell.

    `error` is a code; `cause` says in words why the try failed.
    """

    __slots__ = ("cause", "duration", "error", "key_id", "status", "target")

    def __init__(self, target: Target, key_id: str | None = None) -> None:
        self.target = target
        self.key_id = key_id
        self.status: int | None = None
        self.error: str | None = None
        self.cause: str | None = None
        self.duration = 0.0

    def failed(self, error: ProxyError) -> None:
        """Nothing usable came of it."""
        self.error = error.code
        self.cause = error.cause

    def told(self) -> dict[str, object]:
        """As the log and live events have it; what is not known is left out."""
        members = {
            "connection": self.target.connection,
            "model": self.target.model,
            "key_id": self.key_id,
            "status": self.status,
            "error": self.error,
            "cause": self.cause,
            "duration_ms": round(self.duration * 1000, 1),
        }
        return {name: value for name, value in members.items() if value is not None}


class Exchange:
    """One request from its arrival to its record.

    Times are `time.monotonic()` seconds except `created_at` (wall clock, for records only). No dataclass, because one
    is made for every request: a dataclass's `__init__` is made at run time and stays interpreted.
    """

    __slots__ = (
        "agent", "allowance", "attempts", "budget_left", "caller", "cause", "connection", "created_at", "cut",
        "deadline", "ended", "endpoint", "error_code", "first_byte", "id", "method", "model", "notes", "on_waking",
        "outcome", "path", "permit", "priority", "queued", "reserved", "rounds", "session_id", "started", "state",
        "status", "stream", "trace", "tries", "upstream_model", "usage", "user",
    )  # fmt: skip

    def __init__(
        self,
        id: str,  # noqa: A002 - its name everywhere
        caller: Caller,
        method: str,
        endpoint: Endpoint,
        model: str | None = None,
        stream: bool = False,
        session_id: str | None = None,
        connection: str | None = None,
    ) -> None:
        """`model` is the name that was asked for."""
        self.id = id
        self.caller = caller
        self.method = method
        self.endpoint = endpoint
        self.path = endpoint.path
        self.model = model
        self.stream = stream
        self.session_id = session_id  # the X-Session-ID header, echoed on the response
        self.connection = connection  # where it went, once decided
        self.user: str | None = None  # who it is for, as the client says: for usage
        self.agent: str | None = None  # which of a client's agents asks, as it says
        self.upstream_model: str | None = None
        self.state = "accepted"  # accepted, queued, waking, waiting, streaming, tools: what /admin/status shows
        self.attempts: list[Attempt] = []
        self.started = _monotonic()
        self.created_at = _wall_clock()
        self.first_byte: float | None = None
        self.ended: float | None = None
        self.status: int | None = None
        self.outcome: Outcome | None = None
        self.error_code: str | None = None
        self.cause: str | None = None  # why it failed, in words for the owner, where no attempt says it
        self.notes: list[str] = []  # what the record should say besides
        self.tries = 0  # attempts until the first answer; an agent's later rounds add attempts, not tries
        self.rounds = 1  # how often a model was asked for its answer, each time with its own input
        self.usage: dict[str, Any] | None = None  # as the chat API tells it, where the answer's own language says less
        self.permit: Permit | None = None  # what its group's limits let it in with; given back by `release`
        self.allowance: object = None  # the limits its tokens count for; None: for none
        self.trace: Trace | None = None
        self.reserved: float | None = None  # money set aside for it under its group's budget
        self.budget_left: float | None = None  # what may still be spent, where that has become little
        self.deadline: float | None = None  # when its answer must have ended
        self.priority = NORMAL  # before whom it is served, where a connection takes few at a time
        self.queued = 0.0  # seconds it has waited in line
        self.on_waking: Callable[[], None] | None = None  # called when it begins to wait for a machine that sleeps
        self.cut: ProxyError | None = None  # why it is being ended before its time: an admin's cancel, the shutdown

    def has_time_for(self, seconds: float) -> bool:
        """False if waiting so long would leave no time before the deadline."""
        return self.deadline is None or _monotonic() + seconds < self.deadline

    @property
    def tried(self) -> int:
        """Attempts until the first answer: what `x-proxy-attempts` tells."""
        return self.tries or len(self.attempts)

    def release(self) -> None:
        """Give the permit back. Idempotent."""
        permit, self.permit = self.permit, None
        if permit is not None:
            permit.release()


Body = bytes | AsyncIterable[bytes] | None


@dataclass(slots=True)
class UpstreamRequest:
    """What is to be asked of a provider.

    `path` is below the API root ("/chat/completions"), `query` raw and without "?". `headers` are the client's,
    already free of hop-by-hop fields, Host, cookies, forwarding fields and client credentials; the provider adds its
    own key and Content-Length. A `body` that is an iterable can be sent only once, so it is never retried; `length`
    is its size in bytes where it is known. `document` is what `body` says, where that is at hand: it saves a provider
    that translates from parsing it again. Nobody changes it.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: Body = None
    length: int | None = None
    client_authorization: bytes | None = None  # the caller's own bearer, used only with forward_auth
    document: dict[str, Any] | None = None


class UpstreamResponse(Protocol):
    """A provider's answer: status and headers have come, the body streams.

    Whoever holds one calls `close` in the end, in every case; closing before the clean end drops the connection,
    so that the provider stops generating.
    """

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def reason(self) -> str:
        """The reason phrase."""
        ...

    @property
    def headers(self) -> Headers:
        """All header fields."""
        ...

    async def chunk(self) -> bytes:
        """The next body bytes as they came (transfer coding removed, content coding left); b"" at a clean end.

        Raises UpstreamTruncated, UpstreamTimeout or UpstreamInvalid where the body does not end cleanly.
        """
        ...

    async def read(self, limit: int) -> bytes:
        """The whole rest of the body. Raises UpstreamInvalid (code `upstream_too_large`) past `limit` bytes."""
        ...

    def close(self) -> None:
        """Let go of the answer. Idempotent."""
        ...
