"""Limits of groups, counted per key: requests and tokens per minute and per day, concurrent requests.

A minute begins with a key's first request in it, a day at midnight UTC, like the days of `usage`. Tokens are known when
an answer ends, so a request is refused once earlier ones have used them up. A refused request is not counted. Counters
are kept in memory and saved in the state directory, so that a restart resets none; times are therefore wall-clock
times, and if the clock is set back, the window starts again.

With `storage: redis://…` several daemons share the counters (`shared_limits`); each daemon counts its own concurrent
requests.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openai_proxy import statefile
from openai_proxy.config.proxy import GroupLimits
from openai_proxy.errors import RateLimited
from openai_proxy.exchange import Caller

if TYPE_CHECKING:  # imported if a group has a budget
    from openai_proxy.auth.budgets import Budget

log = logging.getLogger(__name__)

MINUTE = 60.0
DAY = 86_400.0
SKEW = 5.0  # maximum difference in seconds between the clocks of two machines
FILE = "limits.json"
VERSION = 1


class Window:
    """One counter in one window. `begun` is the wall-clock time at which the window began.

    `count` is what this daemon counted, `elsewhere` what is known about the others. Overlapping windows of several
    daemons are one, which began with the first of them.
    """

    __slots__ = ("begun", "count", "elsewhere", "length", "others")

    def __init__(self, length: float) -> None:
        self.length = length
        self.begun = 0.0
        self.count: float = 0
        self.elsewhere: float = 0
        self.others: dict[str, tuple[float, float]] | None = None  # daemon -> when its window began, its count

    def now(self, now: float) -> float:
        """The count in the present window."""
        if not self.begun <= now < self.begun + self.length:
            self._begin(now)
        return self.count + self.elsewhere

    def _begin(self, now: float) -> None:
        self.begun = now if self.length == MINUTE else now - now % DAY
        self.count = 0
        self.elsewhere = 0
        if self.others:
            self._add_up(now)

    def left(self, now: float) -> float:
        """Seconds until the window ends."""
        return self.begun + self.length - now

    def take(self, origin: str, begun: float, count: float, now: float) -> None:
        """Note that another daemon has counted this many in a window that began at `begun`."""
        if self.others is None:
            self.others = {}
        self.others[origin] = (begun, count)
        self.now(now)
        self._add_up(now)

    def resume(self, begun: float, count: float, now: float) -> None:
        """This daemon itself had counted this many before it was restarted."""
        if not begun <= now < begun + self.length:
            return
        own = self.count if self.begun <= now < self.begun + self.length else 0
        self.begun = min(begun, self.begun) if own else begun
        self.count = max(count, own)
        self._add_up(now)

    def _add_up(self, now: float) -> None:
        """Clocks of several machines differ a little: a window may begin in the near future."""
        open_ = {
            origin: (begun, count)
            for origin, (begun, count) in (self.others or {}).items()
            if count and begun - SKEW <= now < begun + self.length
        }
        self.others = open_
        self.elsewhere = sum(count for _, count in open_.values())
        self.begun = min((self.begun, *(begun for begun, _ in open_.values())))


class LimitAccount:
    """What one key has used. It is its own permit, so admitting and releasing need no further object.

    `open` are the requests whose tokens are not known yet: those running, and those that just ended.
    """

    __slots__ = ("far", "open", "running", "turn", "windows")

    def __init__(self) -> None:
        self.turn: asyncio.Lock | None = None  # for callers waiting for the shared store
        self.far = False  # so far from its limits that other daemons may get its counts a little later
        self.running = 0
        self.open = 0
        self.windows = (Window(MINUTE), Window(DAY), Window(MINUTE), Window(DAY))  # requests twice, tokens twice

    def rows(self) -> list[tuple[float, float]]:
        """This daemon's own counts for the others: when each window began, and its count."""
        return [(window.begun, window.count) for window in self.windows]

    def lasts(self, now: float) -> float:
        """Seconds until the last of the windows in which something was counted has ended."""
        return max((window.left(now) for window in self.windows if window.count), default=0.0) + SKEW

    def release(self) -> None:
        """See exchange.Permit."""
        self.running -= 1

    def undo(self) -> None:
        """The request was refused after all: undo its count."""
        self.running -= 1
        for window in self.windows[:2]:
            window.count = max(window.count - 1, 0)


@dataclass(frozen=True, slots=True)
class Allowance:
    """The limits of a group in comparable form: requests per minute and day, tokens per minute and day."""

    numbers: tuple[float | None, float | None, float | None, float | None]
    concurrent: float | None
    budget: Budget | None = None

    @classmethod
    def of(cls, limits: GroupLimits, currency: str = "USD") -> Allowance | None:
        """None for a group without limits."""
        numbers = (
            limits.requests_per_minute,
            limits.requests_per_day,
            limits.tokens_per_minute,
            limits.tokens_per_day,
        )
        budget: Budget | None = None
        if limits.cost_per_day is not None or limits.cost_per_month is not None:
            from openai_proxy.auth.budgets import Budget

            budget = Budget(limits.cost_per_day, limits.cost_per_month, currency)
        if limits.concurrent_requests is None and budget is None and all(number is None for number in numbers):
            return None
        return cls(numbers, limits.concurrent_requests, budget)

    @property
    def counts_tokens(self) -> bool:
        """True if tokens matter."""
        return self.numbers[2] is not None or self.numbers[3] is not None

    @property
    def metered(self) -> bool:
        """True if the usage of an answer matters."""
        return self.budget is not None or self.counts_tokens


UNITS = (("requests", "minute"), ("requests", "day"), ("tokens", "minute"), ("tokens", "day"))


class Book:
    """The accounts of all keys. Lives as long as the process, belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._accounts: dict[bytes | str, LimitAccount] = {}
        self._dirty = False
        self.now = clock
        self.changed: Callable[[bytes | str], None] = _to_nobody  # called for every account that counted something

    def enter(self, caller: Caller, allowance: Allowance) -> LimitAccount:
        """Count a request of `caller` and admit it. Raises RateLimited."""
        account = self.account(caller)
        now = self._clock()
        first, second, third, _ = account.windows
        requests, daily, tokens, daily_tokens = allowance.numbers
        if allowance.concurrent is not None and account.running >= allowance.concurrent:
            raise too_many(allowance.concurrent)
        if requests is not None and first.now(now) >= requests:
            raise exhausted(0, requests, first.left(now))
        if daily is not None and second.now(now) >= daily:
            raise exhausted(1, daily, second.left(now))
        if tokens is not None and third.now(now) >= tokens:
            raise exhausted(2, tokens, third.left(now))
        if daily_tokens is not None:
            self.check_day(account, allowance)
        first.count += 1
        second.count += 1
        account.running += 1
        self._dirty = True
        self.changed(caller.account)
        return account

    def check_day(self, account: LimitAccount, allowance: Allowance) -> None:
        """Raise RateLimited if the day's tokens are used up."""
        limit, window, now = allowance.numbers[3], account.windows[3], self._clock()
        if limit is not None and window.now(now) >= limit:
            raise exhausted(3, limit, window.left(now))

    def used(self, caller: Caller, tokens: int) -> None:
        """An answer to `caller` has ended and used this many tokens."""
        account = self.account(caller)
        now = self._clock()
        for window in account.windows[2:]:
            window.now(now)
            window.count += tokens
        self._dirty = True
        self.changed(caller.account)

    def account(self, caller: Caller) -> LimitAccount:
        """The account of a caller's key."""
        return self.account_of(caller.account)

    def find(self, name: bytes | str) -> LimitAccount | None:
        """The account of that name, if there is one."""
        return self._accounts.get(name)

    def names(self) -> list[bytes | str]:
        """The names of all accounts."""
        return list(self._accounts)

    def account_of(self, name: bytes | str) -> LimitAccount:
        """The account of that name: a key's digest, or an address."""
        account = self._accounts.get(name)
        if account is None:
            account = self._accounts[name] = LimitAccount()
        return account

    # -- over a restart ---------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any] | None:
        """The counters that are still relevant; None if nothing changed. Unused accounts are dropped."""
        if not self._dirty:
            return None
        self._dirty = False
        now = self._clock()
        kept: dict[str, Any] = {}
        for name, account in list(self._accounts.items()):
            rows = [(w.begun, w.count) if w.begun <= now < w.begun + w.length else (0, 0) for w in account.windows]
            if not account.running and not any(window.now(now) for window in account.windows):
                del self._accounts[name]
            elif isinstance(name, bytes):
                kept[name.hex()] = rows
        return {"accounts": kept}

    def save(self, directory: Path) -> None:
        """Save what `dump` returns."""
        if (kept := self.dump()) is not None:
            try:
                statefile.save(directory / FILE, VERSION, kept)
            except OSError as error:
                log.warning("limits cannot be saved: %s", error.strerror)

    def load(self, directory: Path) -> None:
        """Load what another process saved. What cannot be read is dropped."""
        try:
            saved = statefile.load(directory / FILE, VERSION, lambda document: {"accounts": document})
            for name, rows in saved.get("accounts", {}).items():
                account = LimitAccount()
                for window, (begun, count) in zip(account.windows, rows, strict=True):
                    window.begun, window.count = float(begun), int(count)
                self._accounts[bytes.fromhex(name)] = account
        except (ValueError, TypeError, AttributeError):
            log.warning("the saved limits (%s) cannot be read; counting starts from zero", FILE)


def _to_nobody(_: bytes | str) -> None:
    """Counters are this daemon's own."""


def exhausted(unit: int, limit: float, left: float) -> RateLimited:
    """The 429 for a used-up window that ends in `left` seconds."""
    what, period = UNITS[unit]
    seconds = max(math.ceil(left), 1)
    return RateLimited(
        f"The limit of {_counted(limit, what)} a {period} is reached. Try again {_later(seconds)}.",
        headers={
            "Retry-After": str(seconds),
            f"x-ratelimit-limit-{what}": str(int(limit)),
            f"x-ratelimit-remaining-{what}": "0",
            f"x-ratelimit-reset-{what}": f"{seconds}s",
        },
    )


def too_many(limit: float) -> RateLimited:
    """The 429 for too many concurrent requests."""
    return RateLimited(
        f"{_counted(limit, 'requests')} {'is' if limit == 1 else 'are'} running already. Try again when one has ended.",
        code="too_many_requests",
        headers={
            "Retry-After": "1",
            "x-ratelimit-limit-concurrent": str(int(limit)),
            "x-ratelimit-remaining-concurrent": "0",
        },
    )


def _counted(number: float, what: str) -> str:
    """`2000000 tokens`, `1 request`: limits are whole numbers, and no client reads 2e+06."""
    return f"{int(number)} {what if number != 1 else what.removesuffix('s')}"


def _later(seconds: int) -> str:
    if seconds < 120:
        return f"in {seconds} seconds" if seconds != 1 else "in a second"
    return f"in {seconds // 60} minutes" if seconds < 7200 else f"in {seconds // 3600} hours"
