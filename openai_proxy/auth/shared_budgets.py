"""Spending of keys shared by several daemons: each tells what it has spent itself, and adds what the others have.

A record is what one daemon has spent of one key's money, by period: `KEY@DAEMON`. What one reserves for requests that
still run, the others do not know.
"""

from collections.abc import Iterable
from typing import Any, Final

from openai_proxy.auth.budgets import Budgets
from openai_proxy.store.shared import Shared

TABLE: Final = "budgets"
KEPT: Final = 70 * 86400.0  # seconds: a month that has passed is of no use any more


class SharedBudgets:
    """The spending in `book`, and that of every other daemon."""

    def __init__(self, book: Budgets, shared: Shared) -> None:
        self._book = book
        self._own = f"@{shared.origin}"
        self._table = shared.table(TABLE, read=self._read, take=self._take, names=self._names)
        book.changed = self._changed

    def _changed(self, name: bytes | str) -> None:
        if isinstance(name, bytes):
            self._table.changed(name.hex() + self._own)

    def _read(self, name: str) -> tuple[Any, float] | None:
        spending = self._book.of(bytes.fromhex(name.rpartition("@")[0]))
        return (dict(spending.own), KEPT) if spending.own else None

    def _take(self, name: str, value: Any) -> None:
        key, _, origin = name.rpartition("@")
        spending = self._book.of(bytes.fromhex(key))
        amounts = {str(period): float(amount) for period, amount in (value or {}).items()}
        if f"@{origin}" == self._own:  # before this daemon was started again
            for period, amount in amounts.items():
                spending.own[period] = max(spending.own.get(period, 0.0), amount)
        elif amounts:
            spending.elsewhere[origin] = amounts
        else:
            spending.elsewhere.pop(origin, None)

    def _names(self) -> Iterable[tuple[str, float]]:
        now = self._book.calendar.clock()
        return [(name.hex() + self._own, now) for name in self._book.names() if isinstance(name, bytes)]
