"""Resting keys and opening breakers, on a clock set by the test."""

import pytest

from openai_proxy.errors import UpstreamTimeout
from openai_proxy.exchange import Target
from openai_proxy.upstream.health import FIRST_PAUSE, LONE_PAUSE, STRIKES, Health
from openai_proxy.upstream.keyring import FIRST_REST, FORBIDDEN, LONGEST_REST, NO_MONEY, REFUSED, KeyRing
from openai_proxy.upstream.refusals import body_says, retry_after
from tests.harness.clock import Clock

KEYS = ("k-1", "k-2", "k-3")
A, B = Target("a", "m"), Target("b", "m")


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_keys_take_turns(clock: Clock) -> None:
    ring = KeyRing(clock)
    assert [ring.pick("a", KEYS) for _ in range(4)] == ["k-1", "k-2", "k-3", "k-1"]
    assert ring.pick("b", ()) is None
    assert ring.pick("b", ("only",)) == "only"


@pytest.mark.parametrize(
    ("status", "asked", "money", "seconds"),
    [
        (429, None, False, FIRST_REST),
        (429, 42.0, False, 42.0),
        (429, None, True, NO_MONEY),
        (429, 3600.0, True, 3600.0),
        (402, None, False, NO_MONEY),
        (401, 1.0, False, REFUSED),
        (403, None, False, FORBIDDEN),
        (429, 1e12, False, 86_400.0),
    ],
)
def test_a_refused_key_rests(clock: Clock, status: int, asked: float | None, money: bool, seconds: float) -> None:
    ring = KeyRing(clock)
    ring.refused("a", "k-2", status, asked, money=money)
    assert "k-2" not in [ring.pick("a", KEYS) for _ in range(6)]
    assert ring.cooldown_left("a", ("k-2",)) == seconds
    clock.now += seconds
    assert "k-2" in [ring.pick("a", KEYS) for _ in range(3)]


def test_a_key_refused_again_rests_twice_as_long_up_to_a_limit(clock: Clock) -> None:
    ring = KeyRing(clock)
    rests = []
    for _ in range(9):
        ring.refused("a", "k-1", 429, None, money=False)
        rests.append(ring.cooldown_left("a", ("k-1",)))
    assert rests[:3] == [10.0, 20.0, 40.0]
    assert rests[-1] == LONGEST_REST
    ring.answered("a", "k-1")
    assert ring.all_healthy


def test_if_all_keys_rest_the_one_available_soonest_is_used(clock: Clock) -> None:
    ring = KeyRing(clock)
    for key, seconds in zip(KEYS, (30.0, 5.0, 60.0), strict=True):
        ring.refused("a", key, 429, seconds, money=False)
    assert {ring.pick("a", KEYS) for _ in range(3)} == {"k-2"}
    assert ring.cooldown_left("a", KEYS) == 5.0


def test_a_key_rests_for_one_connection_only(clock: Clock) -> None:
    ring = KeyRing(clock)
    ring.refused("a", "k-1", 401, None, money=False)
    assert ring.cooldown_left("b", ("k-1",)) == 0.0
    ring.forget("b")
    assert ring.cooldown_left("a", ("k-1",)) > 0
    ring.forget("a")
    assert ring.cooldown_left("a", ("k-1",)) == 0.0


def strike(health: Health, times: int = STRIKES) -> None:
    for _ in range(times):
        health.record_failure(A, "asked", UpstreamTimeout("The connection 'a' is slow."))


def test_a_broken_target_is_skipped_and_then_tried_once(clock: Clock) -> None:
    health = Health(clock)
    strike(health, STRIKES - 1)
    assert health.ordered((A, B), "asked", {}) == (A, B)
    strike(health, 1)
    assert health.ordered((A, B), "asked", {}) == (B, A)
    clock.now += FIRST_PAUSE
    assert health.ordered((A, B), "asked", {}) == (A, B)
    health.record_attempt(A, "asked")
    assert health.ordered((A, B), "asked", {}) == (B, A), "a second request must not try the broken target"
    strike(health, 1)
    assert health.cooldown_left(A, "asked", ()) == 2 * FIRST_PAUSE
    clock.now += 2 * FIRST_PAUSE
    health.record_attempt(A, "asked")
    health.record_success(A, "asked", None)
    assert health.all_healthy


def test_concurrent_failures_count_once_when_the_breaker_is_open(clock: Clock) -> None:
    health = Health(clock)
    strike(health, STRIKES + 50)
    assert health.cooldown_left(A, "asked", ()) == FIRST_PAUSE


def test_a_lone_target_is_tried_occasionally(clock: Clock) -> None:
    health = Health(clock)
    strike(health)
    with pytest.raises(UpstreamTimeout) as raised:
        health.check_single_target(A, "asked")
    told = raised.value
    assert (told.status, told.code, told.headers) == (504, "upstream_timeout", {"Retry-After": "3"})
    clock.now += LONE_PAUSE
    health.check_single_target(A, "asked")
    with pytest.raises(UpstreamTimeout):
        health.check_single_target(A, "asked")
    health.record_success(A, "asked", None)
    health.check_single_target(A, "asked")


def test_other_models_of_a_connection_are_not_affected(clock: Clock) -> None:
    health = Health(clock)
    strike(health)
    assert health.cooldown_left(Target("a", "other"), "asked", ()) == 0.0
    health.check_single_target(Target("a", "other"), "asked")


def test_made_up_model_names_do_not_fill_memory(clock: Clock) -> None:
    health = Health(clock)
    for number in range(5000):
        health.record_failure(Target("a"), f"name-{number}", None)
    assert len(health._breakers) <= 4096


def test_round_robin_takes_turns_per_rule() -> None:
    health = Health()
    assert [health.in_turn("r", (A, B))[0] for _ in range(3)] == [A, B, A]
    assert health.in_turn("other", (A, B))[0] == A


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ([(b"Retry-After", b"7")], 7.0),
        ([(b"retry-after-ms", b"250"), (b"Retry-After", b"7")], 0.25),
        ([(b"Retry-After", b"1.5")], 1.5),
        ([(b"Retry-After", b"Thu, 01 Jan 1970 00:00:00 GMT")], 0.0),
        ([(b"Retry-After", b"soon")], None),
        ([(b"Retry-After", b"nan")], None),
        ([(b"retry-after-ms", b"inf")], None),
        ([], None),
    ],
)
def test_retry_after_in_header_fields(fields: list[tuple[bytes, bytes]], seconds: float | None) -> None:
    assert retry_after(fields) == seconds


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"code":429,"details":[{"@type":"x"},{"retryDelay":"12.5s"}]}}', (12.5, False)),
        (b'[{"error":{"details":[{"retryDelay":"3s"}]}}]', (3.0, False)),
        (b'{"error":{"code":"insufficient_quota"}}', (None, True)),
        (b'{"error":{"type":"billing_error"}}', (None, True)),
        (b'{"error":{"details":[{"retryDelay":"xs"}]}}', (None, False)),
        (b'{"error":"text"}', (None, False)),
        (b"[]", (None, False)),
        (b"<html>", (None, False)),
    ],
)
def test_retry_after_and_credit_in_error_bodies(body: bytes, said: tuple[float | None, bool]) -> None:
    assert body_says(body) == said
