"""Hidden parts of turns, kept for the next request of the same caller. Bounded by count, bytes and age.

Lives as long as the process; `dump` and `load` carry it over a restart. Entries are found by keys that hold the
caller's identity only as part of a hash, so a dump tells nobody who asked.
"""

import logging
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from openai_proxy.store.shared import Shared, SharedTable

log = logging.getLogger(__name__)

MAX_ENTRIES: Final = 2000
MAX_BYTES: Final = 32 * 1024 * 1024
TTL: Final = 3600.0  # seconds, the default of session_ttl


@dataclass(frozen=True, slots=True)
class Hidden:
    """What a client did not see of one of its turns.

    `before`: finished rounds ahead of it (assistant and tool messages). `turn`: the true assistant message.
    `results`: tool messages for our calls in it. `calls`: the client's calls in it, id -> (name, canonical
    arguments). `question` and `conversation`: fingerprints of what the client had sent.
    """

    before: list[dict[str, Any]]
    turn: dict[str, Any]
    results: list[dict[str, Any]]
    calls: dict[str, tuple[str, str]]
    question: str
    conversation: str


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """A hidden turn as it is kept: what it is recognised by, and the rest as JSON."""

    data: bytes  # JSON: exact to count, and nobody can change it
    calls: dict[str, tuple[str, str]]
    question: str
    conversation: str
    keys: tuple[str, ...]
    born: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)  # among all daemons

    @classmethod
    def of(cls, hidden: Mapping[str, Any], keys: Iterable[str], born: float, *name: str) -> "PendingEntry":
        """An entry for the members of a Hidden. Raises as reading what is none does."""
        calls = {call_id: tuple(call) for call_id, call in hidden["calls"].items()}
        data = orjson.dumps({member: hidden[member] for member in _MEMBERS})
        question, conversation = hidden["question"], hidden["conversation"]
        return cls(data, calls, question, conversation, tuple(dict.fromkeys(keys)), born, *name)

    def hidden(self) -> Hidden:
        """The turn."""
        return Hidden(**{**orjson.loads(self.data), "calls": dict(self.calls)})


_MEMBERS: Final = ("before", "turn", "results", "calls", "question", "conversation")


class TurnStore:
    """Hidden turns by key. Of several entries under one key all are kept; `find` gives the newest first."""

    VERSION: Final = 1
    """Of the state that `dump` gives."""

    def __init__(
        self,
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._ttl = ttl
        self._clock = clock
        self._entries: OrderedDict[int, PendingEntry] = OrderedDict()  # oldest first
        self._keys: dict[str, list[int]] = {}
        self._next = 0
        self._bytes = 0
        self._ids: dict[str, PendingEntry] = {}
        self._shared: SharedTable | None = None

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._bytes

    def keep(self, keys: Iterable[str], hidden: Hidden) -> None:
        """Keep `hidden` under `keys`; the oldest entries make room. One that alone is too large is not kept."""
        entry = PendingEntry.of({name: getattr(hidden, name) for name in _MEMBERS}, keys, self._clock())
        self._insert(entry)
        if self._shared is not None and entry.id in self._ids:
            self._shared.changed(entry.id)

    def entries(self, key: str) -> list[PendingEntry]:
        """What is kept under `key`, newest first, and not read: thousands of conversations may have a call's id."""
        self._expire()
        return [self._entries[number] for number in reversed(self._keys.get(key, ()))]

    def find(self, key: str) -> list[Hidden]:
        """The same, read."""
        return [entry.hidden() for entry in self.entries(key)]

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def share(self, shared: Shared) -> None:
        """Let other daemons know what is kept, and know of theirs: a turn may end on another one than it began."""
        self._shared = shared.table("turns", read=self._read, take=self._take, names=self._names)

    def _read(self, name: str) -> tuple[Any, float] | None:
        entry = self._ids.get(name)
        if entry is None:
            return None
        age = self._clock() - entry.born
        value = {"keys": entry.keys, "born": time.time() - age, "hidden": orjson.Fragment(entry.data)}
        return value, self._ttl - age

    def _take(self, name: str, value: Any) -> None:
        if value is not None and name not in self._ids:
            born = self._clock() - max(time.time() - float(value["born"]), 0.0)
            self._insert(PendingEntry.of(value["hidden"], map(str, value["keys"]), born, name))

    def _names(self) -> list[tuple[str, float]]:
        now, wall = self._clock(), time.time()
        return [(name, wall - now + entry.born) for name, entry in self._ids.items()]

    # -- over a restart ---------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """The whole state as plain JSON values, to be written to a file of mode 0600: it holds conversations."""
        self._expire()
        now = self._clock()
        entries = [
            {"id": e.id, "age": now - e.born, "keys": list(e.keys), "hidden": orjson.loads(e.data)}
            for e in self._entries.values()
        ]
        return {"saved_at": time.time(), "entries": entries}

    def load(self, state: Mapping[str, Any]) -> int:
        """Take over what `dump` gave, aged by the time since; how many entries. An unreadable state is none."""
        try:
            passed = max(0.0, time.time() - float(state["saved_at"]))
            entries = [
                PendingEntry.of(
                    e["hidden"],
                    map(str, e["keys"]),
                    self._clock() - float(e["age"]) - passed,
                    str(e.get("id") or uuid.uuid4().hex),
                )
                for e in state["entries"]
                if e["hidden"].keys() == set(_MEMBERS)
            ]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            log.warning("the saved tool turns cannot be read (%s); conversations go on without them", error)
            return 0
        for entry in entries:
            self._insert(entry)
        self._expire()
        return len(self._entries)

    def _insert(self, entry: PendingEntry) -> None:
        if len(entry.data) > self._max_bytes or not entry.keys:
            return
        number = self._next
        self._next += 1
        self._entries[number] = entry
        self._ids[entry.id] = entry
        self._bytes += len(entry.data)
        for k in entry.keys:
            self._keys.setdefault(k, []).append(number)
        while len(self._entries) > self._max_entries or self._bytes > self._max_bytes:
            self._drop_oldest()
        self._expire()

    def _expire(self) -> None:
        limit = self._clock() - self._ttl
        while self._entries and next(iter(self._entries.values())).born < limit:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        number, entry = self._entries.popitem(last=False)
        self._bytes -= len(entry.data)
        del self._ids[entry.id]
        for k in entry.keys:
            numbers = self._keys[k]
            numbers.remove(number)
            if not numbers:
                del self._keys[k]
