"""`forward_auth`: the caller's own token goes upstream, and with required keys the proxy's key comes as `x-api-key`."""

from collections.abc import Iterator

import pytest

from tests.front.house import connection, front_conf, serving
from tests.harness.answers import check_error
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream

PLAIN = "sk-family-0123456789abcdef"


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    forward = {"forward": connection(upstream.url, forward_auth=True)}
    conf = front_conf(upstream, connections=forward, groups={"family": {"api_keys": [PLAIN]}})
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


def test_with_forward_auth_the_callers_own_token_goes_upstream(daemon: Daemon, upstream: Upstream) -> None:
    """The proxy's key is `x-api-key` then, and stays here."""
    play = upstream.play(plain(b"{}"))
    headers = [("x-api-key", PLAIN), ("Authorization", "Bearer the-callers-own-token")]
    answer = daemon.chat(f"forward:{play.model}", headers=headers)
    assert answer.status == 200
    seen = play.wait()
    assert seen.header("authorization") == "Bearer the-callers-own-token"
    assert seen.header("x-api-key") is None
    assert CANARY not in str(seen.headers)


def test_with_forward_auth_the_upstreams_refusal_passes(daemon: Daemon, upstream: Upstream) -> None:
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


def test_other_connections_get_their_own_key_as_ever(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    assert daemon.chat(play.model, key=PLAIN).status == 200
    assert play.wait().header("authorization") == f"Bearer {CANARY}"
