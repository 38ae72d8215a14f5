"""Hidden parts of turns, stored for the next request of the same caller. Bounded by count, bytes and age.

Lives as long as the process; `dump` and `load` preserve it over a restart. Entries are found by keys that contain the
caller's identity only as part of a hash, so a dump does not reveal the callers.
"""

import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from openai_proxy.bounded_map import BoundedMap
from openai_proxy.dialects import json_text
from openai_proxy.store.shared import Shared, SharedTable
from openai_proxy.tasks import is_beside

log = logging.getLogger(__name__)

MAX_ENTRIES: Final = 2000
MAX_BYTES: Final = 32 * 1024 * 1024
TTL: Final = 3600.0  # seconds, the default of session_ttl


@dataclass(frozen=True, slots=True)
class HiddenRounds:
    """What a client did not see of one of its turns.

    `before`: finished rounds before it (assistant and tool messages). `turn`: the full assistant message. `results`:
    tool messages for our calls in it. `calls`: the client's calls in it, id -> (name, canonical arguments). `question`
    and `conversation`: fingerprints of what the client had sent.
    """

    before: list[dict[str, Any]]
    turn: dict[str, Any]
    results: list[dict[str, Any]]
    calls: dict[str, tuple[str, str]]
    question: str
    conversation: str


@dataclass(frozen=True, slots=True)
class PendingEntry:
    """A stored hidden turn: what identifies it, and the rest as JSON."""

    data: bytes  # JSON: its size is exact, and nobody can change it
    calls: dict[str, tuple[str, str]]
    question: str
    conversation: str
    keys: tuple[str, ...]
    born: float
    id: str = field(default_factory=lambda: uuid.uuid4().hex)  # among all daemons

    @classmethod
    def of(cls, hidden: Mapping[str, Any], keys: Iterable[str], born: float, *name: str) -> "PendingEntry":
        """An entry from the members of HiddenRounds. Raises KeyError, TypeError or AttributeError for anything else."""
        calls = {call_id: tuple(call) for call_id, call in hidden["calls"].items()}
        data = json_text.dumps({member: hidden[member] for member in _MEMBERS})
        question, conversation = hidden["question"], hidden["conversation"]
        return cls(data, calls, question, conversation, tuple(dict.fromkeys(keys)), born, *name)

    def hidden(self) -> HiddenRounds:
        """The turn."""
        return HiddenRounds(**{**json_text.loads(self.data), "calls": dict(self.calls)})


_MEMBERS: Final = ("before", "turn", "results", "calls", "question", "conversation")


class TurnStore:
    """Hidden turns by key. Several entries under one key are all kept; `find` returns the newest first."""

    VERSION: Final = 1
    """The version of the state that `dump` returns."""

    def __init__(
        self,
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._kept: BoundedMap[PendingEntry] = BoundedMap(
            max_entries=max_entries, max_bytes=max_bytes, ttl=ttl, clock=clock, removed=self._forget_keys
        )
        self._keys: dict[str, list[PendingEntry]] = {}
        self._shared: SharedTable | None = None

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def size(self) -> int:
        """Bytes kept."""
        return self._kept.size

    def keep(self, keys: Iterable[str], hidden: HiddenRounds) -> None:
        """Store `hidden` under `keys`; the oldest entries make room. One that alone is too large is not stored."""
        entry = PendingEntry.of({name: getattr(hidden, name) for name in _MEMBERS}, keys, self._clock())
        self._insert(entry)
        if self._shared is not None and self._kept.peek(entry.id) is not None:
            self._shared.changed(entry.id)

    def entries(self, key: str) -> list[PendingEntry]:
        """What is stored under `key`, newest first, unparsed: thousands of conversations may share a call's id.

        In a thread, which a large request has, nothing is changed: the store belongs to the event loop.
        """
        if not is_beside():
            self._kept.expire()
        oldest = self._clock() - self._kept.ttl
        return [entry for entry in self._keys.get(key, [])[::-1] if entry.born >= oldest]

    def find(self, key: str) -> list[HiddenRounds]:
        """The same, parsed."""
        return [entry.hidden() for entry in self.entries(key)]

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def share(self, shared: Shared) -> None:
        """Share the kept turns with the other daemons: a turn may begin on one and end on another."""
        self._shared = shared.table("turns", read=self._read, take=self._take, names=self._names)

    def _read(self, name: str) -> tuple[Any, float] | None:
        entry = self._kept.peek(name)
        if entry is None:
            return None
        age = self._clock() - entry.born
        value = {"keys": entry.keys, "born": time.time() - age, "hidden": orjson.Fragment(entry.data)}
        return value, self._kept.ttl - age

    def _take(self, name: str, value: Any) -> None:
        if value is not None and self._kept.peek(name) is None:
            born = self._clock() - max(time.time() - float(value["born"]), 0.0)
            self._insert(PendingEntry.of(value["hidden"], map(str, value["keys"]), born, name))

    def _names(self) -> list[tuple[str, float]]:
        now, wall = self._clock(), time.time()
        return [(entry.id, wall - now + entry.born) for _, entry, _ in self._kept.entries()]

    # -- over a restart ---------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any]:
        """The whole state as plain JSON values, to be written to a file of mode 0600: it holds conversations."""
        now = self._clock()
        entries = [
            {"id": e.id, "age": now - e.born, "keys": list(e.keys), "hidden": json_text.loads(e.data)}
            for _, e, _ in self._kept.entries()
        ]
        return {"saved_at": time.time(), "entries": entries}

    def load(self, state: Mapping[str, Any]) -> int:
        """Load what `dump` returned, aged by the elapsed time; returns how many. An unreadable state is ignored."""
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
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("the saved tool turns cannot be read; conversations continue without them")
            return 0
        for entry in entries:
            self._insert(entry)
        self._kept.expire()
        return len(self._kept)

    def _insert(self, entry: PendingEntry) -> None:
        for k in entry.keys:
            self._keys.setdefault(k, []).append(entry)
        if not entry.keys or not self._kept.put(entry.id, entry, len(entry.data), age=self._clock() - entry.born):
            self._forget_keys(entry.id, entry)

    def _forget_keys(self, _: str, entry: PendingEntry) -> None:
        for k in entry.keys:
            entries = self._keys[k]
            entries.remove(entry)
            if not entries:
                del self._keys[k]
