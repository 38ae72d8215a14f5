"""The usage database in the state directory: rows of sums, and exchanges whose price is still pending.

sqlite3 is imported when there is first something to write (1.5 MB).
"""

import os
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import sqlite3

KEYS: Final = ("day", "grp", "key_id", "model", "connection", "user", "session", "agent")
SUMS: Final = ("requests", "input", "output", "cached", "reasoning", "cost", "estimated", "unpriced")

_COLUMNS: Final = ", ".join(KEYS + SUMS)
_SCHEMA: Final = f"""
CREATE TABLE IF NOT EXISTS usage (
    {", ".join(f"{name} TEXT NOT NULL" for name in KEYS)},
    {", ".join(f"{name} {'REAL' if name == 'cost' else 'INTEGER'} NOT NULL" for name in SUMS)},
    PRIMARY KEY ({", ".join(KEYS)})
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS pending (usage_key TEXT NOT NULL, question TEXT NOT NULL, tokens TEXT NOT NULL);
"""
_MAX_VALUES: Final = 999
"""Values of one statement (SQLite before 3.32). Each statement gives the interpreter lock away and has to wait for it,
so few with many rows are cheaper.
"""
_ADDED: Final = f"""
ON CONFLICT ({", ".join(KEYS)}) DO UPDATE SET {", ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)}
"""
_EARLIER: Final = """
SELECT day, grp, key_id, model, connection, '', '', '', requests, input, output, cached, reasoning, cost, estimated,
    CASE WHEN cost = 0 THEN requests ELSE 0 END FROM {table}
"""
"""The rows of earlier versions, which wrote an unknown cost as 0."""

UsageRow = tuple[Any, ...]


class UsageDatabase:
    """One file, opened for each use. Blocks on the disk; raises sqlite3.Error and OSError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def exists(self) -> bool:
        """True if anything was ever written."""
        return self._path.exists()

    def add(self, rows: Sequence[UsageRow], pending: Sequence[tuple[str, str, str]] = (), settled: int = 0) -> None:
        """Add `rows` of KEYS and SUMS and the `pending` in one transaction; delete pending ones up to id `settled`."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._path.exists():
            os.close(os.open(self._path, os.O_CREAT | os.O_CLOEXEC, 0o600))
        connection = self._open("rw")
        try:
            with connection:
                self._prepare(connection)
                _insert(connection, f"usage ({_COLUMNS})", rows, _ADDED)
                _insert(connection, "pending", pending)
                if settled:
                    connection.execute("DELETE FROM pending WHERE rowid <= ?", (settled,))
        finally:
            connection.close()

    def rows(self, first_day: str | None) -> list[UsageRow]:
        """The rows from `first_day` on."""
        connection = self._open("ro")
        try:
            if _is_earlier(connection):
                query = f"{_EARLIER.format(table='usage')} WHERE day >= ?"
                return connection.execute(query, (first_day or "",)).fetchall()
            query = f"SELECT {_COLUMNS} FROM usage WHERE day >= ?"  # noqa: S608 (names of our own)
            return connection.execute(query, (first_day or "",)).fetchall()
        finally:
            connection.close()

    def pending(self) -> list[tuple[int, str, str, str]]:
        """The pending exchanges: id, key, question, tokens."""
        connection = self._open("ro")
        try:
            if not _columns(connection, "pending"):
                return []
            return connection.execute(
                "SELECT rowid, usage_key, question, tokens FROM pending ORDER BY rowid"
            ).fetchall()
        finally:
            connection.close()

    def _open(self, mode: str) -> "sqlite3.Connection":
        import sqlite3

        return sqlite3.connect(f"{self._path.absolute().as_uri()}?mode={mode}", uri=True, timeout=2.0)

    @staticmethod
    def _prepare(connection: "sqlite3.Connection") -> None:
        earlier = _is_earlier(connection)
        if earlier:
            connection.execute("ALTER TABLE usage RENAME TO earlier_usage")
        for statement in filter(str.strip, _SCHEMA.split(";")):
            connection.execute(statement)
        if earlier:
            connection.execute(f"INSERT INTO usage ({_COLUMNS}) {_EARLIER.format(table='earlier_usage')}")
            connection.execute("DROP TABLE earlier_usage")


def _insert(connection: "sqlite3.Connection", table: str, rows: Sequence[tuple[Any, ...]], rest: str = "") -> None:
    """Insert `rows` with as few statements as possible; `rest` follows their values."""
    at_once = _MAX_VALUES // len(rows[0]) if rows else 1
    for start in range(0, len(rows), at_once):
        some = rows[start : start + at_once]
        values = ", ".join([f"({', '.join('?' * len(some[0]))})"] * len(some))
        connection.execute(f"INSERT INTO {table} VALUES {values} {rest}", list(chain.from_iterable(some)))  # noqa: S608, RUF100 (names of our own, no value)


def _columns(connection: "sqlite3.Connection", table: str) -> set[str]:
    """The columns of a table; none if it does not exist."""
    return {str(row[1]) for row in connection.execute(f"PRAGMA table_info({table})")}


def _is_earlier(connection: "sqlite3.Connection") -> bool:
    found = _columns(connection, "usage")
    return bool(found) and "agent" not in found


def database_errors() -> tuple[type[Exception], ...]:
    """What `UsageDatabase` may raise."""
    import sqlite3

    return (sqlite3.Error, OSError)
