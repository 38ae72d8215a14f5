"""Budgets: money that a key may spend per day and per calendar month in the daemon's own time zone.

The maximum cost of a request is reserved before it is sent and settled once its tokens are known, so that concurrent
requests do not spend the same money. A request is admitted as long as anything is left, however expensive it may
become; then everything that is left is reserved. Amounts are stored by the name of their period ("2026-11-29",
"2026-11"), including a few past periods: setting the clock back and forth resets no budget.

Several daemons add up what each has spent and reserved (`Spending.elsewhere`); a daemon's reservations count for the
others as long as it is running.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from openai_proxy import statefile
from openai_proxy.errors import BudgetExceeded
from openai_proxy.exchange import Caller

log = logging.getLogger(__name__)

FILE: Final = "budgets.json"
VERSION: Final = 1
ALMOST: Final = 0.8  # share of a budget from which on responses say in a header what is left
KEPT: Final = 3  # days and months that are stored
RESERVED: Final = "reserved"  # beside the periods, in another daemon's record
MOMENT: Final = 2  # seconds after which a refused caller may retry if the rest is only reserved


class Calendar:
    """The present day and month in the daemon's time zone."""

    __slots__ = ("begins", "clock", "day", "day_ends", "month", "month_ends")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.begins = self.day_ends = self.month_ends = 0.0
        self.day = self.month = ""

    def now(self) -> float:
        """The time; `day` and `month` are then those that it belongs to."""
        now = self.clock()
        if not self.begins <= now < self.day_ends:
            self._turn(now)
        return now

    def _turn(self, now: float) -> None:
        here = datetime.fromtimestamp(now)
        midnight = here.replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight.replace(day=1)
        self.begins = midnight.timestamp()  # naive: of the local time zone, summer time included
        self.day_ends = (midnight + timedelta(days=1)).timestamp()
        self.month_ends = (first + timedelta(days=32)).replace(day=1).timestamp()
        self.day, self.month = f"{here:%Y-%m-%d}", f"{here:%Y-%m}"


class Spending:
    """What one key has spent, by period. `reserved` is for running requests, and for those that have just ended."""

    __slots__ = ("elsewhere", "own", "reserved")

    def __init__(self) -> None:
        self.own: dict[str, float] = {}
        self.elsewhere: dict[str, dict[str, float]] = {}  # daemon -> its amounts, and what it has reserved
        self.reserved = 0.0

    def spent(self, period: str) -> float:
        """What all daemons have spent in a period."""
        amount = self.own.get(period, 0.0)
        if self.elsewhere:
            amount += sum(amounts.get(period, 0.0) for amounts in self.elsewhere.values())
        return amount


@dataclass(frozen=True, slots=True)
class Budget:
    """The budgets of a group, in `currency`; None for a period without a budget."""

    per_day: float | None
    per_month: float | None
    currency: str


class Budgets:
    """What all keys have spent. Lives as long as the process, belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.calendar = Calendar(clock)
        self._keys: dict[bytes | str, Spending] = {}
        self._dirty = False
        self.changed: Callable[[bytes | str], None] = _to_nobody  # called for every key that reserves or spends
        self.present: Callable[[], Collection[str]] = tuple  # the running daemons

    def spending(self, caller: Caller) -> Spending:
        """What a caller's key has spent."""
        return self.of(caller.account)

    def of(self, name: bytes | str) -> Spending:
        """The same by name: a key's digest, or an address."""
        found = self._keys.get(name)
        if found is None:
            found = self._keys[name] = Spending()
        return found

    def names(self) -> list[bytes | str]:
        """All keys that have spent something."""
        return list(self._keys)

    def at_ease(self, spending: Spending, budget: Budget) -> bool:
        """True if there is nothing to report or wait for: including reservations, less than ALMOST is used."""
        calendar, reserved = self.calendar, self.reserved(spending)
        calendar.now()
        limit = budget.per_day
        if limit is not None and spending.spent(calendar.day) + reserved >= limit * ALMOST:
            return False
        limit = budget.per_month
        return limit is None or spending.spent(calendar.month) + reserved < limit * ALMOST

    def reserved(self, spending: Spending) -> float:
        """The reservations of all running daemons."""
        amount = spending.reserved
        if spending.elsewhere:
            present = self.present()
            amount += sum(others.get(RESERVED, 0.0) for name, others in spending.elsewhere.items() if name in present)
        return amount

    def reserve_at_ease(self, name: bytes | str, budget: Budget, estimate: float) -> float | None:
        """`reserve` for most requests, in one step: None if the key would no longer be `at_ease`."""
        spending, calendar = self.of(name), self.calendar
        calendar.now()
        wanted = (self.reserved(spending) if spending.elsewhere else spending.reserved) + estimate
        limit = budget.per_day
        if limit is not None and spending.spent(calendar.day) + wanted >= limit * ALMOST:
            return None
        limit = budget.per_month
        if limit is not None and spending.spent(calendar.month) + wanted >= limit * ALMOST:
            return None
        spending.reserved += estimate
        self.changed(name)
        return estimate

    def left(self, spending: Spending, budget: Budget) -> float:
        """What may still be spent, excluding reservations. Raises BudgetExceeded if that is nothing."""
        now = self.calendar.now()
        left = math.inf
        for limit, period, ends, of in self._periods(budget):
            rest = limit - spending.spent(period)
            if rest <= 0:
                raise spent(limit, budget.currency, of, ends, now)
            left = min(left, rest)
        return left

    def reserve(self, name: bytes | str, budget: Budget, estimate: float, had: float = 0.0) -> float:
        """Reserve the maximum cost of a request, at most what is left; returns the amount. Raises BudgetExceeded.

        `had` is what was already reserved for it, and is released.
        """
        spending = self.of(name)
        spending.reserved = max(spending.reserved - had, 0.0)
        self.changed(name)
        left = self.left(spending, budget) - self.reserved(spending)
        if left <= 0:
            raise reserved()
        amount = min(estimate, left)
        spending.reserved += amount
        return amount

    def almost(self, spending: Spending, budget: Budget) -> float | None:
        """What is left, if ALMOST of a budget is spent; else None."""
        self.calendar.now()
        lefts = [
            limit - amount
            for limit, period, _, _ in self._periods(budget)
            if (amount := spending.spent(period)) >= limit * ALMOST
        ]
        return max(min(lefts), 0.0) if lefts else None

    def settle(self, name: bytes | str, amount: float, cost: float) -> None:
        """The request for which `amount` was reserved is over and cost `cost`."""
        spending = self.of(name)
        spending.reserved = max(spending.reserved - amount, 0.0)
        if not cost:
            if amount:
                self.changed(name)
            return
        self.calendar.now()
        own = spending.own
        for period in (self.calendar.day, self.calendar.month):
            if period in own:
                own[period] += cost
            else:
                own[period] = cost
                _forget(own, self.calendar)
        self._dirty = True
        self.changed(name)

    def _periods(self, budget: Budget) -> Iterator[tuple[float, str, float, str]]:
        calendar = self.calendar
        if budget.per_day is not None:
            yield budget.per_day, calendar.day, calendar.day_ends, "today"
        if budget.per_month is not None:
            yield budget.per_month, calendar.month, calendar.month_ends, "this month"

    def status(self, name: bytes | str, budget: Budget) -> dict[str, dict[str, Any]]:
        """The budgets of a key, for its owner: `limit`, `spent`, `reserved` and `ends` (seconds since the epoch)."""
        spending = self._keys.get(name) or Spending()
        self.calendar.now()
        return {
            "cost_per_day" if of == "today" else "cost_per_month": {
                "limit": limit,
                "spent": round(spending.spent(period), 9),
                "reserved": round(self.reserved(spending), 9),
                "ends": ends,
            }
            for limit, period, ends, of in self._periods(budget)
        }

    # -- over a restart ---------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any] | None:
        """What to save; None if nothing has changed since the last time."""
        if not self._dirty:
            return None
        self._dirty = False
        return {
            "keys": {name.hex(): dict(s.own) for name, s in self._keys.items() if isinstance(name, bytes) and s.own}
        }

    def load(self, directory: Path) -> None:
        """Load what another process saved. What cannot be read is dropped and logged."""
        try:
            saved = statefile.load(directory / FILE, VERSION)
            for name, amounts in saved.get("keys", {}).items():
                self.of(bytes.fromhex(name)).own = {str(p): float(a) for p, a in amounts.items() if float(a) >= 0}
        except (ValueError, TypeError, AttributeError):
            log.warning("the saved spending (%s) cannot be read; it starts from zero", FILE)


def _forget(amounts: dict[str, float], calendar: Calendar) -> None:
    """Drop all but the present periods and the newest others."""
    for present in (calendar.day, calendar.month):
        periods = sorted(period for period in amounts if len(period) == len(present) and period != present)
        for period in periods[: 1 - KEPT]:
            del amounts[period]


def _to_nobody(_: bytes | str) -> None:
    """What was spent is this daemon's own."""


def money(amount: float, currency: str) -> str:
    """An amount for people: `5 USD`, `0.25 USD`."""
    text = f"{amount:.2f}" if amount >= 0.01 else f"{amount:.6f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {currency}"


def spent(limit: float, currency: str, of: str, ends: float, now: float) -> BudgetExceeded:
    """The 402 for a budget that is spent until `ends`."""
    until = datetime.fromtimestamp(ends)
    again = "tomorrow" if of == "today" else f"on {until:%B} 1"
    return BudgetExceeded(
        f"The budget of {money(limit, currency)} for {of} is spent. It starts again {again}.",
        headers={"Retry-After": str(max(math.ceil(ends - now), 1)), "x-proxy-budget-remaining": "0"},
    )


def reserved() -> BudgetExceeded:
    """The 402 if everything that is left may be needed by running requests."""
    return BudgetExceeded(
        "What is left of the budget is reserved for running requests. Try again in a moment.",
        headers={"Retry-After": str(MOMENT)},
    )
