"""Two daemons, one Redis: what a key has spent on one is spent on the other."""

from collections.abc import Iterator

import pytest

from tests.behaviour.test_budgets import ask, chat, conf, settled
from tests.conftest import DaemonFactory
from tests.harness.redis_server import RedisServer, needs_redis
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

pytestmark = needs_redis


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis of its own, without a disk."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.close()


def test_a_budget_is_that_of_all_daemons(upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer) -> None:
    model = upstream.play(chat(cost=0.6), name="priced").model
    document = {**conf(upstream, cost_per_day=1, cost_per_month=5), "storage": redis.url}
    first, second = (make_daemon(document) for _ in range(2))
    assert ask(first, model).status == 200
    settled(first, 0.6)
    settled(second, 0.6)
    assert ask(second, model).status == 200
    settled(first, 1.2)
    eventually(lambda: ask(first, model).status == 402, "the budget is spent on the first, too")
    refused = ask(second, model)
    assert (refused.status, refused.header("x-proxy-error")) == (402, "budget_exceeded")
    redis.kill()
    first.stop()
    first.start()
    redis.start()
    settled(first, 1.2)
