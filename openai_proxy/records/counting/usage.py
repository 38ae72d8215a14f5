"""Usage: tokens and cost per day, group, key, model and connection, in a small database in the state directory.

The recorder's thread adds to a dictionary and writes it every SETTLE seconds in one transaction; a kill loses at most
those. sqlite3 is imported when there is first something to write (1.5 MB). Days are UTC, like every other time we
write down.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from openai_proxy.errors import BadRequest
from openai_proxy.exchange import Exchange
from openai_proxy.records.counting.prices import Prices
from openai_proxy.records.reading.tokens import Tokens

log = logging.getLogger(__name__)

SETTLE = 5.0  # seconds
REST = 30.0  # seconds until a database that refused is asked again
MAX_PENDING = 50_000  # rows kept in memory while it refuses

KEYS = ("day", "grp", "key_id", "model", "connection")
SUMS = ("requests", "input", "output", "cached", "reasoning", "cost", "estimated")
GROUPINGS = {"day": "day", "group": "grp", "key": "key_id", "model": "model", "connection": "connection"}
"""What a report can be grouped by -> its column."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS usage (
    {", ".join(f"{name} TEXT NOT NULL" for name in KEYS)},
    {", ".join(f"{name} {'REAL' if name == 'cost' else 'INTEGER'} NOT NULL" for name in SUMS)},
    PRIMARY KEY ({", ".join(KEYS)})
) WITHOUT ROWID
"""
_ADD = f"""
INSERT INTO usage ({", ".join(KEYS + SUMS)}) VALUES ({", ".join("?" * (len(KEYS) + len(SUMS)))})
ON CONFLICT ({", ".join(KEYS)}) DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)}
"""  # noqa: S608, RUF100 (names of our own, no value)

Key = tuple[str, ...]


class Usage:
    """The book of usage. `add` and `settle` belong to the recorder's thread, `report` to any other."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.prices = Prices()
        self.lost = 0  # rows that could not be kept
        self._path = path
        self._clock = clock
        self._pending: dict[Key, list[float]] = {}
        self._since: float | None = None
        self._day = (-1, "")  # the day lately written: number since 1970, name
        self._rest_until = 0.0
        self._lock = threading.Lock()  # between a settlement and a report, so that no row is seen twice or not at all

    def add(self, exchange: Exchange, tokens: Tokens, number: int = 1) -> None:
        """Count `number` answered exchanges like `exchange`, of `tokens` together, if an upstream was reached."""
        if exchange.connection is None:
            return
        day = int(exchange.created_at // 86400)
        if day != self._day[0]:
            self._day = day, datetime.fromtimestamp(exchange.created_at, UTC).date().isoformat()
        caller = exchange.caller
        model = exchange.model or exchange.upstream_model or ""
        key = (self._day[1], caller.group or "", caller.key_id or "", model, exchange.connection)
        cost = self.prices.cost(tokens, exchange.upstream_model, exchange.model) or 0.0
        row = self._pending.get(key)
        if row is None:
            if len(self._pending) >= MAX_PENDING:
                self.lost += number
                return
            row = [0.0] * len(SUMS)
            with self._lock:
                self._pending[key] = row
            if self._since is None:
                self._since = self._clock()
        row[0] += number
        row[1] += tokens.input
        row[2] += tokens.output
        row[3] += tokens.cached
        row[4] += tokens.reasoning
        row[5] += cost
        row[6] += tokens.estimated

    def settle(self, now: bool) -> float | None:
        """Write what is due (all of it if `now`); seconds until more is due, None while there is nothing."""
        if self._since is None:
            return None
        at = self._clock()
        due = max(self._since + SETTLE, self._rest_until) - at
        if due > 0 and not now:
            return due
        with self._lock:
            try:
                self._write()
            except _errors() as error:
                log.warning("usage could not be written: %s", error)
                self._rest_until = at + REST
                return REST
            self._pending = {}
            self._since = None
        return None

    def _write(self) -> None:
        import sqlite3

        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path.exists():
            os.close(os.open(self._path, os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = sqlite3.connect(self._path, timeout=2.0)
        try:
            with connection:
                connection.execute(_SCHEMA)
                connection.executemany(_ADD, [(*key, *row) for key, row in self._pending.items()])
        finally:
            connection.close()

    def report(self, by: str = "day", since: str | None = None) -> dict[str, Any]:
        """The sums grouped `by` (names of GROUPINGS, with commas) since a day, as JSON. Blocks on the disk.

        `since`: "2026-11-01", or "7d" for the last seven days. Raises BadRequest for what is neither.
        """
        columns = groupings(by)
        first = first_day(since)
        with self._lock:
            rows = [
                *self._stored(first),
                *((*k, *r) for k, r in self._pending.items() if first is None or k[0] >= first),
            ]
        places = [KEYS.index(GROUPINGS[name]) for name in columns]
        sums: dict[tuple[str, ...], list[float]] = {}
        for row in rows:
            total = sums.setdefault(tuple(row[place] for place in places), [0.0] * len(SUMS))
            for n, value in enumerate(row[len(KEYS) :]):
                total[n] += value
        found = [_shown(dict(zip(columns, key, strict=True)), total) for key, total in sorted(sums.items())]
        everything = [sum(column) for column in zip(*sums.values(), strict=True)] or [0.0] * len(SUMS)
        return {"by": list(columns), "since": first, "rows": found, "total": _shown({}, everything)}

    def _stored(self, first: str | None) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        import sqlite3

        connection = None
        try:
            connection = sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, timeout=2.0)
            query = f"SELECT {', '.join(KEYS + SUMS)} FROM usage WHERE day >= ?"  # noqa: S608 (names of our own)
            return connection.execute(query, (first or "",)).fetchall()
        except sqlite3.Error as error:
            log.warning("usage could not be read: %s", error)
            return []
        finally:
            if connection is not None:
                connection.close()


def groupings(by: str) -> tuple[str, ...]:
    """The names in `by`, checked."""
    names = tuple(name.strip() for name in by.split(",") if name.strip()) or ("day",)
    for name in names:
        if name not in GROUPINGS:
            raise BadRequest(f"Usage cannot be grouped by '{name[:40]}', only by {', '.join(GROUPINGS)}.", param="by")
    return names


def first_day(since: str | None) -> str | None:
    """The first day that counts: a date, or so many days back ("1d" is today)."""
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
    return {
        **labels,
        "requests": int(sums["requests"]),
        "input_tokens": int(sums["input"]),
        "output_tokens": int(sums["output"]),
        "cached_tokens": int(sums["cached"]),
        "reasoning_tokens": int(sums["reasoning"]),
        "cost": round(sums["cost"], 6),
        "estimated_requests": int(sums["estimated"]),
    }


def _errors() -> tuple[type[Exception], ...]:
    import sqlite3

    return (sqlite3.Error, OSError)
