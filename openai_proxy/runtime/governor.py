"""Applies groups' limits to requests: admitted on arrival, metered when the record of an answer is read.

Tokens are known a moment after an answer has ended (the recorder's thread reads them). A request of the same key that
arrives in that moment waits for it, so that a token limit cannot be bypassed by sending quickly.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai_proxy import statefile
from openai_proxy.auth.limits import FILE as LIMITS
from openai_proxy.auth.limits import VERSION as LIMITS_VERSION
from openai_proxy.auth.limits import Allowance, Book, LimitAccount
from openai_proxy.auth.shared_limits import SharedAccounts
from openai_proxy.exchange import Exchange
from openai_proxy.records.reading.tokens import Tokens
from openai_proxy.records.recording.service import Records
from openai_proxy.store.shared import Shared

if TYPE_CHECKING:
    from openai_proxy.routing.catalog import Catalog
    from openai_proxy.runtime.spending import Spendings

log = logging.getLogger(__name__)

SAVE = 0.6  # seconds until changes are written: a kill loses no more than a second
SETTLE = 0.5  # seconds to wait for the tokens of answers that have just ended


class Governor:
    """Lives as long as the process. Belongs to the event loop, except `metered`."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        directory: Path,
        records: Records,
        shared: Shared,
        catalog: Catalog,
    ) -> None:
        self._loop = loop
        self._directory = directory
        self._records = records
        self._book = Book()
        self._book.load(directory)
        self._shared = SharedAccounts(self._book, shared)
        self._tables = shared
        self._catalog = catalog
        self._spendings: Spendings | None = None
        self._saving: asyncio.TimerHandle | None = None
        self._writing = threading.Lock()
        self._listening = False
        self._changed = asyncio.Event()
        self._conversations: dict[bytes | str, dict[Exchange, Callable[[bool], None]]] = {}  # by key

    @property
    def spendings(self) -> Spendings:
        """Spending under budgets; created when the first group has one."""
        if self._spendings is None:
            from openai_proxy.runtime.spending import Spendings

            self._spendings = Spendings(self._directory, self._records, self._catalog, self._tables)
        return self._spendings

    def enter_now(self, exchange: Exchange, allowance: Allowance, estimate: float = 0.0) -> bool:
        """Admit a request at once; False if that takes longer (see `enter`). Raises RateLimited.

        `estimate` is its maximum cost, if its group has a budget.
        """
        account = self._book.account(exchange.caller)
        if allowance.counts_tokens and account.open > account.running:
            return False
        if self._shared.asks(account, allowance):
            return False
        entered = self._book.enter(exchange.caller, allowance)
        if allowance.budget is not None and not self.spendings.reserve_now(exchange, allowance.budget, estimate):
            entered.undo()
            return False
        self._admitted(exchange, allowance, entered)
        return True

    async def enter(self, exchange: Exchange, allowance: Allowance) -> None:
        """Admit a request. Raises RateLimited and BudgetExceeded."""
        budget = allowance.budget
        if allowance.counts_tokens or (budget is not None and not self.spendings.at_ease(exchange, budget)):
            await self._settled(self._book.account(exchange.caller))
        if budget is not None:
            self.spendings.check(exchange, budget)
        if self._shared.asks(self._book.account(exchange.caller), allowance):
            account = await self._shared.enter(exchange.caller, allowance)
        else:
            account = self._book.enter(exchange.caller, allowance)
        self._admitted(exchange, allowance, account)

    def check(self, exchange: Exchange, allowance: Allowance) -> None:
        """Raise what a new request would get if the money or the day's tokens are spent, for an open conversation.

        Tokens of the minute do not end a conversation: they are back within a minute, while one that has to be begun
        anew needs its whole history read again, which costs more than is saved.
        """
        if allowance.budget is not None:
            self.spendings.check(exchange, allowance.budget)
        self._book.check_day(self._book.account(exchange.caller), allowance)

    @contextmanager
    def telling(self, exchange: Exchange, booked: Callable[[bool], None]) -> Iterator[None]:
        """Meanwhile call `booked` after each answer to the same key was booked: with True if it was `exchange`'s."""
        name = exchange.caller.account
        conversations = self._conversations.setdefault(name, {})
        conversations[exchange] = booked
        try:
            yield
        finally:
            del conversations[exchange]
            if not conversations:
                del self._conversations[name]

    def _admitted(self, exchange: Exchange, allowance: Allowance, account: LimitAccount) -> None:
        exchange.permit = account
        self._save_soon()
        if allowance.metered:
            account.open += 1
            exchange.allowance = allowance
            if not self._listening:
                self._listening = True
                self._records.listen(self.metered)

    async def _settled(self, account: LimitAccount) -> None:
        if account.open <= account.running:
            return
        self._records.recorder.nudge()
        try:
            async with asyncio.timeout(SETTLE):
                while account.open > account.running:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            account.open = account.running  # do not wait for a lost record twice

    def metered(self, exchange: Exchange, tokens: Tokens, paid: bool, over: bool) -> None:
        """An answer's tokens are known; more follow unless its exchange is `over`. Called in the recorder's thread."""
        allowance = exchange.allowance
        if isinstance(allowance, Allowance):
            cost = self.spendings.cost(exchange, tokens, paid) if allowance.budget is not None else 0.0
            try:
                self._loop.call_soon_threadsafe(self._count, exchange, tokens.total, cost, over)
            except RuntimeError:
                log.debug("tokens of %s came after the end", exchange.id)

    def _count(self, exchange: Exchange, total: int, cost: float, over: bool) -> None:
        if over:
            account = self._book.account(exchange.caller)
            account.open = max(account.open - 1, account.running)
            self._changed.set()
        if cost or exchange.reserved is not None:
            self.spendings.settle(exchange, cost, over)
        self._save_soon()
        if total:
            self._book.used(exchange.caller, total)
        if self._conversations:
            caller = exchange.caller
            for open_, booked in list(self._conversations.get(caller.account, {}).items()):
                booked(open_ is exchange)

    def _save_soon(self) -> None:
        """Have everything written to disk within a second."""
        if self._saving is None:
            self._saving = self._loop.call_later(SAVE, self._save_now)

    def _save_now(self) -> None:
        self._saving = None
        self._loop.run_in_executor(None, self._write, *self._dumps())

    def _dumps(self) -> list[tuple[str, int, dict[str, Any]]]:
        """The state files that have changed: name, version, members."""
        found = [(LIMITS, LIMITS_VERSION, self._book.dump())]
        if self._spendings is not None:
            found.append(self._spendings.dump())
        return [(name, version, members) for name, version, members in found if members is not None]

    def _write(self, *files: tuple[str, int, dict[str, Any]]) -> None:
        with self._writing:  # one at a time, so that the newest is written last
            for name, version, members in files:
                try:
                    statefile.save(self._directory / name, version, members)
                except OSError as error:
                    log.warning("%s cannot be saved: %s", name, error.strerror)

    def save(self) -> None:
        """Write the counters. Blocks briefly."""
        if self._saving is not None:
            self._saving.cancel()
            self._saving = None
        self._write(*self._dumps())
