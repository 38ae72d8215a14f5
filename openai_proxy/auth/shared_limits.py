"""Limits shared by several daemons through Redis, by the `limits` library (https://limits.readthedocs.io).

Imported only where `limits.storage` names a Redis. Windows are fixed ones, as in `limits.Book`. While Redis does not
answer, each daemon counts for itself: a dead part is not a dead house. What is counted here is counted in the book
too, so that nobody begins anew then.
"""

import asyncio
import logging
import time
from typing import Any

from limits import RateLimitItem, RateLimitItemPerDay, RateLimitItemPerMinute
from limits.aio.strategies import FixedWindowRateLimiter
from limits.storage import storage_from_string

from openai_proxy.auth.limits import Allowance, Book, LimitAccount, exhausted
from openai_proxy.exchange import Caller

log = logging.getLogger(__name__)

PATIENCE = 1.0  # seconds for an answer of Redis
REST = 5.0  # seconds until a Redis that did not answer is asked again
PREFIX = "openai-proxy"


class SharedBook:
    """The accounts of all keys in one Redis. `book` is what this daemon counts itself."""

    def __init__(self, url: str, book: Book) -> None:
        self.url = url
        self._book = book
        self._storage: Any = storage_from_string(f"async+{url}", implementation="redispy")
        self._limiter = FixedWindowRateLimiter(self._storage)
        self._rests_until = 0.0

    async def enter(self, caller: Caller, allowance: Allowance) -> LimitAccount:
        """See `Book.enter`. Raises RateLimited."""
        account = self._book.enter(caller, allowance)
        try:
            await self._check(caller, allowance)
        except BaseException:
            account.undo()
            raise
        return account

    async def _check(self, caller: Caller, allowance: Allowance) -> None:
        items = _items(allowance)
        name = _name(caller)
        refused: tuple[int, RateLimitItem] | None = None
        reset = 0.0
        if not items or time.monotonic() < self._rests_until:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                for unit, item in items:
                    if not await self._limiter.test(item, name):
                        stats = await self._limiter.get_window_stats(item, name)
                        refused, reset = (unit, item), stats.reset_time
                        break
                else:
                    for unit, item in items:
                        # Two daemons may have passed the test at the same time: the count itself decides.
                        if unit < 2 and not await self._limiter.hit(item, name):
                            stats = await self._limiter.get_window_stats(item, name)
                            refused, reset = (unit, item), stats.reset_time
                            break
        except Exception as error:
            self._failed(error)
            return
        if refused is not None:
            raise exhausted(refused[0], refused[1].amount, reset - time.time())

    async def used(self, caller: Caller, allowance: Allowance, tokens: int) -> None:
        """Count the tokens of an answer that has ended; the book has them already."""
        if time.monotonic() < self._rests_until:
            return
        try:
            async with asyncio.timeout(PATIENCE):
                for unit, item in _items(allowance):
                    if unit >= 2:
                        await self._limiter.hit(item, _name(caller), cost=tokens)
        except Exception as error:
            self._failed(error)

    async def aclose(self) -> None:
        """Close the connections to Redis."""
        client = getattr(self._storage.bridge, "storage", None)
        if client is not None:
            await client.aclose()

    def _failed(self, error: Exception) -> None:
        self._rests_until = time.monotonic() + REST
        log.warning("limits: redis does not answer (%s); this daemon counts for itself", type(error).__name__)


def _name(caller: Caller) -> str:
    return caller.key_digest.hex() if caller.key_digest is not None else caller.remote


def _items(allowance: Allowance) -> list[tuple[int, RateLimitItem]]:
    kinds = (RateLimitItemPerMinute, RateLimitItemPerDay, RateLimitItemPerMinute, RateLimitItemPerDay)
    names = ("requests", "requests", "tokens", "tokens")
    return [
        (unit, kinds[unit](int(number), 1, f"{PREFIX}:{names[unit]}"))
        for unit, number in enumerate(allowance.numbers)
        if number is not None
    ]
