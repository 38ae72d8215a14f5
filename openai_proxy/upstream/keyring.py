"""Which of a connection's keys is used next, and which must rest. Lives as long as the process.

answer                                the key rests for
429                                   what the provider says, else 10 s doubling to 5 min
402, insufficient_quota, billing      what the provider says, at least 10 min
401                                   10 min, or until its connection is edited
403                                   1 min: it may be this request, not the key

Keys take turns. Resting ones are skipped; if all are resting, the one that is available soonest is used, because the
provider's answer is more informative than one of ours.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import orjson

from openai_proxy.secrets import key_id
from openai_proxy.store.shared import Shared, SharedTable

log = logging.getLogger(__name__)

FIRST_REST: Final = 10.0
LONGEST_REST: Final = 300.0
NO_MONEY: Final = 600.0
REFUSED: Final = 600.0
FORBIDDEN: Final = 60.0
LONGEST_ASKED: Final = 86_400.0  # maximum seconds of Retry-After that are believed


@dataclass(slots=True)
class _Rest:
    until: float
    strikes: int


class KeyRing:
    """Turns and rests of every connection's keys. Memory is bounded by the configured keys."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.names: Mapping[str, str] = {}
        """The owner's name for a key (its variable, its place in the file), by `key_id`."""
        self._turn: dict[str, int] = {}
        self._rests: dict[tuple[str, str], _Rest] = {}  # by connection and `key_id`
        self._shared: SharedTable | None = None

    def pick(self, connection: str, keys: Sequence[str]) -> str | None:
        """The key for the next request on `connection`; None if it has none."""
        count = len(keys)
        if count < 2:
            return keys[0] if count else None
        turn = self._turn.get(connection, 0)
        self._turn[connection] = turn + 1
        if not self._rests:
            return keys[turn % count]
        now = self._clock()
        ordered = [keys[(turn + n) % count] for n in range(count)]
        return min(ordered, key=lambda key: self._left(connection, key, now))

    def cooldown_left(self, connection: str, keys: Sequence[str]) -> float:
        """Seconds until one of `keys` may be used; 0 if one may now."""
        if not self._rests or not keys:
            return 0.0
        now = self._clock()
        return min(self._left(connection, key, now) for key in keys)

    def _left(self, connection: str, key: str, now: float) -> float:
        rest = self._rests.get((connection, _id(key)))
        return max(rest.until - now, 0.0) if rest is not None else 0.0

    def answered(self, connection: str, key: str) -> None:
        """The key works."""
        if self._rests and self._rests.pop((connection, key_id(key)), None) is not None:
            self._publish(connection, key_id(key))
            log.info("%s: %s works again", connection, self._name(key))

    def _name(self, key: str) -> str:
        return self._named(key_id(key))

    def _named(self, identity: str) -> str:
        return self.names.get(identity) or "its key"

    def refused(
        self, connection: str, key: str, status: int, asked: float | None, *, money: bool, why: str | None = None
    ) -> None:
        """The provider answered 401, 402, 403 or 429. `asked` is its Retry-After in seconds; `money`: its credit is
        used up.

        `why` is the provider's text, for the log.
        """
        known = self._rests.get((connection, key_id(key)))
        strikes = known.strikes + 1 if known is not None else 1
        asked = min(asked, LONGEST_ASKED) if asked is not None else None
        if money or status == 402:
            seconds = max(asked or 0.0, NO_MONEY)
        elif status == 401:
            seconds = REFUSED
        elif status == 403:
            seconds = FORBIDDEN
        else:
            seconds = asked if asked is not None else min(FIRST_REST * 2 ** min(strikes - 1, 10), LONGEST_REST)
        self._rests[connection, key_id(key)] = _Rest(self._clock() + seconds, strikes)
        self._publish(connection, key_id(key))
        level = logging.WARNING if known is None or status == 401 else logging.INFO
        log.log(
            level, "%s: %s was answered with %d and is not used for %s%s",
            connection, self._name(key), status, _span(seconds), f": {why}" if why else "",
        )  # fmt: skip

    def forget(self, connection: str) -> None:
        """The connection was edited: forget its keys' state."""
        for known in [pair for pair in self._rests if pair[0] == connection]:
            del self._rests[known]
            self._publish(*known)

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def share(self, shared: Shared) -> None:
        """Share which keys are resting, by their ids, with the other daemons."""
        self._shared = shared.table("resting_keys", read=self._read, take=self._take, names=self._shared_names)

    def _publish(self, connection: str, identity: str) -> None:
        if self._shared is not None:
            self._shared.changed(orjson.dumps([connection, identity]).decode())

    def _read(self, name: str) -> tuple[Any, float] | None:
        connection, identity = orjson.loads(name)
        rest = self._rests.get((connection, identity))
        left = rest.until - self._clock() if rest is not None else 0.0
        if rest is None or left <= 0:
            return None
        return {"until": time.time() + left, "strikes": rest.strikes}, left

    def _take(self, name: str, value: Any) -> None:
        connection, identity = orjson.loads(name)
        before = self._rests.pop((connection, identity), None)
        left = float(value["until"]) - time.time() if value is not None else 0.0
        if left > 0:
            self._rests[connection, identity] = _Rest(self._clock() + min(left, LONGEST_ASKED), int(value["strikes"]))
            if before is None:
                log.info(
                    "%s: %s was refused elsewhere and is not used for %s",
                    connection,
                    self._named(identity),
                    _span(left),
                )

    def _shared_names(self) -> list[tuple[str, float]]:
        return [(orjson.dumps([*pair]).decode(), time.time()) for pair in self._rests]

    @property
    def all_healthy(self) -> bool:
        """True while no key is resting."""
        return not self._rests

    def resting(self, connection: str) -> int:
        """How many keys of `connection` are resting now, for the status."""
        now = self._clock()
        return sum(1 for pair, rest in self._rests.items() if pair[0] == connection and rest.until > now)


@lru_cache(maxsize=256)
def _id(key: str) -> str:
    return key_id(key)


def _span(seconds: float) -> str:
    """A duration for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
