"""Counting: windows, refusals and restarts, on a clock of the test's own; and shared through a real Redis."""

import asyncio
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from openai_proxy.auth.limits import DAY, FILE, Allowance, Book
from openai_proxy.config.proxy import GroupLimits
from openai_proxy.errors import RateLimited
from openai_proxy.exchange import Caller
from tests.harness.daemon import free_port

ME = Caller("192.168.1.2", "family", "a" * 12, b"\x01" * 32)
YOU = Caller("192.168.1.2", "family", "b" * 12, b"\x02" * 32)


class Clock:
    now = 20_000 * DAY + 3600.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


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
    book.enter(YOU, limits)  # each key for itself
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


def test_tokens_are_what_answers_took(clock: Clock) -> None:
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
def test_large_and_small_limits_are_told_in_plain_numbers(clock: Clock, limit: int, words: str) -> None:
    book, limits = Book(clock), allowance(tokens_per_day=limit)
    book.enter(ME, limits)
    book.used(ME, limit)
    error = refused(book, ME, limits)
    assert words in str(error)
    assert error.headers["x-ratelimit-limit-tokens"] == str(limit)


def test_one_request_at_a_time_is_told_as_one(clock: Clock) -> None:
    book, limits = Book(clock), allowance(concurrent_requests=1)
    book.enter(ME, limits)
    assert "1 request is running" in str(refused(book, ME, limits))


def test_what_runs_at_the_same_time(clock: Clock) -> None:
    book, limits = Book(clock), allowance(concurrent_requests=2)
    first = book.enter(ME, limits)
    book.enter(ME, limits)
    error = refused(book, ME, limits)
    assert (error.code, error.headers["Retry-After"]) == ("too_many_requests", "1")
    first.release()
    book.enter(ME, limits)


def test_a_restart_forgives_nobody(clock: Clock, tmp_path: Path) -> None:
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
def test_a_damaged_file_counts_as_none(saved: bytes, clock: Clock, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(saved)
    book = Book(clock)
    book.load(tmp_path)
    book.enter(ME, allowance(requests_per_minute=1))


def test_a_clock_set_back_begins_anew(clock: Clock) -> None:
    book, limits = Book(clock), allowance(requests_per_minute=1)
    book.enter(ME, limits)
    clock.now -= 10 * DAY
    book.enter(ME, limits)


# -- Redis

needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


@needs_redis
async def test_two_daemons_share_what_redis_counts(redis_port: int) -> None:
    from openai_proxy.auth.shared_limits import SharedBook

    first, second = (SharedBook(f"redis://127.0.0.1:{redis_port}/0", Book()) for _ in range(2))
    limits = allowance(requests_per_minute=3, tokens_per_day=100, concurrent_requests=5)
    try:
        for book in (first, second, first):
            (await book.enter(ME, limits)).release()
        with pytest.raises(RateLimited) as caught:
            await second.enter(ME, limits)
        assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
        await first.enter(YOU, limits)
        await first.used(YOU, limits, 120)
        with pytest.raises(RateLimited, match="tokens a day"):
            await second.enter(YOU, limits)
    finally:
        await first.aclose()
        await second.aclose()


@needs_redis
async def test_many_at_once_never_get_more_than_the_limit(redis_port: int) -> None:
    from openai_proxy.auth.shared_limits import SharedBook

    books = [SharedBook(f"redis://127.0.0.1:{redis_port}/1", Book()) for _ in range(3)]
    limits = allowance(requests_per_minute=10)
    try:
        tries = [book.enter(ME, limits) for book in books for _ in range(9)]
        results = await asyncio.gather(*tries, return_exceptions=True)
        assert sum(not isinstance(result, BaseException) for result in results) <= 10
        assert all(isinstance(r, RateLimited) for r in results if isinstance(r, BaseException))
    finally:
        for book in books:
            await book.aclose()


async def test_without_redis_each_daemon_counts_for_itself(caplog: pytest.LogCaptureFixture) -> None:
    from openai_proxy.auth.shared_limits import SharedBook

    book = SharedBook(f"redis://127.0.0.1:{free_port()}/0", Book())
    limits = allowance(requests_per_minute=2)
    try:
        await book.enter(ME, limits)
        await book.enter(ME, limits)
        with pytest.raises(RateLimited):
            await book.enter(ME, limits)
        assert "counts for itself" in caplog.text
    finally:
        await book.aclose()


def test_the_library_is_not_imported_without_need() -> None:
    code = "import sys, openai_proxy.daemon; sys.exit('limits' in sys.modules or 'redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
