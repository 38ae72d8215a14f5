"""What a group's keys may use, joined to requests: let in at the door, metered when the record of an answer is read.

Tokens are known a moment after an answer ended (the recorder's thread reads them). A request of the same key that
comes in just that moment waits for it, so that a limit of tokens cannot be slipped past by asking quickly.
"""

import asyncio
import logging
from pathlib import Path

from openai_proxy.auth.limits import Allowance, Book, LimitAccount
from openai_proxy.auth.shared_limits import SharedAccounts
from openai_proxy.exchange import Exchange
from openai_proxy.records.reading.tokens import Tokens
from openai_proxy.records.recording.service import Records
from openai_proxy.store.shared import Shared

log = logging.getLogger(__name__)

SETTLE = 0.5  # seconds to wait for the tokens of answers that have just ended


class Governor:
    """Lives as long as the process. Belongs to the event loop, but for `metered`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, directory: Path, records: Records, shared: Shared) -> None:
        self._loop = loop
        self._directory = directory
        self._records = records
        self._book = Book()
        self._book.load(directory)
        self._shared = SharedAccounts(self._book, shared)
        self._listening = False
        self._news = asyncio.Event()

    def enter_now(self, exchange: Exchange, allowance: Allowance) -> bool:
        """Let a request in at once; False if that takes longer (see `enter`). Raises RateLimited."""
        account = self._book.account(exchange.caller)
        if allowance.counts_tokens and account.open > account.running:
            return False
        if self._shared.asks(account, allowance):
            return False
        self._admitted(exchange, allowance, self._book.enter(exchange.caller, allowance))
        return True

    async def enter(self, exchange: Exchange, allowance: Allowance) -> None:
        """Let a request in. Raises RateLimited."""
        if allowance.counts_tokens:
            await self._settled(self._book.account(exchange.caller))
        if self._shared.asks(self._book.account(exchange.caller), allowance):
            account = await self._shared.enter(exchange.caller, allowance)
        else:
            account = self._book.enter(exchange.caller, allowance)
        self._admitted(exchange, allowance, account)

    def _admitted(self, exchange: Exchange, allowance: Allowance, account: LimitAccount) -> None:
        exchange.permit = account
        if allowance.counts_tokens:
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
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            account.open = account.running  # a lost record: nobody waits for it twice

    def metered(self, exchange: Exchange, tokens: Tokens) -> None:
        """An answer's tokens are known. Called in the recorder's thread."""
        if exchange.allowance is not None:
            try:
                self._loop.call_soon_threadsafe(self._count, exchange, tokens.total)
            except RuntimeError:
                log.debug("tokens of %s came after the end", exchange.id)

    def _count(self, exchange: Exchange, total: int) -> None:
        account = self._book.account(exchange.caller)
        account.open = max(account.open - 1, account.running)
        self._news.set()
        if total:
            self._book.used(exchange.caller, total)

    def save(self) -> None:
        """Write the counters down. Blocks for a moment."""
        self._book.save(self._directory)
