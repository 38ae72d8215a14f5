"""Counting: windows, refusals and restarts, on a clock set by the test, alone and with other daemons."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from openai_proxy.auth.limits import DAY, FILE, Allowance, Book, Window
from openai_proxy.auth.shared_limits import SharedAccounts
from openai_proxy.config.proxy import GroupLimits
from openai_proxy.errors import RateLimited
from openai_proxy.exchange import Caller
from openai_proxy.store.shared import LATER, SOON, Shared, StoreLink
from tests.harness.clock import Clock

ME = Caller("192.168.1.2", "family", "a" * 12, b"\x01" * 32)
YOU = Caller("192.168.1.2", "family", "b" * 12, b"\x02" * 32)


@pytest.fixture
def clock() -> Clock:
    return Clock(20_000 * DAY + 3600.0)


def allowance(**limits: int) -> Allowance:
    found = Allowance.of(GroupLimits(**limits))
    assert found is not None
    return found


def refused(book: Book, caller: Caller, limits: Allowance) -> RateLimited:
    with pytest.raises(RateLimited) as caught:
        book.enter(caller, limits)
    return caught.value


def test_a_group_without_limits_has_no_allowance() -> None:
    assert Allowance.of(GroupLimits()) is None


def test_requests_a_minute(clock: Clock) -> None:
    book, limits = Book(clock), allowance(requests_per_minute=2)
    book.enter(ME, limits)
    clock.now += 20
    book.enter(ME, limits)
    error = refused(book, ME, limits)
    assert (error.status, error.code) == (429, "rate_limit_exceeded")
    assert error.headers == {
        "Retry-After": "40",
        "x-ratelimit-limit-requests": "2",
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "40s",
    }
    book.enter(YOU, limits)  # each key has its own count
    clock.now += 40
    book.enter(ME, limits)


def test_a_day_ends_at_midnight_utc(clock: Clock) -> None:
    book, limits = Book(clock), allowance(requests_per_day=1)
    book.enter(ME, limits)
    assert refused(book, ME, limits).headers["Retry-After"] == str(23 * 3600)
    clock.now += 23 * 3600
    book.enter(ME, limits)


def test_refused_requests_are_not_counted(clock: Clock) -> None:
    book, limits = Book(clock), allowance(requests_per_minute=1, requests_per_day=2)
    book.enter(ME, limits)
    for _ in range(5):
        refused(book, ME, limits)
    clock.now += 60
    book.enter(ME, limits)
    clock.now += 60
    assert "2 requests a day" in str(refused(book, ME, limits))


def test_answers_are_charged_their_tokens(clock: Clock) -> None:
    book, limits = Book(clock), allowance(tokens_per_minute=100, tokens_per_day=150)
    book.enter(ME, limits)
    book.used(ME, 99)
    book.enter(ME, limits)
    book.used(ME, 30)
    assert refused(book, ME, limits).headers["x-ratelimit-limit-tokens"] == "100"
    clock.now += 60
    book.enter(ME, limits)
    book.used(ME, 30)
    assert "150 tokens a day" in str(refused(book, ME, limits))


@pytest.mark.parametrize(("limit", "words"), [(2_000_000, "2000000 tokens a day"), (1, "1 token a day")])
def test_limits_are_shown_as_plain_numbers(clock: Clock, limit: int, words: str) -> None:
    book, limits = Book(clock), allowance(tokens_per_day=limit)
    book.enter(ME, limits)
    book.used(ME, limit)
    error = refused(book, ME, limits)
    assert words in str(error)
    assert error.headers["x-ratelimit-limit-tokens"] == str(limit)


def test_a_limit_of_one_request_is_singular(clock: Clock) -> None:
    book, limits = Book(clock), allowance(concurrent_requests=1)
    book.enter(ME, limits)
    assert "1 request is running" in str(refused(book, ME, limits))


def test_concurrent_requests(clock: Clock) -> None:
    book, limits = Book(clock), allowance(concurrent_requests=2)
    first = book.enter(ME, limits)
    book.enter(ME, limits)
    error = refused(book, ME, limits)
    assert (error.code, error.headers["Retry-After"]) == ("too_many_requests", "1")
    first.release()
    book.enter(ME, limits)


def test_counters_survive_a_restart(clock: Clock, tmp_path: Path) -> None:
    book, limits = Book(clock), allowance(requests_per_minute=2, tokens_per_day=50)
    book.enter(ME, limits)
    book.used(ME, 60)
    book.save(tmp_path)
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    other = Book(clock)
    other.load(tmp_path)
    assert "tokens a day" in str(refused(other, ME, limits))
    other.enter(YOU, limits)


def test_accounts_of_yesterday_are_dropped(clock: Clock, tmp_path: Path) -> None:
    book = Book(clock)
    book.enter(ME, allowance(requests_per_day=9)).release()
    clock.now += DAY
    book.save(tmp_path)
    assert (tmp_path / FILE).read_bytes() == b'{"version":1,"accounts":{}}'
    assert book._accounts == {}


@pytest.mark.parametrize("saved", [b"", b"[]", b"{", b'{"zz":[]}', b'{"01":[[1,2]]}', b'{"01":5}'])
def test_a_damaged_file_is_ignored(saved: bytes, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(saved)
    book = Book(clock)
    book.load(tmp_path)
    book.enter(ME, allowance(requests_per_minute=1))


def test_a_clock_set_back_starts_a_new_window(clock: Clock) -> None:
    book, limits = Book(clock), allowance(requests_per_minute=1)
    book.enter(ME, limits)
    clock.now -= 10 * DAY
    book.enter(ME, limits)


def test_overlapping_windows_of_two_daemons_are_one() -> None:
    window = Window(60.0)
    window.now(1000.0)
    window.count = 2
    window.take("other", 990.0, 3, 1005.0)
    assert window.now(1005.0) == 5
    assert window.left(1005.0) == 45.0
    window.take("other", 990.0, 4, 1010.0)
    window.take("third", 1002.0, 1, 1010.0)
    assert window.now(1010.0) == 7
    assert window.now(1050.0) == 1, "after the window's end, only the third daemon's count remains"
    assert window.now(1070.0) == 0


def test_a_restarted_daemon_continues_its_window() -> None:
    window = Window(60.0)
    window.resume(1000.0, 7, 1030.0)
    assert (window.now(1030.0), window.left(1030.0)) == (7, 30.0)
    window.resume(900.0, 99, 1031.0)
    assert window.now(1031.0) == 7, "a window that has ended must not replace the current one"


class Others(StoreLink):
    """A store in which another daemon has already counted: `rows` of ME."""

    live = True

    def __init__(self, shared: Shared, rows: list[tuple[float, float]]) -> None:
        self._shared = shared
        self.rows = rows
        self.asked = 0
        self.woken = 0.0

    def wake(self, *, within: float = 0.0) -> None:
        self.woken = within  # records when the store would be written

    async def exchange(self, table: str, name: str, prefix: str) -> None:
        self.asked += 1
        at = self._shared.tables[table].stamps[name]
        self._shared.tables[table].receive(f"{prefix}other", at + 1, self.rows)


async def test_close_to_a_limit_the_store_is_queried(clock: Clock) -> None:
    book, shared, limits = Book(clock), Shared("me"), allowance(requests_per_minute=100)
    accounts = SharedAccounts(book, shared)
    others = shared.link = Others(shared, [(clock.now, 99), (0, 0), (0, 0), (0, 0)])
    account = book.account(ME)
    assert not accounts.asks(account, limits), "far from the limit, the store is not queried"
    for _ in range(80):
        book.enter(ME, limits)
    assert accounts.asks(account, limits)
    with pytest.raises(RateLimited) as caught:
        await accounts.enter(ME, limits)
    assert (others.asked, account.windows[0].count) == (1, 80)
    assert caught.value.headers["Retry-After"] == "60"


async def test_far_from_its_limits_a_key_is_published_a_little_later(clock: Clock) -> None:
    book, shared = Book(clock), Shared("me")
    accounts = SharedAccounts(book, shared)
    others = shared.link = Others(shared, [])
    for limits, within in (
        (allowance(requests_per_day=10_000), LATER),
        (allowance(requests_per_day=10_000, tokens_per_minute=1_900), SOON),
        (allowance(requests_per_day=1_000), SOON),
    ):
        assert not accounts.asks(book.account(ME), limits)
        book.enter(ME, limits)
        assert others.woken == within


async def test_the_tokens_of_all_daemons_count(clock: Clock) -> None:
    book, shared, limits = Book(clock), Shared("me"), allowance(tokens_per_day=100)
    accounts = SharedAccounts(book, shared)
    shared.link = Others(shared, [(0, 0), (0, 0), (0, 0), (clock.now - 60, 100)])
    book.used(ME, 95)
    with pytest.raises(RateLimited, match="tokens a day"):
        await accounts.enter(ME, limits)
    assert book.account(ME).running == 0


def test_the_library_is_not_imported_without_need() -> None:
    code = "import sys, openai_proxy.daemon; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
