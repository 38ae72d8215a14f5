"""Budgets: reservation, settlement, reports, restarts and clock changes."""

import os
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from openai_proxy import statefile
from openai_proxy.auth.budgets import FILE, VERSION, Budget, Budgets, Spending, money
from openai_proxy.errors import BudgetExceeded
from openai_proxy.exchange import Caller

KEY = b"a" * 32
ANNA = Caller("10.0.0.1", "family", "aaaaaaaaaaaa", KEY)


class Clock:
    """A clock that the test sets to local times."""

    def __init__(self, text: str) -> None:
        self.set(text)

    def set(self, text: str) -> None:
        self.time = datetime.fromisoformat(text).timestamp()

    def __call__(self) -> float:
        return self.time


@pytest.fixture(params=["UTC", "Europe/Berlin", "Pacific/Kiritimati"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = request.param
    time.tzset()
    yield request.param
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


@pytest.fixture
def clock() -> Clock:
    return Clock("2026-11-29T12:00:00")


@pytest.fixture
def budgets(clock: Clock) -> Budgets:
    return Budgets(clock)


def spend(budgets: Budgets, cost: float, budget: Budget, estimate: float = 0.1) -> None:
    """Reserve and settle the cost of one request."""
    budgets.settle(KEY, budgets.reserve(KEY, budget, estimate), cost)


DAILY = Budget(1.0, None, "USD")
MONTHLY = Budget(None, 5.0, "EUR")


def test_a_daily_budget_starts_again_at_local_midnight(zone: str) -> None:
    clock = Clock("2026-11-29T23:30:00")
    budgets = Budgets(clock)
    spend(budgets, 1.0, DAILY)
    with pytest.raises(BudgetExceeded) as caught:
        budgets.left(budgets.spending(ANNA), DAILY)
    assert caught.value.headers["Retry-After"] == "1800"
    assert str(caught.value) == "The budget of 1 USD for today is spent. It starts again tomorrow."
    clock.set("2026-11-30T00:00:00")
    assert budgets.left(budgets.spending(ANNA), DAILY) == 1.0


@pytest.mark.parametrize("zone", ["Europe/Berlin"], indirect=True)
def test_a_day_of_twenty_five_hours(zone: str) -> None:
    clock = Clock("2026-10-25T00:00:00")
    budgets = Budgets(clock)
    spend(budgets, 1.0, DAILY)
    with pytest.raises(BudgetExceeded) as caught:
        budgets.left(budgets.spending(ANNA), DAILY)
    assert caught.value.headers["Retry-After"] == str(25 * 3600)


def test_a_month_is_a_calendar_month(budgets: Budgets, clock: Clock) -> None:
    spend(budgets, 5.5, MONTHLY)
    with pytest.raises(BudgetExceeded, match=r"5 EUR for this month is spent\. It starts again on December 1\."):
        budgets.left(budgets.spending(ANNA), MONTHLY)
    clock.set("2026-12-01T00:00:00")
    assert budgets.left(budgets.spending(ANNA), MONTHLY) == 5.0


def test_reserved_money_cannot_be_spent_twice(budgets: Budgets) -> None:
    assert budgets.reserve(KEY, DAILY, 0.7) == 0.7
    assert budgets.reserve(KEY, DAILY, 0.7) == pytest.approx(0.3), "a reservation is limited to the remaining budget"
    with pytest.raises(BudgetExceeded, match="is reserved") as caught:
        budgets.reserve(KEY, DAILY, 0.1)
    assert caught.value.headers["Retry-After"] == "2"
    budgets.settle(KEY, 0.7, 0.0)
    assert budgets.reserve(KEY, DAILY, 0.1) == 0.1, "a failed request releases its reservation"


def test_a_budget_smaller_than_one_request_admits_one(budgets: Budgets) -> None:
    tiny = Budget(0.001, None, "USD")
    spend(budgets, 0.5, tiny, estimate=3.0)
    with pytest.raises(BudgetExceeded):
        budgets.left(budgets.spending(ANNA), tiny)


def test_a_request_close_to_the_budget_takes_the_slow_way(budgets: Budgets) -> None:
    assert budgets.reserve_at_ease(KEY, DAILY, 0.7) == 0.7
    assert budgets.reserve_at_ease(KEY, DAILY, 0.2) is None
    assert budgets.reserve_at_ease(KEY, MONTHLY, 3.4) is None
    assert budgets.reserve_at_ease(KEY, MONTHLY, 0.2) == 0.2
    assert budgets.spending(ANNA).reserved == pytest.approx(0.9)


def test_the_rest_is_reported_once_four_fifths_are_spent(budgets: Budgets) -> None:
    both = Budget(1.0, 5.0, "USD")
    spend(budgets, 0.79, both)
    spending = budgets.spending(ANNA)
    assert budgets.almost(spending, both) is None
    assert budgets.at_ease(spending, both)
    spend(budgets, 0.02, both)
    assert budgets.almost(spending, both) == pytest.approx(0.19)
    assert not budgets.at_ease(spending, both)
    status = budgets.status(b"a" * 32, both)
    assert status["cost_per_day"]["spent"] == status["cost_per_month"]["spent"] == pytest.approx(0.81)
    assert status["cost_per_month"]["limit"] == 5.0


def test_changing_the_clock_back_and_forth_resets_no_budget(budgets: Budgets, clock: Clock) -> None:
    spend(budgets, 0.9, DAILY)
    clock.set("2026-11-28T12:00:00")
    spend(budgets, 0.1, DAILY)
    for year in range(2030, 2040):
        clock.set(f"{year}-01-01T12:00:00")
        spend(budgets, 0.1, DAILY)
    clock.set("2026-11-29T13:00:00")
    spend(budgets, 0.01, DAILY)
    clock.set("2026-11-29T14:00:00")
    spend(budgets, 0.01, DAILY)
    assert budgets.left(budgets.spending(ANNA), DAILY) == pytest.approx(0.98)
    assert len(budgets.spending(ANNA).own) <= 6


def test_the_previous_day_is_kept_if_the_clock_is_set_back(budgets: Budgets, clock: Clock) -> None:
    spend(budgets, 0.9, DAILY)
    clock.set("2026-11-30T00:00:10")
    spend(budgets, 0.1, DAILY)
    clock.set("2026-11-29T23:59:50")
    assert budgets.left(budgets.spending(ANNA), DAILY) == pytest.approx(0.1)


def test_spending_survives_a_restart(budgets: Budgets, clock: Clock, tmp_path: Path) -> None:
    assert budgets.dump() is None
    spend(budgets, 0.6, DAILY)
    budgets.settle("10.0.0.9", 0.0, 1.0)
    members = budgets.dump()
    assert members is not None
    statefile.save(tmp_path / FILE, VERSION, members)
    assert budgets.dump() is None, "there is nothing to write without a change"
    after = Budgets(clock)
    after.load(tmp_path)
    assert after.left(after.spending(ANNA), DAILY) == pytest.approx(0.4)
    assert after.names() == [b"a" * 32]


@pytest.mark.parametrize("text", ['{"version":1,"keys":{"zz":{}}}', '{"version":1,"keys":[]}', "{"])
def test_an_unreadable_file_is_ignored(text: str, tmp_path: Path, clock: Clock) -> None:
    (tmp_path / FILE).write_text(text)
    budgets = Budgets(clock)
    budgets.load(tmp_path)
    assert budgets.left(budgets.spending(ANNA), DAILY) == 1.0


def test_spending_of_other_daemons_counts(budgets: Budgets) -> None:
    spending = budgets.spending(ANNA)
    budgets.calendar.now()
    spending.elsewhere["other"] = {budgets.calendar.day: 0.6}
    assert budgets.left(spending, DAILY) == pytest.approx(0.4)
    assert Spending().spent("2026") == 0


def test_amounts_are_formatted_for_people() -> None:
    assert [money(amount, "EUR") for amount in (5, 0.25, 12.5, 100, 0.0005)] == [
        "5 EUR", "0.25 EUR", "12.5 EUR", "100 EUR", "0.0005 EUR",
    ]  # fmt: skip
