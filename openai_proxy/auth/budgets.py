"""Budgets: money a key may spend in a day and in a calendar month of the daemon's own time zone.

What a request may cost is reserved before it is sent and settled once its tokens are known, so that requests at the
same time do not spend the same money. A request is let in as long as anything is left, however dear it may become;
then all that is left is reserved. Amounts are kept by the name of their period ("2026-11-29", "2026-11"), those of a
few periods back too: a clock that is set back and forth again forgives nobody.

Several daemons add up what each has spent (`Spending.elsewhere`); what is reserved is each one's own.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from openai_proxy import statefile
from openai_proxy.config.proxy import GroupLimits
from openai_proxy.errors import BudgetExceeded
from openai_proxy.exchange import Caller

log = logging.getLogger(__name__)

FILE: Final = "budgets.json"
VERSION: Final = 1
ALMOST: Final = 0.8  # of a budget, from which on a caller is told what is left
KEPT: Final = 3  # days and months that are kept
MOMENT: Final = 2  # seconds after which a refused caller may try again where the rest is only reserved


class Calendar:
    """The present day and month where the daemon is."""

    __slots__ = ("begins", "clock", "day", "day_ends", "month", "month_ends")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.begins = self.day_ends = self.month_ends = 0.0
        self.day = self.month = ""

    def now(self) -> float:
        """The time; `day` and `month` are those it is in."""
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
    """What one key has spent, by period. `reserved` is for requests that run, and for those that have just ended."""

    __slots__ = ("elsewhere", "own", "reserved")

    def __init__(self) -> None:
        self.own: dict[str, float] = {}
        self.elsewhere: dict[str, dict[str, float]] = {}  # daemon -> its amounts
        self.reserved = 0.0

    def spent(self, period: str) -> float:
        """What all daemons have spent in a period."""
        amount = self.own.get(period, 0.0)
        if self.elsewhere:
            amount += sum(amounts.get(period, 0.0) for amounts in self.elsewhere.values())
        return amount


@dataclass(frozen=True, slots=True)
class Budget:
    """The budgets of a group, in `currency`; None: none."""

    per_day: float | None
    per_month: float | None
    currency: str

    @classmethod
    def of(cls, limits: GroupLimits, currency: str) -> "Budget | None":
        """None for a group without budgets."""
        if limits.cost_per_day is None and limits.cost_per_month is None:
            return None
        return cls(limits.cost_per_day, limits.cost_per_month, currency)


class Budgets:
    """What all keys have spent. Lives as long as the process, belongs to the event loop."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.calendar = Calendar(clock)
        self._keys: dict[bytes | str, Spending] = {}
        self._dirty = False
        self.changed: Callable[[bytes | str], None] = _to_nobody  # told of every key that has spent something

    def spending(self, caller: Caller) -> Spending:
        """What a caller's key has spent."""
        return self.of(caller.key_digest or caller.remote)

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
        """True if nothing has to be said or waited for: with what is reserved, less than ALMOST is used."""
        calendar = self.calendar
        calendar.now()
        limit = budget.per_day
        if limit is not None and spending.spent(calendar.day) + spending.reserved >= limit * ALMOST:
            return False
        limit = budget.per_month
        return limit is None or spending.spent(calendar.month) + spending.reserved < limit * ALMOST

    def reserve_at_ease(self, spending: Spending, budget: Budget, estimate: float) -> float | None:
        """`reserve` for most requests, in one go: None where they are not `at_ease`, or more is needed than is left."""
        calendar, own, reserved = self.calendar, spending.own, spending.reserved
        if spending.elsewhere or not calendar.begins <= calendar.clock() < calendar.day_ends:
            return self.reserve(spending, budget, estimate) if self.at_ease(spending, budget) else None
        limit = budget.per_day
        if limit is not None:
            used = own.get(calendar.day, 0.0) + reserved
            if used >= limit * ALMOST or used + estimate > limit:
                return None
        limit = budget.per_month
        if limit is not None:
            used = own.get(calendar.month, 0.0) + reserved
            if used >= limit * ALMOST or used + estimate > limit:
                return None
        spending.reserved = reserved + estimate
        return estimate

    def left(self, spending: Spending, budget: Budget) -> float:
        """What may still be spent, reservations aside. Raises BudgetExceeded if that is nothing."""
        now = self.calendar.now()
        left = math.inf
        for limit, period, ends, of in self._periods(budget):
            rest = limit - spending.spent(period)
            if rest <= 0:
                raise spent(limit, budget.currency, of, ends, now)
            left = min(left, rest)
        return left

    def reserve(self, spending: Spending, budget: Budget, estimate: float) -> float:
        """Set aside what a request may cost, at most what is left; the amount. Raises BudgetExceeded."""
        left = self.left(spending, budget) - spending.reserved
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
                "reserved": round(spending.reserved, 9),
                "ends": ends,
            }
            for limit, period, ends, of in self._periods(budget)
        }

    # -- over a restart ---------------------------------------------------------------------------------------------

    def dump(self) -> dict[str, Any] | None:
        """What is to be kept of it; None if nothing has changed since the last time."""
        if not self._dirty:
            return None
        self._dirty = False
        return {
            "keys": {name.hex(): dict(s.own) for name, s in self._keys.items() if isinstance(name, bytes) and s.own}
        }

    def load(self, directory: Path) -> None:
        """Take over what another process kept. What cannot be read is forgotten, and the log says so."""
        try:
            saved = statefile.load(directory / FILE, VERSION)
            for name, amounts in saved.get("keys", {}).items():
                self.of(bytes.fromhex(name)).own = {str(p): float(a) for p, a in amounts.items() if float(a) >= 0}
        except (ValueError, TypeError, AttributeError) as error:
            log.warning("saved budgets not read: %s", error)


def _forget(amounts: dict[str, float], calendar: Calendar) -> None:
    """Drop all but the present periods and the newest others."""
    for present in (calendar.day, calendar.month):
        periods = sorted(period for period in amounts if len(period) == len(present) and period != present)
        for period in periods[: 1 - KEPT]:
            del amounts[period]


def _to_nobody(_: bytes | str) -> None:
    """What was spent is this daemon's own."""


def money(amount: float, currency: str) -> str:
    """An amount as it is said: `5 USD`, `0.25 USD`."""
    text = f"{amount:.2f}" if amount >= 0.01 else f"{amount:.6f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {currency}"


def spent(limit: float, currency: str, of: str, ends: float, now: float) -> BudgetExceeded:
    """The 402 for a budget that is spent until `ends`."""
    until = datetime.fromtimestamp(ends)
    again = "tomorrow" if of == "today" else f"on {until:%B} 1"
    return BudgetExceeded(
        f"The budget of {money(limit, currency)} for {of} is spent. It begins anew {again}.",
        headers={"Retry-After": str(max(math.ceil(ends - now), 1)), "x-proxy-budget-remaining": "0"},
    )


def reserved() -> BudgetExceeded:
    """The 402 where all that is left may be needed for requests that still run."""
    return BudgetExceeded(
        "What is left of the budget is set aside for requests that are still running. Try again in a moment.",
        headers={"Retry-After": str(MOMENT)},
    )
