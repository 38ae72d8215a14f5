"""What is passed between the stages of one request. Only trivial accessors, no I/O.

Stages (auth, routing, transforms, prompt, tools, upstream, records) never import each other; what one passes to the
next is defined here.
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
from openai_proxy.protocols.json_members import LARGE

_monotonic: Final = time.monotonic  # kept in a local name: a module's attribute is looked up at every call
_wall_clock: Final = time.time

_START: Final = f"req_{random.getrandbits(56):014x}"
_next: Final = count((1 << 40) + random.getrandbits(32)).__next__
_LAST_DIGITS: Final = tuple(f"{number:02x}" for number in range(256))


class _FirstDigits:
    """The common prefix of 256 consecutive request ids, and the number of the batch."""

    __slots__ = ("row",)

    def __init__(self) -> None:
        self.row = (0, "")


_first_digits: Final = _FirstDigits()


def new_request_id() -> str:
    """A request id: 24 hex digits from the process and the request's number. Not a secret. Thread-safe."""
    number = _next()
    row = _first_digits.row
    if row[0] != number >> 8:
        row = _first_digits.row = (number >> 8, _START + hex(number >> 8)[3:])  # without "0x1": eight digits
    return row[1] + _LAST_DIGITS[number & 255]


Headers = Sequence[tuple[bytes, bytes]]
"""Header fields as sent on the wire: case and order kept, values without outer whitespace."""


def header(headers: Headers, name: bytes) -> bytes | None:
    """The first value of the header field `name` (lower case)."""
    return next((value for found, value in headers if found.lower() == name), None)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    `group` is None for an anonymous caller; `key_id` is the first 12 hex digits of the key's SHA-256 (safe to log);
    `key_digest` all of it (state is bound to it); `remote` is the peer's address after `trusted_proxies`.
    """

    remote: str
    group: str | None = None
    key_id: str | None = None
    key_digest: bytes | None = None
    admin: bool = False

    @property
    def account(self) -> bytes | str:
        """What this caller's limits, money and records are counted under: `identity`, without building its text."""
        return self.key_digest or self.remote

    @property
    def identity(self) -> str:
        """What this caller's state (sessions, pending tool turns) is bound to: key digest, else peer address."""
        return self.key_digest.hex() if self.key_digest is not None else self.remote


class Permit(Protocol):
    """Permission for a request under its group's limits."""

    def release(self) -> None:
        """End it."""
        ...


class Trace(Protocol):
    """The spans of a request, if telemetry is on."""

    def attempt(self, attempt: "Attempt") -> "Headers":
        """A provider request starts; returns the header fields that identify the span."""
        ...

    def attempt_failed(self, attempt: "Attempt") -> None:
        """No usable answer arrived."""
        ...

    def round_ended(self, total: dict[str, Any] | None) -> None:
        """One model answer is complete; `total` is the usage so far."""
        ...

    def tool_begins(self, call: str, tool: str) -> dict[str, str]:
        """A tool of ours starts; returns the members of `_meta` for an MCP server."""
        ...

    def tool_ended(self, call: str, arguments: Any, result: str, *, failed: bool) -> None:
        """It has ended, successfully or not."""
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
    """One place a request can be sent: a connection and the model's name there (None: the body's own, unchanged)."""

    connection: str
    model: str | None = None
    first_byte: float | None = None  # seconds until its answer begins, if the route sets it; else the connection's


HIGH: Final = 0
NORMAL: Final = 1
PRIORITIES: Final = {"high": HIGH, "normal": NORMAL, "low": 2}
"""Request priorities; the smallest number goes first."""


class Attempt:
    """One attempt at one target, for `x-proxy-attempts`, the log and live events.

    `error` is a code; `cause` says in words why the attempt failed.
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
        """Record that it failed."""
        self.error = error.code
        self.cause = error.cause

    def summary(self) -> dict[str, object]:
        """For the log and live events, without unknown members."""
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

    Times are `time.monotonic()` seconds except `created_at` (wall clock, for records only). Not a dataclass, because
    one is created per request and a dataclass's `__init__` is generated at run time and stays interpreted.
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
        """`model` is the requested name."""
        self.id = id
        self.caller = caller
        self.method = method
        self.endpoint = endpoint
        self.path = endpoint.path
        self.model = model
        self.stream = stream
        self.session_id = session_id  # the X-Session-ID header, echoed on the response
        self.connection = connection  # the chosen target, once decided
        self.user: str | None = None  # the end user named by the client: for usage
        self.agent: str | None = None  # which of a client's agents sent it, if it says so
        self.upstream_model: str | None = None
        self.state = "accepted"  # accepted, queued, waking, waiting, streaming, tools: shown in /admin/status
        self.attempts: list[Attempt] = []
        self.started = _monotonic()
        self.created_at = _wall_clock()
        self.first_byte: float | None = None
        self.ended: float | None = None
        self.status: int | None = None
        self.outcome: Outcome | None = None
        self.error_code: str | None = None
        self.cause: str | None = None  # why it failed, in words for the owner, unless an attempt has a cause
        self.notes: list[str] = []  # short remarks for its line in the log
        self.tries = 0  # attempts until the first answer; an agent's later rounds add attempts, not tries
        self.rounds = 1  # number of model calls, each with its own input
        self.usage: dict[str, Any] | None = None  # as the chat API reports it, if the answer's own dialect reports less
        self.permit: Permit | None = None  # its permission under its group's limits; returned by `release`
        self.allowance: object = None  # the limits that its tokens count towards, if any
        self.trace: Trace | None = None
        self.reserved: float | None = None  # money reserved for it under its group's budget
        self.budget_left: float | None = None  # the remaining budget, if it is low
        self.deadline: float | None = None  # when its answer must be complete
        self.priority = NORMAL  # its priority in the queue of a connection that serves few requests at a time
        self.queued = 0.0  # seconds that it has waited in the queue
        self.on_waking: Callable[[], None] | None = None  # called when it starts waiting for a sleeping machine
        self.cut: ProxyError | None = None  # why it is being ended early: an admin's cancel, the shutdown

    @property
    def costs(self) -> bool:
        """True if a provider charges for it. Reading what was generated before is free."""
        return self.endpoint.costs and (self.method == "POST" or self.endpoint.name == "realtime")

    def has_time_for(self, seconds: float) -> bool:
        """False if waiting that long would leave no time before the deadline."""
        return self.deadline is None or _monotonic() + seconds < self.deadline

    @property
    def tried(self) -> int:
        """Attempts until the first answer, for `x-proxy-attempts`."""
        return self.tries or len(self.attempts)

    def release(self) -> None:
        """Give the permit back. Idempotent."""
        permit, self.permit = self.permit, None
        if permit is not None:
            permit.release()


Body = bytes | AsyncIterable[bytes] | None


@dataclass(slots=True)
class UpstreamRequest:
    """What to send to a provider.

    `path` is below the API root ("/chat/completions"), `query` raw and without "?". `headers` are the client's without
    hop-by-hop fields, Host, cookies, forwarding fields and client credentials; the provider adds its own key and
    Content-Length. A `body` that is an iterable can be sent only once, so it is never retried; `length` is its size in
    bytes if known. `document` is the parsed `body`, if available: it saves a translating provider from parsing it
    again, and must not be changed.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: Body = None
    length: int | None = None
    client_authorization: bytes | None = None  # the caller's own bearer token, used only with forward_auth
    document: dict[str, Any] | None = None

    @property
    def large(self) -> bool:
        """True if the body is too large to be processed on the event loop."""
        return isinstance(self.body, bytes) and len(self.body) >= LARGE


class UpstreamResponse(Protocol):
    """A provider's answer: status and headers have arrived, the body streams.

    Its holder must call `close`; closing before the clean end drops the connection, so that the provider stops
    generating.
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
        """The next body bytes (transfer coding removed, content coding kept); b"" at a clean end.

        Raises UpstreamTruncated, UpstreamTimeout or UpstreamInvalid if the body does not end cleanly.
        """
        ...

    async def read(self, limit: int) -> bytes:
        """The rest of the body. Raises UpstreamInvalid (code `upstream_too_large`) past `limit` bytes."""
        ...

    def close(self) -> None:
        """Release the answer. Idempotent."""
        ...
