"""The spending of a key by several daemons is added up."""

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


def pass_on(book: Shared, other: Shared, origin: str, at: float) -> None:
    """Pass the record of daemon `origin` from one to the other, as the store does."""
    name = f"{KEY.hex()}@{origin}"
    found = book.tables[TABLE].read(name)
    assert found is not None
    assert other.tables[TABLE].receive(name, at, found[0])


def test_the_other_daemons_spending_counts() -> None:
    (first, one), (second, two) = daemon("a"), daemon("b")
    first.settle(KEY, 0.0, 0.7)
    second.settle(KEY, 0.0, 0.2)
    pass_on(one, two, "a", 1.0)
    assert second.left(second.of(KEY), DAILY) == pytest.approx(0.1)
    assert second.reserve_at_ease(KEY, DAILY, 0.01) is None, "an almost spent budget takes the slow way"
    first.settle(KEY, 0.0, 0.1)
    pass_on(one, two, "a", 2.0)
    with pytest.raises(BudgetExceeded):
        second.left(second.of(KEY), DAILY)
    assert first.left(first.of(KEY), DAILY) == pytest.approx(0.2), "a daemon does not receive its own spending back"


def test_a_daemon_without_its_state_gets_its_spending_back() -> None:
    (first, one), (again, same) = daemon("a"), daemon("a")
    first.settle(KEY, 0.0, 0.7)
    pass_on(one, same, "a", 1.0)
    assert again.left(again.of(KEY), DAILY) == pytest.approx(0.3)


def test_invalid_amounts_are_ignored(caplog: pytest.LogCaptureFixture) -> None:
    book, shared = daemon("a")
    shared.tables[TABLE].receive(f"{KEY.hex()}@b", 1.0, {"2026-11-29": "much"})
    shared.tables[TABLE].receive("zz@b", 1.0, {})
    assert book.left(book.of(KEY), DAILY) == 1.0
    assert caplog.text.count("cannot be read") == 2


def test_the_other_daemons_reservations_count() -> None:
    (first, one), (second, two) = daemon("a"), daemon("b")
    two.present = frozenset(("a", "b"))
    assert first.reserve(KEY, DAILY, 0.7) == 0.7
    pass_on(one, two, "a", 1.0)
    assert second.reserve(KEY, DAILY, 0.7) == pytest.approx(0.3)
    with pytest.raises(BudgetExceeded, match="is reserved"):
        second.reserve(KEY, DAILY, 0.7)
    assert second.reserve(KEY, DAILY, 0.1, had=0.3) == 0.1, "the request's earlier reservation is released"
    first.settle(KEY, 0.7, 0.0)
    first.settle(KEY, 0.0, 0.1)
    pass_on(one, two, "a", 2.0)
    assert second.reserve(KEY, DAILY, 1.0) == pytest.approx(0.8)


def test_reservations_of_a_vanished_daemon_do_not_count() -> None:
    (first, one), (second, two) = daemon("a"), daemon("b")
    first.reserve(KEY, DAILY, 1.0)
    pass_on(one, two, "a", 1.0)
    two.present = frozenset(("a", "b"))
    assert not second.at_ease(second.of(KEY), DAILY)
    two.present = frozenset("b")
    assert second.reserve_at_ease(KEY, DAILY, 0.5) == 0.5
    again, same = daemon("a")
    pass_on(one, same, "a", 1.0)
    assert again.reserved(again.of(KEY)) == 0.0, "a restarted daemon must not keep its old reservations"
    assert same.tables[TABLE].read(f"{KEY.hex()}@a") is None, "the restarted daemon has no record to publish"


def test_records_are_named_after_keys() -> None:
    book, shared = daemon("a")
    book.settle(KEY, 0.0, 0.5)
    book.settle("10.0.0.9", 0.0, 0.5)
    assert [name for name, _ in shared.tables[TABLE]._names()] == [f"{KEY.hex()}@a"]


def test_after_a_kill_the_store_is_newer_than_the_file() -> None:
    (first, one), (again, same) = daemon("a"), daemon("a")
    first.settle(KEY, 0.0, 0.7)
    again.settle(KEY, 0.0, 0.2)  # according to its file
    ((name, at),) = same.tables[TABLE]._names()
    same.tables[TABLE]._stamp(name, at)
    pass_on(one, same, "a", 1.0)
    assert again.left(again.of(KEY), DAILY) == pytest.approx(0.3)
