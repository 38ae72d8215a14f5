"""Spending of keys shared by several daemons: each publishes its own and adds the others'.

A record is what one daemon has spent of one key's budget, by period, and what it has reserved: `KEY@DAEMON`. While a
key is far from its budget, the local state decides at once; close to it, the store is queried, so that two daemons do
not reserve the same money.
"""

from collections.abc import Iterable
from typing import Any, Final

from openai_proxy.auth.budgets import RESERVED, Budgets
from openai_proxy.store.shared import LATER, Shared

TABLE: Final = "budgets"
KEPT: Final = 70 * 86400.0  # seconds: a past month is no longer needed


class SharedBudgets:
    """The spending in `book`, and that of every other daemon."""

    def __init__(self, book: Budgets, shared: Shared) -> None:
        self._book = book
        self._own = f"@{shared.origin}"
        self._table = shared.table(TABLE, read=self._read, take=self._take, names=self._names)
        book.changed = self._changed
        book.present = lambda: shared.present

    async def exchange(self, name: bytes | str) -> bool:
        """Publish our reservations, and get all others'; False while there is no store to query."""
        if not isinstance(name, bytes) or not self._table.live:
            return False
        await self._table.exchange(name.hex() + self._own, f"{name.hex()}@")
        return True

    def _changed(self, name: bytes | str) -> None:
        if isinstance(name, bytes):
            self._table.changed(name.hex() + self._own, within=LATER)

    def _read(self, name: str) -> tuple[Any, float] | None:
        spending = self._book.of(bytes.fromhex(name.rpartition("@")[0]))
        published = {**spending.own, RESERVED: spending.reserved} if spending.reserved else dict(spending.own)
        return (published, KEPT) if published else None

    def _take(self, name: str, value: Any) -> None:
        key, _, origin = name.rpartition("@")
        spending = self._book.of(bytes.fromhex(key))
        amounts = {str(period): float(amount) for period, amount in (value or {}).items()}
        if f"@{origin}" == self._own:  # before this daemon was started again
            if amounts.pop(RESERVED, 0.0):
                self._changed(bytes.fromhex(key))  # those requests ended with it
            for period, amount in amounts.items():
                spending.own[period] = max(spending.own.get(period, 0.0), amount)
            if spending.own != amounts:
                self._changed(bytes.fromhex(key))
        elif amounts:
            spending.elsewhere[origin] = amounts
        else:
            spending.elsewhere.pop(origin, None)

    def _names(self) -> Iterable[tuple[str, float]]:
        # The store's copy for this daemon is read first: a kill may have left an older file here.
        return [(name.hex() + self._own, 0.0) for name in self._book.names() if isinstance(name, bytes)]
