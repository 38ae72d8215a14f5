"""Contract §2: `proxy:`, HTTPS_PROXY and NO_PROXY, `ca_file`, and the errors if the proxy fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.harness.certificates import Authority, make_authority
from tests.harness.daemon import Daemon
from tests.harness.forward_proxy import ForwardProxy
from tests.harness.plays import DONE, LAST, SSE_HEAD, chunk, delta
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure(authority: Authority) -> Iterator[Upstream]:
    """A local upstream with a certificate of a private authority."""
    server = Upstream(tls=authority.server).start()
    yield server
    server.stop()


@pytest.fixture
def proxy() -> Iterator[ForwardProxy]:
    with ForwardProxy() as running:
        yield running


def conf(base: str, **more: Any) -> dict[str, Any]:
    return {"connections": {"up": {"api_base": base, "max_retries": 0, **more}}}


def log_line(daemon: Daemon, part: str) -> str:
    def found() -> list[str]:
        return [line for line in daemon.stderr.splitlines() if part in line]

    return eventually(found, f"a line contains: {part}")[0]


def test_a_private_authority_is_trusted_through_ca_file(
    make_daemon: DaemonFactory, secure: Upstream, authority: Authority
) -> None:
    strict = make_daemon(conf(secure.url))
    assert strict.chat("x").status == 502
    assert "; if it is issued by your own authority, set ca_file on the connection" in log_line(strict, "x → up")
    kind = make_daemon(conf(secure.url, ca_file="home-ca.pem"), files={"home-ca.pem": authority.ca_file.read_text()})
    assert kind.chat("x").status == 200
    assert kind.chat("x", stream=True).status == 200


def test_an_invalid_ca_file_is_a_problem_at_its_line(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    daemon = make_daemon(conf(upstream.url, ca_file="nowhere.pem"))
    assert daemon.chat("x").status == 200
    line = log_line(daemon, "ca_file: ")
    assert "proxy.yaml:4:" in line
    assert line.endswith("nowhere.pem: no such file or directory")


@pytest.mark.parametrize("stream", [False, True])
def test_tls_goes_through_a_tunnel(
    make_daemon: DaemonFactory, secure: Upstream, authority: Authority, proxy: ForwardProxy, stream: bool
) -> None:
    daemon = make_daemon(conf(secure.url, ca_file=str(authority.ca_file), proxy=proxy.url))
    for _ in range(3):
        assert daemon.chat("x", stream=stream).status == 200
    daemon.stop()
    assert set(proxy.seen) == {f"CONNECT 127.0.0.1:{secure.port} HTTP/1.1"}
    assert len(proxy.seen) <= 2  # one for the requests, one for the model list: tunnels are reused


def test_tls_inside_tls(make_daemon: DaemonFactory, secure: Upstream, authority: Authority, tmp_path: Path) -> None:
    with ForwardProxy(tls=authority.server) as proxy:
        daemon = make_daemon(conf(secure.url, ca_file=str(authority.ca_file), proxy=proxy.url))
        assert daemon.chat("x").status == 200
        daemon.stop()
    assert proxy.seen[0].startswith("CONNECT ")


def test_plain_requests_are_forwarded_by_the_proxy(
    make_daemon: DaemonFactory, upstream: Upstream, proxy: ForwardProxy
) -> None:
    daemon = make_daemon(conf(upstream.url, proxy=proxy.url))
    play = upstream.play(SSE_HEAD, chunk(delta("Hi", finish="stop")), chunk(DONE), LAST)
    assert daemon.chat(play.model, stream=True).status == 200
    assert play.wait().target == "/v1/chat/completions"
    daemon.stop()
    assert f"POST {upstream.url}/chat/completions HTTP/1.1" in proxy.seen


def test_a_name_and_password_are_sent_only_to_the_proxy(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    with ForwardProxy(password="let-me-in-0123") as proxy:
        url = proxy.url.replace("//", "//user:let-me-in-0123@")
        daemon = make_daemon(conf(upstream.url, proxy=url))
        play = upstream.play(SSE_HEAD, chunk(delta("Hi", finish="stop")), chunk(DONE), LAST)
        assert daemon.chat(play.model, stream=True).status == 200
        assert play.wait().header("proxy-authorization") is None
        daemon.stop()
    assert proxy.authorizations[0].startswith("Basic ")
    assert "let-me-in" not in daemon.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"password": "secret-0123"}, "requires a name and password"),
        ({"refuse": 403}, "does not allow connections to 127.0.0.1:"),
        ({"refuse": 503}, "cannot reach 127.0.0.1:"),
        ({"refuse": 418}, "answered HTTP 418"),
    ],
)
def test_a_proxy_that_refuses_is_named(
    make_daemon: DaemonFactory, secure: Upstream, options: dict[str, Any], words: str
) -> None:
    with ForwardProxy(**options) as proxy:
        daemon = make_daemon(conf(secure.url, proxy=proxy.url))
        assert daemon.chat("x").status == 502
        line = log_line(daemon, "x → up")
        daemon.stop()
    assert f"the proxy 127.0.0.1:{proxy.port} {words}" in line


def test_an_unreachable_proxy_is_named(make_daemon: DaemonFactory, secure: Upstream) -> None:
    daemon = make_daemon(conf(secure.url, proxy="http://127.0.0.1:9"))
    assert daemon.chat("x").status == 502
    assert "the HTTP proxy: connection refused by 127.0.0.1:9" in log_line(daemon, "x → up")


def test_the_environment_names_a_proxy(make_daemon: DaemonFactory, proxy: ForwardProxy) -> None:
    """The host does not exist, since this machine itself is never reached through a proxy."""
    env = {"HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": "direct.invalid"}
    away, near = "https://away.invalid", "https://direct.invalid"
    daemon = make_daemon(
        {
            "connections": {
                "away": {"api_base": away},
                "near": {"api_base": near},
                "own": {"api_base": away, "proxy": "none"},
            }
        },
        env=env,
    )
    assert "the HTTP proxy: connection refused by 127.0.0.1:9" in log_line(daemon, "away does not return")
    assert "there is no host called direct.invalid" in log_line(daemon, "near does not return")
    assert "there is no host called away.invalid" in log_line(daemon, "own does not return")


def test_an_invalid_proxy_in_the_environment_is_a_problem(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    conf = {"connections": {"away": {"api_base": "http://away.invalid"}, "up": {"api_base": upstream.url}}}
    daemon = make_daemon({**conf, "default_connection": "up"}, env={"ALL_PROXY": "socks5h://127.0.0.1:9050"})
    assert daemon.chat("x").status == 200
    assert "ALL_PROXY: SOCKS proxies are not supported" in log_line(daemon, "away is reached directly")
