"""Two daemons, one Redis: what one has served counts for the other."""

import shutil

import pytest

from tests.auth.test_groups import ask, conf, group
from tests.conftest import DaemonFactory
from tests.harness.daemon import held_port
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="redis-server is not installed")


def test_two_daemons_share_their_counters(
    upstream: Upstream,
    make_daemon: DaemonFactory,
    redis_port: int,
    flags: list[str],
) -> None:
    storage = {"storage": f"redis://127.0.0.1:{redis_port}/{2 if flags else 3}"}
    play = upstream.play(plain(completion("fine")))  # 5 tokens
    groups = {"few": group("sk-few", requests_per_minute=3), "counted": group("sk-counted", tokens_per_day=9)}
    first, second = (make_daemon(conf(upstream, groups=groups, limits=storage), flags=flags) for _ in range(2))
    assert [ask(daemon, "sk-few").status for daemon in (first, second, first)] == [200] * 3
    refused = ask(second, "sk-few")
    assert (refused.status, refused.header("x-ratelimit-limit-requests")) == (429, "3")
    assert [ask(first, "sk-counted", play.model).status for _ in range(2)] == [200, 200]
    eventually(lambda: ask(second, "sk-counted", play.model).status == 429, "the other one knows of the tokens")


def test_without_redis_requests_are_served_and_counted_all_the_same(
    upstream: Upstream, make_daemon: DaemonFactory
) -> None:
    with held_port() as nobody_there:
        limits = {"storage": f"redis://127.0.0.1:{nobody_there}/0"}
        daemon = make_daemon(conf(upstream, groups={"few": group("sk-few", requests_per_minute=2)}, limits=limits))
        assert [ask(daemon, "sk-few").status for _ in range(3)] == [200, 200, 429]
        assert "counts for itself" in daemon.stderr
