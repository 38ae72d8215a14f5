"""A map that drops entries unused for a while, and the least recently used ones if it grows too large."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

Value = TypeVar("Value")

MAX_ENTRIES: Final = 10_000
MAX_BYTES: Final = 64 * 1024 * 1024
TTL: Final = 3600.0  # seconds, the default of session_ttl


@dataclass(slots=True)
class _Entry:
    value: Any
    size: int
    used: float


class BoundedMap(Generic[Value]):
    """Values by key. Each has a size in bytes, given with `put`; `removed` is called with every dropped key.

    Thread-safe: large requests and answers are translated in threads.
    """

    def __init__(
        self,
        *,
        max_entries: int = MAX_ENTRIES,
        max_bytes: int = MAX_BYTES,
        ttl: float = TTL,
        clock: Callable[[], float] = time.monotonic,
        removed: Callable[[Any, Any], None] | None = None,
    ) -> None:
        self.ttl = ttl
        self._max_entries = max_entries
        self.max_bytes = max_bytes
        self._clock = clock
        self._removed = removed
        self._lock = threading.RLock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()  # the least recently used one first
        self.size = 0  # bytes kept

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, key: Hashable, value: Value, size: int, *, age: float = 0.0) -> bool:
        """Store `value` under `key`, replacing an older one; False if it alone is too large.

        `age`: seconds since it was last used. Calls with ages must be in order, oldest first.
        """
        with self._lock:
            self.pop(key)
            if size > self.max_bytes:
                return False
            self._entries[key] = _Entry(value, size, self._clock() - age)
            self.size += size
            while len(self._entries) > self._max_entries or self.size > self.max_bytes:
                self.pop(next(iter(self._entries)))
            self.expire()
            return True

    def entries(self) -> Iterator[tuple[Any, Value, float]]:
        """(key, value, seconds since it was last used) of all entries, oldest first."""
        with self._lock:
            self.expire()
            now = self._clock()
            found = [(key, entry.value, now - entry.used) for key, entry in self._entries.items()]
        yield from found

    def get(self, key: Hashable) -> Value | None:
        """The value of `key`, marked as just used."""
        with self._lock:
            self.expire()
            entry = self._entries.get(key)
            if entry is None:
                return None
            entry.used = self._clock()
            self._entries.move_to_end(key)
            value: Value = entry.value
            return value

    def peek(self, key: Hashable) -> Value | None:
        """The value of `key`, not marked as used."""
        with self._lock:
            self.expire()
            entry = self._entries.get(key)
            return entry.value if entry is not None else None

    def pop(self, key: Hashable) -> Value | None:
        """Remove `key`; returns its value."""
        with self._lock:
            entry = self._entries.pop(key, None)
            if entry is None:
                return None
            self.size -= entry.size
            if self._removed is not None:
                self._removed(key, entry.value)
            value: Value = entry.value
            return value

    def expire(self) -> None:
        """Drop what has not been used for `ttl` seconds."""
        with self._lock:
            limit = self._clock() - self.ttl
            while self._entries:
                key, entry = next(iter(self._entries.items()))
                if entry.used >= limit:
                    return
                self.pop(key)
