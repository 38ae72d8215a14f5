"""`forward_auth`: the caller's own token is sent upstream, and if keys are required, the proxy's key is `x-api-key`."""

from collections.abc import Iterator

import pytest

from tests.front.configurations import connection, front_conf, serving
from tests.harness.answers import check_error
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream

PLAIN = "sk-family-0123456789abcdef"
OWN = [("x-api-key", PLAIN), ("Authorization", "Bearer the-callers-own-token")]


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    rotating = connection(upstream.url, api_keys=[CANARY, "sk-second-0123456789"])
    del rotating["api_key"]
    forward = {
        "forward": connection(upstream.url, forward_auth=True),
        "named": connection(
            upstream.url, forward_auth=True, headers={"authorization": f"Token {CANARY}", "x-own": "1"}
        ),
        "rotating": rotating,
    }
    conf = front_conf(upstream, connections=forward, groups={"family": {"api_keys": [PLAIN]}})
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


def test_the_callers_own_token_is_sent_upstream(daemon: Daemon, upstream: Upstream) -> None:
    """The proxy's key is then `x-api-key`, and is not forwarded."""
    play = upstream.play(plain(b"{}"))
    headers = [("x-api-key", PLAIN), ("Authorization", "Bearer the-callers-own-token")]
    answer = daemon.chat(f"forward:{play.model}", headers=headers)
    assert answer.status == 200
    seen = play.wait()
    assert seen.header("authorization") == "Bearer the-callers-own-token"
    assert seen.header("x-api-key") is None
    assert CANARY not in str(seen.headers)


def test_the_callers_token_replaces_a_configured_key(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    daemon.chat(f"named:{play.model}", headers=OWN)
    daemon.chat(f"named:{play.model}", key=PLAIN)
    first, second = play.requests
    assert (first.header("authorization"), first.header("x-own")) == ("Bearer the-callers-own-token", "1")
    assert (second.header("authorization"), second.header("x-own")) == (f"Token {CANARY}", "1")


def test_the_upstreams_refusal_of_the_callers_token_passes(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b'{"error":"bad token"}', "401 Unauthorized"))
    headers = [("x-api-key", PLAIN), ("Authorization", "Bearer the-callers-own-token")]
    answer = daemon.chat(f"forward:{play.model}", headers=headers)
    assert (answer.status, answer.body) == (401, b'{"error":"bad token"}')
    assert answer.header("x-proxy-error") is None


def test_a_wrong_proxy_key_is_refused_whatever_the_token(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    headers = [("x-api-key", "sk-wrong"), ("Authorization", "Bearer the-callers-own-token")]
    check_error(daemon.chat(f"forward:{play.model}", headers=headers), 401)
    assert play.requests == []


def test_other_connections_still_get_their_own_key(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    assert daemon.chat(play.model, key=PLAIN).status == 200
    assert play.wait().header("authorization") == f"Bearer {CANARY}"


@pytest.mark.parametrize("status", ["500 Broken", "429 Slow Down", "503 Busy"])
def test_a_refused_token_of_the_callers_is_not_retried_with_our_key(
    daemon: Daemon, upstream: Upstream, status: str
) -> None:
    play = upstream.play(plain(b'{"error":"no"}', status))
    assert daemon.chat(f"forward:{play.model}", headers=OWN).status == int(status[:3])
    assert len(play.requests) == 1


def test_without_a_callers_token_the_refused_key_is_ours(daemon: Daemon, upstream: Upstream) -> None:
    for answer in (plain(b'{"error":"bad"}', "401 Unauthorized"), plain(f"you sent {CANARY}".encode(), "400 Bad")):
        play = upstream.play(answer)
        check_error(daemon.chat(f"forward:{play.model}", key=PLAIN), 502, "upstream_auth")
        assert play.wait().header("authorization") == f"Bearer {CANARY}"


def test_an_unused_token_does_not_prevent_key_rotation(daemon: Daemon, upstream: Upstream) -> None:
    """Keys of other connections rotate, whatever bearer token the caller sends for the forwarding one."""
    play = upstream.rounds(plain(b'{"error":"no"}', "401 Unauthorized"), plain(b'{"ok":true}'))
    answer = daemon.chat(f"rotating:{play.model}", headers=OWN)
    assert (answer.status, answer.header("x-proxy-attempts")) == (200, "2")
    assert [seen.header("authorization") for seen in play.requests] == [
        f"Bearer {CANARY}",
        "Bearer sk-second-0123456789",
    ]
