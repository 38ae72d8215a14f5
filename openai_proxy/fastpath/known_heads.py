"""Request heads that have been read before.

A client sends the same head with every request; only Content-Length changes. Everything that follows from the head
alone (that llhttp accepts it, who the caller is, which fields are sent upstream) is cached under the head's bytes
without that number, together with the peer's address: the same bytes get the same result. A cache belongs to one
generation, so any edit, such as a revoked key, empties it.
"""

import re
from typing import TYPE_CHECKING, Any, Final

from openai_proxy.auth.access import Access
from openai_proxy.auth.credentials import AGENT_FIELD, named_user, sent_key
from openai_proxy.auth.gate import Gate
from openai_proxy.auth.peers import host_name
from openai_proxy.bounds import check_session
from openai_proxy.dialects.foreign_thoughts import DIALECTS
from openai_proxy.endpoints import Endpoint
from openai_proxy.exchange import Caller
from openai_proxy.fastpath.send_plan import SendPlan
from openai_proxy.server.headers import lines, upstream_fields

if TYPE_CHECKING:
    from mypy_extensions import i64  # a machine integer to mypyc, otherwise a plain int

MAX_HEADS: Final = 1024
"""Maximum cached heads: a home has a few dozen clients. Cleared when full, so that strangers cannot fill memory."""

MAX_HEAD: Final = 4096
_LENGTH: Final = re.compile(rb"\r\nContent-Length: ([1-9][0-9]{0,6})\r\n", re.IGNORECASE)

Key = tuple[str, bytes, bytes]


class KnownHead:
    """What the fast path needs of a request head. Immutable by convention."""

    __slots__ = (
        "agent", "caller", "endpoint", "extra", "fields", "holds_thoughts", "keep_alive", "own", "plans",
        "restricted", "session", "user",
    )  # fmt: skip

    def __init__(self, gate: Gate, access: Access, peer: str, endpoint: Endpoint, message: Any) -> None:
        """From a message parsed by aiohttp. Raises the gate's ProxyErrors; ValueError for a malformed Host."""
        headers = message.headers
        host = headers.get("Host")
        if host is None or host_name(host) is None:
            raise ValueError("Host")
        self.caller: Caller = gate.admit(peer, headers)
        self.restricted = access.restricts_models(self.caller)
        self.own = sent_key(headers)  # must be removed from prompts, too
        self.endpoint = endpoint
        self.holds_thoughts = endpoint.dialect in DIALECTS
        self.plans: dict[str, SendPlan] = {}  # by requested model (fastpath.eligible)
        self.fields = upstream_fields(message.raw_headers)
        self.keep_alive = not message.should_close
        self.session: str | None = headers.get("X-Session-ID")
        check_session(self.session)
        self.agent: str | None = headers.get(AGENT_FIELD)
        self.user = named_user(headers)
        self.extra = b""
        if self.session is not None:
            self.extra = lines((("X-Session-ID", self.session),))
        else:
            self.session = headers.get("X-Claude-Code-Session-Id")
            check_session(self.session)


class CachedHead:
    """A known head's wire bytes, around the number that changes."""

    __slots__ = ("head", "prefix", "suffix")

    def __init__(self, prefix: bytes, suffix: bytes, head: KnownHead) -> None:
        self.prefix = prefix  # up to the digits of Content-Length
        self.suffix = suffix  # from after them to the end of the empty line
        self.head = head

    def body_of(self, data: bytes) -> tuple[int, int] | None:
        """If `data` begins with this head: where its body begins and how many bytes it has."""
        # Spelt out, because this is compiled: slices instead of `startswith`, as each method of bytes costs 75 ns.
        prefix, suffix = self.prefix, self.suffix
        start: i64 = len(prefix)
        if data[:start] != prefix:
            return None
        stop: i64 = start
        most: i64 = len(data)
        if most > start + 7:
            most = start + 7
        length: i64 = 0
        digit: i64
        while stop < most and 0x30 <= (digit := data[stop]) <= 0x39:
            length = length * 10 + digit - 0x30
            stop += 1
        end = stop + len(suffix)
        if stop == start or data[start] == 0x30 or data[stop:end] != suffix:
            return None
        return end, length


class HeadCache:
    """The heads of one generation."""

    def __init__(self) -> None:
        self._known: dict[Key, CachedHead] = {}

    def find(self, peer: str, data: bytes) -> CachedHead | None:
        """The head that `data` begins with, if it is known and complete."""
        end = data.find(b"\r\n\r\n", 0, MAX_HEAD + 4)
        match = _LENGTH.search(data, 0, end + 2) if end >= 0 else None
        if match is None:
            return None
        start, stop = match.span(1)
        return self._known.get((peer, data[:start], data[stop : end + 4]))

    def learn(self, peer: str, data: bytes, end: int, head: KnownHead) -> None:
        """Remember `head`, which aiohttp has read from the first `end` bytes of `data`."""
        match = _LENGTH.search(data, 0, end + 2) if end <= MAX_HEAD else None
        if match is None:
            return
        if len(self._known) >= MAX_HEADS:
            self._known.clear()
        start, stop = match.span(1)
        cached = CachedHead(data[:start], data[stop : end + 4], head)
        self._known[peer, cached.prefix, cached.suffix] = cached


class HeadCaches:
    """The cache of the present generation: a new generation gets an empty one."""

    def __init__(self) -> None:
        self._generation: object = None
        self._cache = HeadCache()

    def of(self, generation: object) -> HeadCache:
        """The cache of `generation`."""
        if generation is not self._generation:
            self._generation, self._cache = generation, HeadCache()
        return self._cache
