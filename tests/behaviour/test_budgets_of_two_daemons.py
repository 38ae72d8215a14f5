"""Two daemons, one Redis: money that a key has spent or reserved on one is not available on the other."""

import json
from collections.abc import Iterator

import pytest

from tests.behaviour.test_budgets import BEARER, MESSAGES, ask, chat, conf, settled, spent
from tests.conftest import DaemonFactory
from tests.harness.redis_server import RedisServer, needs_redis
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

pytestmark = needs_redis


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for these tests only, without persistence."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.close()


def test_a_budget_is_shared_by_all_daemons(upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer) -> None:
    model = upstream.play(chat(cost=0.6), name="priced").model
    document = {**conf(upstream, cost_per_day=1, cost_per_month=5), "storage": redis.url}
    first, second = (make_daemon(document) for _ in range(2))
    assert ask(first, model).status == 200
    settled(first, 0.6)
    settled(second, 0.6)
    assert ask(second, model).status == 200
    settled(first, 1.2)
    eventually(lambda: ask(first, model).status == 402, "the first daemon knows that the budget is spent")
    refused = ask(second, model)
    assert (refused.status, refused.header("x-proxy-error")) == (402, "budget_exceeded")
    redis.kill()
    first.stop()
    first.start()
    redis.start()
    settled(first, 1.2)


def test_two_daemons_do_not_reserve_the_same_money(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer
) -> None:
    gate = upstream.gate()
    slow = upstream.play(gate, chat(), name="priced")
    document = {**conf(upstream, cost_per_day=0.15), "storage": redis.url}
    first, second = (make_daemon(document) for _ in range(2))
    assert spent(second)["reserved"] == 0
    body = json.dumps({"model": slow.model, "messages": MESSAGES, "max_tokens": 100}).encode()
    with first.wire() as running:
        running.request("POST", "/v1/chat/completions", body=body, headers=[BEARER])
        slow.begun()
        refused = ask(second, slow.model)
        assert (refused.status, refused.header("x-proxy-error")) == (402, "budget_exceeded")
        assert "is reserved" in refused.json()["error"]["message"]
        gate.open()
        assert running.answer().status == 200
    settled(first, 0.11)
    settled(second, 0.11)


def test_reservations_of_a_killed_daemon_are_released(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer
) -> None:
    never = upstream.play(upstream.gate(), name="priced")
    fine = upstream.play(chat(), name="priced").model
    document = {**conf(upstream, cost_per_day=0.15), "storage": redis.url}
    first, second = (make_daemon(document) for _ in range(2))
    body = json.dumps({"model": never.model, "messages": MESSAGES, "max_tokens": 100}).encode()
    with first.wire() as running:
        running.request("POST", "/v1/chat/completions", body=body, headers=[BEARER])
        never.begun()
        assert ask(second, fine).status == 402
        first.kill()
    eventually(lambda: ask(second, fine).status == 200, "the reservation of the killed daemon is released")
