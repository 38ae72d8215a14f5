"""Sessions: settings made by command, for whom, and until when.

A session is identified by the rule of `dialects.chat.conversation_id`. All keys are bound to the caller, so nobody can
name another caller's session. Only sessions with settings are kept.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from openai_proxy import statefile
from openai_proxy.dialects import json_text
from openai_proxy.dialects.chat.conversation_id import chosen_id, comparable, mark, short
from openai_proxy.store.shared import Shared, SharedTable

VERSION = 1
LIMIT = 10_000
"""Maximum number of sessions; the one idle for longest is dropped first. About 1 KB each."""

MAX_DRAFTS = 100
TOUCH = 60.0  # seconds after which other daemons learn that a session is still used


@dataclass(slots=True)
class SessionRoute:
    """A failover route of a session: targets as `connection.model`, tried by `policy`."""

    policy: str = "ordered"
    targets: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Session:
    """A session's settings. None: as configured."""

    caller: str = ""
    model: str | None = None
    backend: str | None = None
    interactive: bool | None = None
    redact: bool | None = None
    routes: dict[str, SessionRoute] = field(default_factory=dict)
    greeted: bool = False
    used: float = 0.0

    @property
    def worth_keeping(self) -> bool:
        """True if it differs from the default."""
        return (
            bool(self.routes)
            or self.greeted
            or not (self.model is None and self.backend is None and self.interactive is None and self.redact is None)
        )

    def copy(self) -> "Session":
        """A copy with the same settings."""
        return Session.of(asdict(self))

    @staticmethod
    def of(saved: Mapping[str, Any]) -> "Session":
        """The session from its `asdict`. Raises TypeError for anything else."""
        routes = {name: SessionRoute(**route) for name, route in dict(saved.get("routes") or {}).items()}
        return Session(**{**saved, "routes": routes})


class Identity(NamedTuple):
    """Which session a request belongs to.

    `key` is None for a conversation that begins with this request and has no name; `opening` then determines its key,
    together with the first answer (`Sessions.begun`). `named`: the client gave it a name.
    """

    key: bytes | None
    opening: tuple[str, str] | None = None
    named: bool = False


def named(caller: str, header: str | None, document: dict[str, Any]) -> bytes | None:
    """The key of the session a client names, if it names one."""
    name = chosen_id(header, document)
    return mark(caller, "named", name) if name is not None else None


def implied(caller: str, first: str, answer: str | None) -> Identity:
    """The session of a conversation without a name: its first user message and its first answer, if there is one."""
    opening = short(comparable(first))  # kept until the answer is known, when it is hashed on the event loop
    if answer is None:
        return Identity(None, (caller, opening))
    return Identity(mark(caller, "implied", opening, comparable(answer)))


class Sessions:
    """All sessions, least recently used first. Belongs to the event loop."""

    def __init__(self, saved: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        self._saved = saved
        self._clock = clock
        self._known: OrderedDict[bytes, Session] = OrderedDict()
        self.callers: Counter[str] = Counter()  # callers with sessions, checked by the fast path
        self.drafts: OrderedDict[str, str] = OrderedDict()  # global routes without a target yet: name -> policy
        self._dirty = False
        self._ttl: Callable[[], float] = lambda: 3600.0
        self._shared: SharedTable | None = None
        self._shared_drafts: SharedTable | None = None
        self._load()

    def __len__(self) -> int:
        return len(self._known)

    def concern(self, caller: str) -> bool:
        """True if `caller` has any session."""
        return caller in self.callers

    def get(self, key: bytes, ttl: float) -> Session | None:
        """The session under `key`, marked as used; None if there is none or it was idle for `ttl` seconds."""
        session = self._known.get(key)
        if session is None:
            return None
        now = self._clock()
        if now - session.used > ttl:
            self._drop(key)
            return None
        if now // TOUCH != session.used // TOUCH:
            self._publish(key)
        session.used = now
        self._known.move_to_end(key)
        return session

    def put(self, key: bytes, session: Session) -> None:
        """Keep `session` under `key` from now on; one without settings is dropped."""
        present = self._known.get(key)
        if present == session:
            return
        if present is not None:
            self._drop(key)
        self._dirty = True
        if present is not None or session.worth_keeping:
            self._publish(key)
        if session.worth_keeping:
            session.used = self._clock()
            self._insert(key, session)

    def _insert(self, key: bytes, session: Session) -> None:
        self._known[key] = session
        self.callers[session.caller] += 1
        if len(self._known) > LIMIT:
            self._drop(next(iter(self._known)))

    def begun(self, opening: tuple[str, str], answer: str, session: Session) -> None:
        """Assign a session to a conversation without a name, after its first answer."""
        caller, first = opening
        key = implied(caller, first, answer).key
        assert key is not None
        self.put(key, session)

    def draft(self, name: str, policy: str) -> None:
        """Keep a global route without targets, which cannot be written to the configuration yet."""
        self._draft(name, policy)
        if self._shared_drafts is not None:
            self._shared_drafts.changed(name)

    def undraft(self, name: str) -> None:
        """Drop a global route that now has a target, or was deleted."""
        self.drafts.pop(name, None)
        if self._shared_drafts is not None:
            self._shared_drafts.changed(name)

    def _draft(self, name: str, policy: str | None) -> None:
        if policy is None:
            self.drafts.pop(name, None)
            return
        self.drafts[name] = policy
        if len(self.drafts) > MAX_DRAFTS:
            self.drafts.popitem(last=False)

    def sweep(self, ttl: float) -> None:
        """Forget sessions that were idle too long."""
        limit = self._clock() - ttl
        for key in [key for key, session in self._known.items() if session.used < limit]:
            self._drop(key)

    def _drop(self, key: bytes) -> None:
        session = self._known.pop(key)
        self._dirty = True
        self.callers[session.caller] -= 1
        if self.callers[session.caller] <= 0:
            del self.callers[session.caller]

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def share(self, shared: Shared, ttl: Callable[[], float]) -> None:
        """Share the sessions with the other daemons; `ttl` is how many seconds a silent session is remembered."""
        self._ttl = ttl
        self._shared = shared.table("sessions", read=self._read, take=self._take, names=self._names)
        self._shared_drafts = shared.table(
            "drafts",
            read=lambda name: (self.drafts[name], ttl()) if name in self.drafts else None,
            take=self._draft,
            names=lambda: [(name, self._clock()) for name in self.drafts],
        )

    def _publish(self, key: bytes) -> None:
        if self._shared is not None:
            self._shared.changed(key.hex())

    def _read(self, name: str) -> tuple[Any, float] | None:
        session = self._known.get(bytes.fromhex(name))
        return (asdict(session), self._ttl()) if session is not None else None

    def _take(self, name: str, value: Any) -> None:
        key = bytes.fromhex(name)
        if key in self._known:
            self._drop(key)
        if value is not None:
            self._insert(key, Session.of(value))
        self._dirty = True

    def _names(self) -> list[tuple[str, float]]:
        return [(key.hex(), session.used) for key, session in self._known.items()]

    # -- over restarts ----------------------------------------------------------------------------------------------

    def dump(self, *, all_of_it: bool = False) -> bytes | None:
        """The data for `write`; None if nothing was set since the last time (`all_of_it`: or used)."""
        if self._saved is None or not (self._dirty or (all_of_it and self._known)):
            return None
        self._dirty = False
        sessions = {key.hex(): asdict(session) for key, session in self._known.items()}
        return json_text.dumps({"version": VERSION, "sessions": sessions})

    def write(self, data: bytes) -> None:
        """Save `data` for the next start. Blocks. Raises OSError."""
        assert self._saved is not None
        statefile.write(self._saved, data)

    def _load(self) -> None:
        if self._saved is None:
            return
        try:
            saved = statefile.load(self._saved, VERSION, lambda document: {"sessions": document})
            sessions: Sequence[tuple[bytes, Session]] = [
                (bytes.fromhex(key), Session.of(value)) for key, value in saved.get("sessions", {}).items()
            ]
        except (ValueError, TypeError, AttributeError):
            return
        for key, session in sorted(sessions, key=lambda pair: pair[1].used)[-LIMIT:]:
            self._known[key] = session
            self.callers[session.caller] += 1
