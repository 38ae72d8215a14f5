"""Counters of keys shared by several daemons: each counts what it admits, and knows what the others have counted.

A record is what one daemon has counted for one key: `KEY@DAEMON`. While a key is far from its limits, the local state
decides at once; close to one, the store is queried, so that two daemons together admit no more than one would.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from openai_proxy.auth.limits import Allowance, Book, LimitAccount, exhausted
from openai_proxy.exchange import Caller
from openai_proxy.store.shared import LATER, SOON, Shared

TABLE: Final = "limits"
CLOSE: Final = 0.1  # of a limit, or
FEW: Final = 20  # what is left of it: from there on the store is queried
HALF: Final = 0.5  # of a limit, and
PLENTY: Final = 2000  # what is left of it: up to there nobody can use it up before the others know


class SharedAccounts:
    """The accounts of `book`, and those of every other daemon."""

    def __init__(self, book: Book, shared: Shared) -> None:
        self._book = book
        self._own = f"@{shared.origin}"
        self._table = shared.table(TABLE, read=self._read, take=self._take, names=self._names)
        book.changed = self._changed

    def asks(self, account: LimitAccount, allowance: Allowance) -> bool:
        """True if the store must be queried before a request of this account is admitted."""
        return self._table.live and _close(account, allowance, self._book.now())

    async def enter(self, caller: Caller, allowance: Allowance) -> LimitAccount:
        """Count a request of `caller` and admit it, if all daemons together may. Raises RateLimited.

        One request of a key at a time, so that each count decides about that request alone.
        """
        account = self._book.account(caller)
        if account.turn is None:
            account.turn = asyncio.Lock()
        async with account.turn:
            self._book.enter(caller, allowance)
            name = caller.account
            try:
                await self._table.exchange(key_of(name) + self._own, f"{key_of(name)}@")
                self._check(account, allowance)
            except BaseException:
                account.undo()
                self._changed(name)
                raise
        return account

    def _check(self, account: LimitAccount, allowance: Allowance) -> None:
        """Raises RateLimited if the request just counted was one too many."""
        now = self._book.now()
        for unit, (window, limit) in enumerate(zip(account.windows, allowance.numbers, strict=False)):
            if limit is not None:
                count = window.now(now)
                if count > limit or (unit >= 2 and count == limit):
                    raise exhausted(unit, limit, window.left(now))

    def _changed(self, name: bytes | str) -> None:
        within = LATER if self._book.account_of(name).far else SOON
        self._table.changed(key_of(name) + self._own, within=within)

    def _read(self, name: str) -> tuple[Any, float] | None:
        account = self._book.find(name_of(name))
        return (account.rows(), account.lasts(self._book.now())) if account is not None else None

    def _take(self, name: str, rows: Any) -> None:
        _, _, origin = name.rpartition("@")
        if rows is not None:
            account = self._book.account_of(name_of(name))
            for window, (begun, count) in zip(account.windows, rows, strict=False):
                if f"@{origin}" == self._own:
                    window.resume(float(begun), count, self._book.now())
                else:
                    window.take(origin, float(begun), count, self._book.now())
            if f"@{origin}" == self._own and account.rows() != [tuple(row) for row in rows]:
                self._changed(name_of(name))

    def _names(self) -> Iterable[tuple[str, float]]:
        # The store's copy for this daemon is read first: a kill may have left an older file here.
        return [(key_of(name) + self._own, 0.0) for name in self._book.names()]


def _close(account: LimitAccount, allowance: Allowance, now: float) -> bool:
    far = True
    for window, limit in zip(account.windows, allowance.numbers, strict=False):
        if limit is not None:
            left = limit - window.now(now)
            if left <= max(FEW, limit * CLOSE):
                account.far = False
                return True
            far = far and left > max(PLENTY, limit * HALF)
    account.far = far
    return False


def key_of(name: bytes | str) -> str:
    """The name of a key, or an address, in the store."""
    return name.hex() if isinstance(name, bytes) else f"peer {name}"


def name_of(record: str) -> bytes | str:
    """The key, or address, of a record called `KEY@DAEMON`."""
    key = record.rpartition("@")[0]
    return key.removeprefix("peer ") if key.startswith("peer ") else bytes.fromhex(key)
