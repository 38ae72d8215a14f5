"""Usage of several daemons: each writes its own, one record per day, and reads the others' on request.

Nothing is added up in the store, so nothing can be counted twice or lost there: a daemon writes the contents of its own
database again whenever it comes back.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from openai_proxy.records.counting.usage import Usage, first_day
from openai_proxy.records.counting.usage_database import KEYS, SUMS
from openai_proxy.store.shared import Shared

KEPT: Final = 400 * 86400.0  # seconds
AGAIN: Final = 40  # days that are compared after the store was away

Row = tuple[Any, ...]


class SharedUsage:
    """The usage of this daemon for the others, and theirs for it. Lives as long as the process."""

    def __init__(self, shared: Shared, usage: Usage) -> None:
        self._shared = shared
        self._usage = usage
        self._days: dict[str, list[Row]] = {}  # as they were last written
        self._table = shared.table("usage", read=self._read, take=_nothing, names=list, pushed=False)
        self._present = False
        self._elsewhere: dict[str, Any] = {}  # what was last read

    def look(self) -> dict[str, list[Row]] | None:
        """The days that may have to be written; None while nobody would see them. Blocks on the disk."""
        if not self._shared.live:
            self._present = False
            return None
        days = 1 if self._present else AGAIN
        first = (datetime.now(UTC).date() - timedelta(days=days)).isoformat()
        found: dict[str, list[Row]] = {}
        for row in _added_up(self._usage.rows(first)):
            found.setdefault(row[0], []).append(row)
        return found

    async def publish(self, days: dict[str, list[Row]] | None) -> None:
        """Write what is new in `days` (see `look`), and after the store was away also what it no longer has."""
        if days is None:
            return
        known = None if self._present else await self._table.gather(lambda name: name.endswith(self._own("")))
        for day, rows in days.items():
            missing = known is not None and self._own(day) not in known
            if missing or self._days.get(day) != rows:
                self._days[day] = rows
                self._table.changed(self._own(day))
        self._present = self._shared.live

    async def elsewhere(self, since: str | None) -> list[Row]:
        """The rows of all other daemons since a day, as far as known."""
        first = first_day(since) or ""
        found = await self._table.gather(lambda name: name >= first and not name.endswith(self._own("")))
        if found is not None:
            self._elsewhere = {name: value for name, value in self._elsewhere.items() if name < first} | found
        chosen = [value for name, value in self._elsewhere.items() if name >= first]
        return [row for value in chosen for row in _rows(value)]

    def _own(self, day: str) -> str:
        return f"{day}@{self._shared.origin}"

    def _read(self, name: str) -> tuple[Any, float] | None:
        rows = self._days.get(name.partition("@")[0])
        return ({"columns": [*KEYS, *SUMS], "rows": rows}, KEPT) if rows is not None else None


def _nothing(name: str, value: Any) -> None:
    """Does nothing: usage is read on request."""


def _added_up(rows: list[Row]) -> Iterator[Row]:
    sums: dict[Row, list[float]] = {}
    for row in rows:
        total = sums.setdefault(row[: len(KEYS)], [0.0] * len(SUMS))
        for n, value in enumerate(row[len(KEYS) :]):
            total[n] += value
    return ((*key, *total) for key, total in sorted(sums.items()))


def _rows(value: Any) -> Iterator[Row]:
    """Rows of a daemon that may have another version: columns are identified by name."""
    columns = {name: place for place, name in enumerate(value["columns"])}
    for row in value["rows"]:
        keys = [str(row[columns[name]]) if name in columns else "" for name in KEYS]
        sums = [float(row[columns[name]]) if name in columns else 0.0 for name in SUMS]
        yield (*keys, *sums)
