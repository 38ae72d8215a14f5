"""What several daemons have spent of a key's money is one sum."""

import pytest

from openai_proxy.auth.budgets import Budget, Budgets
from openai_proxy.auth.shared_budgets import TABLE, SharedBudgets
from openai_proxy.errors import BudgetExceeded
from openai_proxy.store.shared import Shared

KEY = b"a" * 32
DAILY = Budget(1.0, None, "USD")


def daemon(origin: str) -> tuple[Budgets, Shared]:
    book, shared = Budgets(), Shared(origin)
    SharedBudgets(book, shared)
    return book, shared


def tell(book: Shared, other: Shared, origin: str, at: float) -> None:
    """Hand the record of daemon `origin` from one to the other, as the store does."""
    name = f"{KEY.hex()}@{origin}"
    found = book.tables[TABLE].read(name)
    assert found is not None
    assert other.tables[TABLE].receive(name, at, found[0])


def test_what_the_other_spent_counts_here() -> None:
    (first, one), (second, two) = daemon("a"), daemon("b")
    first.settle(KEY, 0.0, 0.7)
    second.settle(KEY, 0.0, 0.2)
    tell(one, two, "a", 1.0)
    assert second.left(second.of(KEY), DAILY) == pytest.approx(0.1)
    assert second.reserve_at_ease(second.of(KEY), DAILY, 0.01) is None, "it is almost spent"
    first.settle(KEY, 0.0, 0.1)
    tell(one, two, "a", 2.0)
    with pytest.raises(BudgetExceeded):
        second.left(second.of(KEY), DAILY)
    assert first.left(first.of(KEY), DAILY) == pytest.approx(0.2), "nobody is told of what it spent itself"


def test_a_daemon_without_its_state_learns_what_it_had_spent() -> None:
    (first, one), (again, same) = daemon("a"), daemon("a")
    first.settle(KEY, 0.0, 0.7)
    tell(one, same, "a", 1.0)
    assert again.left(again.of(KEY), DAILY) == pytest.approx(0.3)


def test_what_is_no_amount_is_not_taken(caplog: pytest.LogCaptureFixture) -> None:
    book, shared = daemon("a")
    shared.tables[TABLE].receive(f"{KEY.hex()}@b", 1.0, {"2026-11-29": "much"})
    shared.tables[TABLE].receive("zz@b", 1.0, {})
    assert book.left(book.of(KEY), DAILY) == 1.0
    assert caplog.text.count("cannot be read") == 2


def test_the_names_are_those_of_keys() -> None:
    book, shared = daemon("a")
    book.settle(KEY, 0.0, 0.5)
    book.settle("10.0.0.9", 0.0, 0.5)
    assert [name for name, _ in shared.tables[TABLE]._names()] == [f"{KEY.hex()}@a"]
