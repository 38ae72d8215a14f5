"""Usage: tokens and cost by day, group, key, model, connection, user, session and agent.

The recorder's thread adds to dictionaries and writes them every SETTLE seconds in one transaction; a kill loses less
than a second. Days are UTC, like every other time that is recorded. Exchanges that need a bundled price are written
without it, and priced a little later, at the latest when somebody asks for their cost.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from openai_proxy.errors import BadRequest, writable
from openai_proxy.exchange import Exchange
from openai_proxy.records.counting.bundled_prices import BundledPrices, PriceQuestion
from openai_proxy.records.counting.metrics import MAX_SERIES
from openai_proxy.records.counting.prices import Pending, Prices
from openai_proxy.records.counting.usage_database import KEYS, SUMS, UsageDatabase, database_errors
from openai_proxy.records.reading.tokens import OtherTokens, Tokens
from openai_proxy.secrets import vault

log = logging.getLogger(__name__)

SETTLE: Final = 0.6  # seconds; with the time until an exchange is counted, a kill loses less than a second
LOOK_UP: Final = 3.0  # seconds until prices are looked up, unless someone asks before: one look-up covers many models
RETRY_AFTER: Final = 30.0  # seconds until a failed database is retried
MAX_PENDING: Final = 50_000  # rows kept in memory while it fails
MAX_NAMES: Final = 2000  # users, sessions and agents per day; their names come from clients

GROUPINGS: Final = {
    "month": "day", "day": "day", "group": "grp", "key": "key_id", "model": "model", "connection": "connection",
    "user": "user", "session": "session", "agent": "agent",
}  # fmt: skip
"""What a report can be grouped by -> its column."""

_COST, _UNPRICED = SUMS.index("cost"), SUMS.index("unpriced")

Key = tuple[str, ...]


class Unpriced(NamedTuple):
    """Exchanges that wait for a price."""

    key: Key
    question: PriceQuestion
    tokens: Tokens  # of all of them
    requests: int
    rounds: int  # how many requests the provider got


class Usage:
    """All usage. `add` and `settle` belong to the recorder's thread, `report` to any other."""

    def __init__(
        self, path: Path, *, clock: Callable[[], float] = time.monotonic, bundled: BundledPrices | None = None
    ) -> None:
        self.prices = Prices()
        self.bundled = bundled or BundledPrices()
        self.lost = 0  # rows that were lost
        self.costs: dict[tuple[str, str], float] = {}  # since the start, by model and connection
        self.unpriced: dict[tuple[str, str], int] = {}  # requests whose cost is not known
        self._database = UsageDatabase(path)
        self._clock = clock
        self._sums: dict[Key, list[float]] = {}
        self._waiting: list[Unpriced] = []
        self._priced = 0  # up to which id
        self._since: float | None = None
        self._look_up_at: float | None = None
        self._day = (-1, "")  # the day last written: its number since 1970, its name
        self._names: set[tuple[str, str, str]] = set()  # users, sessions and agents of that day
        self._retry_at = 0.0
        self._lock = threading.Lock()  # between writing and reporting, so that every row is seen exactly once

    def add(self, exchange: Exchange, tokens: Tokens, number: int = 1) -> None:
        """Count `number` answered exchanges like `exchange`, with `tokens` in total, if an upstream was reached."""
        if exchange.connection is None:
            return
        day = int(exchange.created_at // 86400)
        if day != self._day[0]:
            self._day = day, datetime.fromtimestamp(exchange.created_at, UTC).date().isoformat()
            self._names.clear()
        caller = exchange.caller
        secrets = vault.version
        model = _clean(exchange.model or exchange.upstream_model or "", secrets)
        user, session, agent = exchange.user or "", exchange.session_id or "", exchange.agent or ""
        names = (_clean(user, secrets), _clean(session, secrets), _clean(agent, secrets))
        if names not in self._names:
            if len(self._names) < MAX_NAMES:
                self._names.add(names)
            else:
                names = ("other", "other", "other")
        key = (self._day[1], caller.group or "", caller.key_id or "", model, exchange.connection, *names)
        cost = self.prices.charge(exchange, tokens, number)
        if len(self._sums) >= MAX_PENDING and key not in self._sums:
            self.lost += number
            return
        if self._since is None:
            self._since = self._clock()
        with self._lock:
            if isinstance(cost, Pending) and len(self._waiting) < MAX_PENDING:
                rounds = number if number > 1 else exchange.rounds
                self._waiting.append(Unpriced(key, cost.question, tokens, number, rounds))
            known = cost if isinstance(cost, float) else 0.0
            sums = [number, tokens.input, tokens.output, tokens.cached, tokens.reasoning, known]
            self._count(key, [*sums, number if tokens.estimated else 0, 0 if isinstance(cost, float) else number])

    def _count(self, key: Key, more: Iterable[float]) -> None:
        """Add to the sums of `key`. The lock must be held."""
        row = self._sums.get(key)
        if row is None:
            row = self._sums[key] = [0.0] * len(SUMS)
        pair = (key[3], key[4])
        if pair not in self.costs and pair not in self.unpriced and len(self.costs) + len(self.unpriced) >= MAX_SERIES:
            pair = ("other", key[4])
        for n, value in enumerate(more):
            row[n] += value
            if value and n == _COST:
                self.costs[pair] = self.costs.get(pair, 0.0) + value
            elif value and n == _UNPRICED:
                self.unpriced[pair] = max(
                    self.unpriced.get(pair, 0) + int(value), 0
                )  # may include those of an earlier process

    def settle(self, now: bool) -> float | None:
        """Write what is due (everything if `now`); returns seconds until more is due, None while there is nothing."""
        at = self._clock()
        if self._look_up_at is not None and self._look_up_at <= at and not now:
            self._look_up_at = None
            threading.Thread(target=self.look_up, name="prices", daemon=True).start()
        if self._since is None:
            return self._look_up_at - at if self._look_up_at is not None else None
        due = max(self._since + SETTLE, self._retry_at) - at
        if due > 0 and not now:
            return due
        with self._lock:
            self._write()
        if self._since is not None:
            return RETRY_AFTER
        return max(self._look_up_at - at, 0.0) if self._look_up_at is not None else None

    def _write(self, settled: int = 0) -> bool:
        """Write everything to the database; False if it fails. The lock must be held."""
        rows = [(*key, *row) for key, row in self._sums.items()]
        waiting = [_dumped(one) for one in self._waiting]
        try:
            self._database.add(rows, waiting, settled)
        except database_errors() as error:
            log.warning("usage could not be written: %s", error)
            self._retry_at = self._clock() + RETRY_AFTER
            return False
        if waiting and self._look_up_at is None:
            self._look_up_at = self._clock() + LOOK_UP
        self._sums, self._waiting, self._since = {}, [], None
        return True

    def look_up(self) -> None:
        """Price pending exchanges, including an earlier process's. Blocks for up to a second or two.

        Without a known price they stay unpriced; if the prices cannot be read now, they stay pending.
        """
        with self._lock:
            if (self._sums or self._waiting) and not self._write():
                return
            try:
                found = self._database.pending() if self._database.exists else []
            except database_errors() as error:
                log.warning("usage could not be read: %s", error)
                return
        if not found:
            return
        waiting = [_restored(*row[1:]) for row in found]
        self.bundled.look_up(one.question for one in waiting)
        answers = [self.bundled.answer(one.question) for one in waiting]
        if not all(known for known, _ in answers):
            return
        with self._lock:
            if self._priced >= found[-1][0]:
                return  # by another thread in the meantime
            for one, (_, price) in zip(waiting, answers, strict=True):
                cost = price.cost(one.tokens, one.rounds) if price is not None else None
                if cost is not None:
                    self._count(one.key, [0, 0, 0, 0, 0, cost, 0, -one.requests])
            if self._write(found[-1][0]):
                self._priced = found[-1][0]

    def rows(self, first: str | None = None) -> list[tuple[Any, ...]]:
        """All rows since the day `first`: KEYS, then SUMS; a key may have several. Blocks on the disk."""
        with self._lock:
            return [
                *self._stored(first),
                *((*k, *r) for k, r in self._sums.items() if first is None or k[0] >= first),
            ]

    def report(
        self, by: str = "day", since: str | None = None, elsewhere: Iterable[tuple[Any, ...]] = ()
    ) -> dict[str, Any]:
        """The sums grouped `by` (names of GROUPINGS, separated by commas) since a day, as JSON. Blocks on the disk.

        `since`: "2026-11-01", or "7d" for the last seven days. `elsewhere`: rows of other daemons. A `cost` is in
        `currency`, excludes the `unpriced_requests`, and is None if none of it is known. Raises BadRequest for an
        invalid `by` or `since`.
        """
        columns = groupings(by)
        first = first_day(since)
        self.look_up()
        rows = [*self.rows(first), *elsewhere]
        places = [(KEYS.index(GROUPINGS[name]), 7 if name == "month" else None) for name in columns]
        sums: dict[tuple[str, ...], list[float]] = {}
        for row in rows:
            total = sums.setdefault(tuple(row[place][:end] for place, end in places), [0.0] * len(SUMS))
            for n, value in enumerate(row[len(KEYS) :]):
                total[n] += value
        found = [_shown(dict(zip(columns, key, strict=True)), total) for key, total in sorted(sums.items())]
        everything = [sum(column) for column in zip(*sums.values(), strict=True)] or [0.0] * len(SUMS)
        return {
            "by": list(columns),
            "since": first,
            "currency": self.prices.currency,
            "rows": found,
            "total": _shown({}, everything),
        }

    def _stored(self, first: str | None) -> list[tuple[Any, ...]]:
        if not self._database.exists:
            return []
        try:
            return self._database.rows(first)
        except database_errors() as error:
            log.warning("usage could not be read: %s", error)
            return []


@lru_cache(maxsize=MAX_NAMES)
def _clean(name: str, _secrets: int) -> str:
    """A client's `name` for something, without secrets, in characters that can be written.

    Odd bytes of a header and lone surrogates from JSON cannot; one such row would block all others.
    """
    return writable(vault.scrub(name))


def _dumped(one: Unpriced) -> tuple[str, str, str]:
    *plain, other = one.tokens
    tokens = (*plain, tuple(other) if other is not None else None)
    parts = (one.key, tuple(one.question), (tokens, one.requests, one.rounds))
    key, question, rest = (orjson.dumps(part).decode() for part in parts)
    return key, question, rest


def _restored(key: str, question: str, rest: str) -> Unpriced:
    values, requests, rounds = orjson.loads(rest)
    other = values.pop()
    tokens = Tokens(*values)._replace(other=OtherTokens(*other) if other is not None else None)
    return Unpriced(tuple(orjson.loads(key)), PriceQuestion(*orjson.loads(question)), tokens, requests, rounds)


def groupings(by: str) -> tuple[str, ...]:
    """The names in `by`, checked."""
    names = tuple(name.strip() for name in by.split(",") if name.strip()) or ("day",)
    for name in names:
        if name not in GROUPINGS:
            raise BadRequest(f"Usage cannot be grouped by '{name[:40]}', only by {', '.join(GROUPINGS)}.", param="by")
    return names


def first_day(since: str | None) -> str | None:
    """The first day to include: a date, or a number of days back ("1d" is today)."""
    if not since:
        return None
    if since.endswith("d") and since[:-1].isascii() and since[:-1].isdigit() and len(since) < 7:
        today = datetime.now(UTC).date()
        return (today - timedelta(days=max(int(since[:-1]) - 1, 0))).isoformat()
    try:
        return date.fromisoformat(since).isoformat()
    except ValueError:
        raise BadRequest("`since` must be a date like 2026-11-01, or days like 7d.", param="since") from None


def _shown(labels: dict[str, str], row: list[float]) -> dict[str, Any]:
    sums = dict(zip(SUMS, row, strict=True))
    requests, unpriced = int(sums["requests"]), int(sums["unpriced"])
    return {
        **labels,
        "requests": requests,
        "input_tokens": int(sums["input"]),
        "output_tokens": int(sums["output"]),
        "cached_tokens": int(sums["cached"]),
        "reasoning_tokens": int(sums["reasoning"]),
        "cost": round(sums["cost"], 9) if requests > unpriced or not requests else None,
        "unpriced_requests": unpriced,
        "estimated_requests": int(sums["estimated"]),
    }
