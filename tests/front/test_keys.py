"""Client keys: plain and hashed, where they are sent, which key is sent upstream, and what a refusal looks like."""

import hashlib
from collections.abc import Iterator

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import front_conf, serving
from tests.harness.answers import check_error
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream

PLAIN = "sk-family-0123456789abcdef0123456789abcdef-one"
TWIN = PLAIN[:-3] + "two"  # forty leading characters in common, as in CVE-2026-35030
HASHED = "sk-hashed-fedcba9876543210"
ADMIN = "sk-admin-0011223344556677"
ENVIRON = "sk-environ-8899aabbccddeeff"


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    digest = "sha256:" + hashlib.sha256(HASHED.encode()).hexdigest()
    conf = front_conf(
        upstream,
        groups={"family": {"api_keys": [PLAIN, digest]}, "other": {"api_keys": [TWIN]}},
        admin_api_keys=[ADMIN],
    )
    env = {"PROXY_API_KEYS": ENVIRON}
    with serving(tmp_path_factory.mktemp(way), conf, way, env=env) as running:
        yield running


@pytest.mark.parametrize("key", [PLAIN, TWIN, HASHED, ENVIRON], ids=["plain", "twin", "sha256", "environment"])
@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
def test_a_known_key_is_accepted_and_replaced(daemon: Daemon, upstream: Upstream, key: str, header: str) -> None:
    play = upstream.play(plain(b"{}"))
    value = f"Bearer {key}" if header == "Authorization" else key
    assert daemon.chat(play.model, headers=[(header, value)]).status == 200
    seen = play.wait()
    assert seen.header("authorization") == f"Bearer {CANARY}"
    assert key not in str(seen.headers)
    assert seen.header("x-api-key") is None


UNKNOWN = {
    "none": [],
    "wrong": [("Authorization", "Bearer sk-wrong")],
    "prefix": [("Authorization", f"Bearer {PLAIN[:-1]}")],
    "longer": [("Authorization", f"Bearer {PLAIN}x")],
    "other-case": [("Authorization", f"Bearer {PLAIN.upper()}")],
    "the-hash-itself": [("Authorization", "Bearer sha256:" + hashlib.sha256(HASHED.encode()).hexdigest())],
    "basic": [("Authorization", f"Basic {PLAIN}")],
    "no-scheme": [("Authorization", PLAIN)],
    "empty": [("Authorization", "")],
    "empty-bearer": [("Authorization", "Bearer ")],
    "admin-key": [("Authorization", f"Bearer {ADMIN}")],
    "upstream-key": [("Authorization", f"Bearer {CANARY}")],
    "sql": [("Authorization", "Bearer ' OR '1'='1")],
    "7-kb": [("Authorization", "Bearer " + "x" * 7000)],
    "non-ascii": [("Authorization", "Bearer schlüssel")],
    "cookie": [("Cookie", f"api_key={PLAIN}; Authorization=Bearer {PLAIN}")],
    "other-header": [("api-key", PLAIN), ("X-Authorization", f"Bearer {PLAIN}")],
    "wrong-x-api-key": [("x-api-key", "sk-wrong")],
    "wrong-bearer-good-x-api-key": [("Authorization", "Bearer sk-wrong"), ("x-api-key", PLAIN)],
    "two-bearers": [("Authorization", "Bearer sk-wrong"), ("Authorization", f"Bearer {PLAIN}")],
}


@pytest.mark.parametrize("name", UNKNOWN)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files", "/v1/models", "/models/m-small"])
def test_anything_else_is_refused_alike(daemon: Daemon, upstream: Upstream, name: str, path: str) -> None:
    if name == "cookie" and path == "/v1/models":
        path += f"?api_key={PLAIN}"
    play = upstream.play(plain(b"{}"))
    headers = [*UNKNOWN[name], ("X-Play", play.model)]
    if "models" in path:
        answer = daemon.get(path, headers=headers)
    else:
        answer = daemon.post(path, f'{{"model":"{play.model}","messages":[]}}'.encode(), headers=headers)
    if name == "two-bearers" and answer.status == 400:
        return  # a duplicate Authorization may be refused as such
    error = check_error(answer, 401, "invalid_api_key")
    assert play.requests == []
    assert "sk-" not in error["message"]


def test_bearer_wins_over_x_api_key(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    headers = [("x-api-key", "whatever-it-says"), ("Authorization", f"Bearer {PLAIN}")]
    assert daemon.chat(play.model, headers=headers).status == 200
    assert play.wait().header("authorization") == f"Bearer {CANARY}"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER", "Bearer"])
def test_the_scheme_is_case_insensitive(daemon: Daemon, upstream: Upstream, scheme: str) -> None:
    play = upstream.play(plain(b"{}"))
    assert daemon.chat(play.model, headers=[("authorization", f"{scheme} {PLAIN}")]).status == 200


@pytest.mark.parametrize("path", ["/health", "/v1/health"])
def test_health_needs_no_key_by_default(daemon: Daemon, path: str) -> None:
    answer = daemon.get(path)
    assert (answer.status, answer.json()["status"]) == (200, "ok")


@pytest.mark.parametrize("path", ["/admin/status", "/metrics"])
def test_with_admin_keys_loopback_alone_is_not_enough(daemon: Daemon, path: str) -> None:
    assert daemon.get(path).status in {401, 403}
    assert daemon.get(path, key=PLAIN).status in {401, 403}
    assert daemon.get(path, key=ADMIN).status == 200


def test_health_can_be_closed(make_daemon: object, upstream: Upstream) -> None:
    conf = front_conf(upstream, allow_unauthenticated_health=False, groups={"family": {"api_keys": [PLAIN]}})
    closed: Daemon = make_daemon(conf)  # type: ignore[operator]
    check_error(closed.get("/health"), 401)
    assert closed.get("/health", key=PLAIN).status == 200


def test_a_key_in_a_connections_headers_is_ours(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    by_header = {"api_base": upstream.url, "max_retries": 0, "headers": {"api-key": CANARY}}
    daemon = make_daemon(front_conf(upstream, connections={"azure": by_header}))
    for answer in (plain(b"{}", "401 Unauthorized"), plain(f"wrong: {CANARY}".encode(), "400 Bad Request")):
        play = upstream.play(answer)
        error = check_error(daemon.chat(f"azure:{play.model}"), 502, "upstream_auth")
        assert "azure" in error["message"]
        assert play.wait().header("api-key") == CANARY


def test_require_api_key_without_any_key_refuses_everyone(make_daemon: object, upstream: Upstream) -> None:
    """The daemon fails closed: a key is required, and none is valid."""
    closed: Daemon = make_daemon(front_conf(upstream, require_api_key=True))  # type: ignore[operator]
    check_error(closed.chat("m"), 401)
    check_error(closed.chat("m", key="anything"), 401)


@pytest.mark.parametrize("value", [None, "Bearer anything", "Bearer "], ids=["none", "any", "empty"])
def test_without_keys_any_key_or_none_is_accepted(
    reuse_daemon: DaemonFactory, upstream: Upstream, value: str | None
) -> None:
    """The client's key never reaches the upstream."""
    open_daemon = reuse_daemon(front_conf(upstream))
    play = upstream.play(plain(b"{}"))
    headers = [("Authorization", value), ("x-api-key", "xyz")] if value is not None else []
    assert open_daemon.chat(play.model, headers=headers).status == 200
    seen = play.wait()
    assert seen.header("authorization") == f"Bearer {CANARY}"
    assert seen.header("x-api-key") is None
