"""Two daemons, one Redis: requests served by one count for the other."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from openai_proxy.upstream.health import STRIKES
from tests.auth.test_access_of_groups import ask, conf, control, group
from tests.conftest import DaemonFactory
from tests.harness.daemon import REPOSITORY, held_port
from tests.harness.plays import completion, plain
from tests.harness.redis_server import RedisServer, needs_redis
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

pytestmark = needs_redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for these tests only, without persistence."""
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.close()


def test_two_daemons_share_their_counters(
    upstream: Upstream,
    make_daemon: DaemonFactory,
    redis: RedisServer,
    flags: list[str],
) -> None:
    storage = redis.url.replace("/0", "/2" if flags else "/3")
    play = upstream.play(plain(completion("fine")))  # 5 tokens
    groups = {"few": group("sk-few", requests_per_minute=3), "counted": group("sk-counted", tokens_per_day=9)}
    first, second = (make_daemon(conf(upstream, groups=groups, storage=storage), flags=flags) for _ in range(2))
    assert [ask(daemon, "sk-few").status for daemon in (first, second, first)] == [200] * 3
    refused = ask(second, "sk-few")
    assert (refused.status, refused.header("x-ratelimit-limit-requests")) == (429, "3")
    assert [ask(first, "sk-counted", play.model).status for _ in range(2)] == [200, 200]
    eventually(lambda: ask(second, "sk-counted", play.model).status == 429, "the second daemon counts the tokens")


def test_without_redis_requests_are_still_served_and_counted(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    with held_port() as nobody_there:
        limits = {"storage": f"redis://127.0.0.1:{nobody_there}/0"}
        daemon = make_daemon(conf(upstream, groups={"few": group("sk-few", requests_per_minute=2)}, limits=limits))
        assert [ask(daemon, "sk-few").status for _ in range(3)] == [200, 200, 429]
        assert "counts for itself" in daemon.stderr


def test_many_concurrent_requests_never_exceed_the_limit(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer
) -> None:
    groups = {"few": group("sk-few", requests_per_minute=10)}
    daemons = [make_daemon(conf(upstream, groups=groups, storage=redis.url.replace("/0", "/4"))) for _ in range(2)]
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda n: ask(daemons[n % 2], "sk-few").status, range(24)))
    admitted = answers.count(200)
    assert admitted <= 10
    assert answers.count(429) == 24 - admitted
    # Two daemons that want the last one at the same moment may both be refused; it is still there afterwards.
    rest = [ask(daemons[n % 2], "sk-few").status for n in range(10 - admitted + 1)]
    assert rest == [200] * (10 - admitted) + [429]


def test_limits_storage_is_the_same_setting(upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer) -> None:
    daemon = make_daemon(conf(upstream, limits={"storage": redis.url}))
    assert control(daemon, "/admin/status")[1]["storage"]["state"] == "shared"


def test_a_failover_route_returns_to_its_first_provider(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer, flags: list[str], tmp_path: Path
) -> None:
    """A trial must not be recorded for a request before the store has admitted it."""
    broken = plain(b'{"error": {"message": "down"}}', "503 Service Unavailable")
    first = upstream.rounds(*[broken] * STRIKES, *[plain(_free("back"))] * 2)
    second = upstream.play(plain(_free("second")))
    document = conf(
        upstream,
        groups={"close": group("sk-close", tokens_per_day=20)},  # close enough to its limit for the store to be queried
        storage=redis.url.replace("/0", "/5"),
        routing={"route": [f"main.{first.model}", f"main.{second.model}"]},
    )
    (tmp_path / "sitecustomize.py").write_text("import openai_proxy.upstream.health as it\nit.FIRST_PAUSE = 0.3\n")
    # The compiled form does not read the constant at run time.
    interpreted = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}", "OPENAI_PROXY_INTERPRETED": "1"}
    daemon = make_daemon(document, flags=flags, env=interpreted)

    def answer() -> str:
        return str(ask(daemon, "sk-close", "route").json()["choices"][0]["message"]["content"])

    assert {answer() for _ in range(STRIKES)} == {"second"}
    eventually(lambda: answer() == "back", "the first provider is tried again")
    assert answer() == "back"
    assert b"cmdstat_evalsha" in redis.ask("INFO", "commandstats")


def _free(text: str) -> bytes:
    """An answer that takes no tokens."""
    message = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    return json.dumps({"id": "x", "object": "chat.completion", "choices": [message], "usage": usage}).encode()
