"""Contract §3, "Who is served", without keys: peers, Host names and origins; fault matrix row 48."""

from collections.abc import Iterator

import pytest

from tests.front.configurations import front_conf, serving
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream
from tests.harness.wire import Answer

KEY = "sk-front-0123456789abcdef"
PRIVATE = ["10.1.2.3", "172.16.0.9", "192.168.178.20", "100.64.3.4", "127.0.0.5", "fe80::1", "fd00::17", "::1"]
PUBLIC = ["8.8.8.8", "172.32.0.1", "100.128.0.1", "192.169.0.1", "2001:db8::1", "::ffff:8.8.8.8", "169.254.1.1"]


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon without keys that trusts a proxy on loopback, so that tests can use any peer address."""
    conf = front_conf(upstream, trusted_proxies=["127.0.0.0/8"])
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


@pytest.fixture(scope="module")
def locked(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The same daemon, with a key."""
    conf = front_conf(upstream, trusted_proxies=["127.0.0.0/8"], groups={"family": {"api_keys": [KEY]}})
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


def ask(daemon: Daemon, upstream: Upstream, *headers: tuple[str, str], **options: str) -> tuple[Answer, int]:
    """One chat; the answer, and how many requests reached the upstream for it."""
    play = upstream.play(plain(b"{}"))
    answer = daemon.chat(play.model, headers=headers, **options)
    return answer, len(play.requests)


# Peers


@pytest.mark.parametrize("peer", PRIVATE)
def test_a_private_peer_is_served(daemon: Daemon, upstream: Upstream, peer: str) -> None:
    answer, asked = ask(daemon, upstream, ("X-Forwarded-For", peer))
    assert (answer.status, asked) == (200, 1)


@pytest.mark.parametrize("peer", PUBLIC)
def test_a_public_peer_is_refused_with_a_reason(daemon: Daemon, upstream: Upstream, peer: str) -> None:
    answer, asked = ask(daemon, upstream, ("X-Forwarded-For", peer))
    error = check_error(answer, 403)
    assert asked == 0
    assert "allow_public_unauthenticated" in error["message"] or "key" in error["message"]


def test_the_last_untrusted_forwarded_address_counts(daemon: Daemon, upstream: Upstream) -> None:
    """A client may have added anything in front; only addresses appended by our own proxies are trusted."""
    assert ask(daemon, upstream, ("X-Forwarded-For", "192.168.1.1, 8.8.8.8, 127.0.0.1"))[0].status == 403
    assert ask(daemon, upstream, ("X-Forwarded-For", "8.8.8.8, 192.168.1.1"))[0].status == 200


@pytest.mark.parametrize("peer", ["unknown", "8.8.8.8:99", "[2001:db8::1]:80", "<script>", "", "1.2.3"])
def test_a_malformed_forwarded_address_gives_no_access(locked: Daemon, upstream: Upstream, peer: str) -> None:
    """The request never causes a 500; with a key, the caller's address does not matter."""
    assert ask(locked, upstream, ("X-Forwarded-For", peer), key=KEY)[0].status in {200, 400, 403}
    assert ask(locked, upstream, ("X-Forwarded-For", peer))[0].status in {400, 401, 403}


@pytest.mark.parametrize("value", ["8.8.8.8:1234", "unknown", "8.8.8.8,", "192.168.1.1, ", "[::1]:80", "10.0.0.1 x"])
def test_an_unreadable_forwarded_address_is_refused(daemon: Daemon, upstream: Upstream, value: str) -> None:
    answer, asked = ask(daemon, upstream, ("X-Forwarded-For", value))
    check_error(answer, 403, "peer_not_allowed")
    assert asked == 0
    assert daemon.get("/admin/status", headers=[("X-Forwarded-For", value)]).status in {401, 403}


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([("X-Forwarded-For", "192.168.1.1"), ("X-Forwarded-For", "8.8.8.8")], 403),
        ([("X-Forwarded-For", "8.8.8.8"), ("x-forwarded-for", "192.168.1.1")], 200),
        ([("X-Forwarded-For", "192.168.1.1"), ("X-Forwarded-For", "127.0.0.2")], 200),
        ([("X-Forwarded-For", "8.8.8.8"), ("X-Forwarded-For", "127.0.0.2")], 403),
        ([("Forwarded", "for=192.168.1.1"), ("Forwarded", "for=8.8.8.8")], 403),
        ([("Forwarded", 'for="[2001:db8::1]:99"')], 403),
        ([("Forwarded", "for=192.168.1.1;proto=http")], 200),
        ([("Forwarded", "for=unknown")], 403),
        ([("Forwarded", "for=192.168.1.1"), ("X-Forwarded-For", "8.8.8.8")], 403),
    ],
)
def test_forwarded_addresses_are_read_across_all_lines_from_the_right(
    daemon: Daemon, upstream: Upstream, lines: list[tuple[str, str]], status: int
) -> None:
    answer, asked = ask(daemon, upstream, *lines)
    assert (answer.status, asked) == (status, int(status == 200))


def test_with_keys_a_public_peer_is_served(locked: Daemon, upstream: Upstream) -> None:
    assert ask(locked, upstream, ("X-Forwarded-For", "8.8.8.8"), key=KEY)[0].status == 200


# Host names

SAFE_HOSTS = [
    "localhost",
    "localhost:8000",
    "127.0.0.1",
    "127.0.0.1:8000",
    "[::1]",
    "[::1]:8000",
    "192.168.1.5",
    "homeserver",
    "homeserver:8000",
    "pi.local",
    "pi.lan",
    "pi.home.arpa",
    "proxy.internal",
    "LOCALHOST",
    "Pi.Local:80",
    "8.8.8.8",
]
BAD_HOSTS = [
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.local.example",
    "a.b.c",
    "x.internal.com",
]
BROKEN_HOSTS = [
    "x/admin?",
    "x/public?",
    "good@evil",
    "u:p@evil:80#",
    "[::1",
    "::1",
    "x:99999",
    "x:abc",
    "a b",
    "localhost/",
    "localhost#",
    "local\\host",
    "%6cocalhost",
    "localhost,evil.example",
    "http://localhost",
]


@pytest.mark.parametrize("host", SAFE_HOSTS)
def test_row48_a_safe_host_is_served(daemon: Daemon, upstream: Upstream, host: str) -> None:
    assert ask(daemon, upstream, host=host)[0].status == 200


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/v1/realtime", "/health"])
def test_row48_another_host_is_misdirected(daemon: Daemon, host: str, path: str) -> None:
    error = check_error(daemon.get(path, host=host), 421, "host_not_allowed")
    assert "allowed_hosts" in error["message"]


@pytest.mark.parametrize("host", BAD_HOSTS)
@pytest.mark.parametrize("path", ["/admin/status", "/metrics", "/"])
def test_row48_administration_refuses_foreign_hosts_too(daemon: Daemon, host: str, path: str) -> None:
    answer = daemon.get(path, host=host)
    check_error(answer, answer.status)
    assert answer.status in {403, 421}


@pytest.mark.parametrize("host", [*BAD_HOSTS[:3], *BROKEN_HOSTS, ""])
def test_row48_no_refused_host_reaches_the_upstream(daemon: Daemon, upstream: Upstream, host: str) -> None:
    answer, asked = ask(daemon, upstream, host=host)
    check_error(answer, answer.status)
    assert answer.status in {400, 421}
    assert asked == 0


def test_row48_a_missing_host_is_refused(daemon: Daemon) -> None:
    with daemon.wire() as wire:
        wire.send(b"GET /v1/models HTTP/1.1\r\n\r\n")
        answer = wire.answer(method="GET")
    assert answer.status in {400, 421}


@pytest.mark.parametrize("host", [*BAD_HOSTS[:3], *BROKEN_HOSTS[:5]])
def test_row48_with_keys_a_key_is_required_whatever_the_host(locked: Daemon, upstream: Upstream, host: str) -> None:
    answer, asked = ask(locked, upstream, host=host)
    assert answer.status in {400, 401, 421}
    assert asked == 0
    assert locked.get("/v1/models", host=host).status in {400, 401, 421}


def test_with_keys_any_proper_host_is_served(locked: Daemon, upstream: Upstream) -> None:
    """DNS rebinding cannot steal a key: a daemon with keys may be on the internet under its own name."""
    assert ask(locked, upstream, host="llm.example.org", key=KEY)[0].status == 200


@pytest.mark.parametrize(
    "target", ["http://evil.example/v1/models", "http://evil.example/health", "https://evil.example:8/v1/models"]
)
def test_row48_an_absolute_form_counts_as_its_host(daemon: Daemon, target: str) -> None:
    assert daemon.get(target, host="localhost").status in {400, 421}


def test_row48_an_absolute_form_for_our_host_is_served(daemon: Daemon) -> None:
    assert daemon.get("http://localhost/health", host="localhost").status in {200, 400}


# Origins

GOOD_ORIGINS = [
    "http://localhost:3000",
    "http://127.0.0.1",
    "http://192.168.1.7:8123",
    "http://homeassistant.local:8123",
    "http://pi",
    "https://chat.lan",
    "http://[::1]:5173",
    "http://x.home.arpa",
    "https://ui.internal",
]
BAD_ORIGINS = [
    "https://evil.example",
    "http://localhost.evil.example",
    "null",
    "https://evil.example:8000",
    "file://",
    "x",
]


@pytest.mark.parametrize("origin", GOOD_ORIGINS)
def test_a_local_page_is_served(daemon: Daemon, upstream: Upstream, origin: str) -> None:
    answer, _ = ask(daemon, upstream, ("Origin", origin))
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") in {origin, "*"}
    assert answer.header("access-control-allow-credentials") is None


@pytest.mark.parametrize("origin", BAD_ORIGINS)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/health", "/admin/status"])
def test_a_foreign_page_is_refused_before_any_work(daemon: Daemon, upstream: Upstream, origin: str, path: str) -> None:
    play = upstream.play(plain(b"{}"))
    if path.endswith("completions"):
        answer = daemon.chat(play.model, headers=[("Origin", origin)])
    else:
        answer = daemon.get(path, headers=[("Origin", origin)])
    check_error(answer, 403)
    assert answer.header("access-control-allow-origin") is None
    assert play.requests == []


def test_with_keys_any_origin_is_served(locked: Daemon, upstream: Upstream) -> None:
    answer, _ = ask(locked, upstream, ("Origin", "https://chat.example"), key=KEY)
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") in {"https://chat.example", "*"}


def test_with_keys_a_page_can_read_the_refusal(locked: Daemon, upstream: Upstream) -> None:
    answer, _ = ask(locked, upstream, ("Origin", "https://chat.example"))
    check_error(answer, 401)
    assert answer.header("access-control-allow-origin") in {"https://chat.example", "*"}


PREFLIGHT = [
    ("Access-Control-Request-Method", "POST"),
    ("Access-Control-Request-Headers", "authorization,content-type,x-stainless-lang"),
]


def preflight(daemon: Daemon, origin: str, path: str = "/v1/chat/completions") -> Answer:
    with daemon.wire() as wire:
        return wire.request("OPTIONS", path, headers=[("Origin", origin), *PREFLIGHT]).answer(method="OPTIONS")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/chat/completions"])
def test_a_preflight_needs_no_key(locked: Daemon, path: str) -> None:
    answer = preflight(locked, "https://chat.example", path)
    assert answer.status in {200, 204}
    assert answer.header("access-control-allow-origin") in {"https://chat.example", "*"}
    assert "POST" in (answer.header("access-control-allow-methods") or "")
    allowed = (answer.header("access-control-allow-headers") or "").lower().replace(" ", "").split(",")
    assert {"authorization", "content-type", "x-stainless-lang"} <= set(allowed) or allowed == ["*"]
    if answer.header("access-control-allow-origin") != "*":
        assert "origin" in (answer.header("vary") or "").lower()


def test_a_foreign_preflight_is_refused(daemon: Daemon) -> None:
    answer = preflight(daemon, "https://evil.example")
    assert answer.status == 403
    assert answer.header("access-control-allow-origin") is None


def test_a_preflight_of_a_local_page_is_granted(daemon: Daemon) -> None:
    assert preflight(daemon, "http://homeassistant.local:8123").status in {200, 204}


# Administration


@pytest.mark.parametrize("path", ["/admin/status", "/metrics"])
def test_administration_is_restricted_to_loopback(daemon: Daemon, path: str) -> None:
    assert daemon.get(path).status == 200
    check_error(daemon.get(path, headers=[("X-Forwarded-For", "192.168.1.9")]), 403)
    check_error(
        daemon.get(path, headers=[("X-Forwarded-For", "127.0.0.1")]), 403
    )  # the request came through a proxy, so its sender is unknown
    check_error(daemon.get(path, headers=[("Forwarded", "for=127.0.0.1")]), 403)
    assert daemon.get(path, host="homeserver").status == 403  # a loopback peer needs a loopback Host


@pytest.mark.parametrize("path", ["/admin/status", "/metrics", "/"])
def test_with_keys_foreign_pages_still_cannot_use_the_admin_api(locked: Daemon, path: str) -> None:
    check_error(locked.get(path, headers=[("Origin", "https://evil.example")]), 403)


def test_a_client_key_is_not_an_admin_key(locked: Daemon) -> None:
    """Without admin keys loopback is admitted; a forwarded caller is not, whatever client key it has."""
    assert locked.get("/admin/status", headers=[("X-Forwarded-For", "192.168.1.9")], key=KEY).status == 403
