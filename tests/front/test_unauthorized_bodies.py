"""Fault matrix row 46: a client without a key is refused before any of its body is read."""

from collections.abc import Iterator

import pytest

from tests.front.configurations import front_conf, serving
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream

MiB = 1 << 20
KEY = "sk-front-0123456789abcdef"


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    conf = front_conf(upstream, groups={"family": {"api_keys": [KEY]}})
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


CREDENTIALS = ["", "Authorization: Bearer wrong\r\n", "x-api-key: wrong\r\n"]


@pytest.mark.parametrize("expect", ["", "Expect: 100-continue\r\n"], ids=["plain", "expect"])
def test_row46_refused_at_once(daemon: Daemon, expect: str) -> None:
    """Every kind of path is tried concurrently, so that the test waits only once for the lingering after 60 MB."""
    wires = []
    for path in ("/v1/chat/completions", "/v1/files", "/audio/transcriptions"):
        for credential in CREDENTIALS:
            wires.append(wire := daemon.wire())
            wire.send(
                f"POST {path} HTTP/1.1\r\nHost: {wire.host}\r\nContent-Type: application/json\r\n{credential}{expect}"
                f"Content-Length: {60 * MiB}\r\n\r\n".encode()
            )
    for wire in wires:
        head = wire.read_head(keep_informational=True)
        assert head.status == 401, "something else was sent before the refusal"
        check_error(wire.read_rest(), 401, "invalid_api_key")
    for wire in wires:
        wire.wait_closed()


def test_row46_a_body_that_is_sent_anyway_is_not_kept(daemon: Daemon) -> None:
    before = daemon.rss()
    wire = daemon.wire()
    wire.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: {60 * MiB}\r\n\r\n".encode())
    piece = b"x" * MiB
    for _ in range(60):
        if not wire.try_send(piece):
            break
    assert daemon.rss() - before < 16 * MiB


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/files"])
def test_a_known_key_gets_100_continue(daemon: Daemon, upstream: Upstream, path: str) -> None:
    play = upstream.play(plain(b"{}"))
    body = f'{{"model":"{play.model}","messages":[]}}'.encode()
    wire = daemon.wire()
    wire.send(
        f"POST {path} HTTP/1.1\r\nHost: {wire.host}\r\nAuthorization: Bearer {KEY}\r\nExpect: 100-continue\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    assert wire.read_head(keep_informational=True).status == 100
    wire.send(body)
    assert wire.answer().status == 200
    assert play.wait().body == body
    assert play.wait().header("expect") is None


def test_row50_after_a_401_the_body_is_not_parsed_as_a_request(daemon: Daemon) -> None:
    """The refused body looks like a request with a good key."""
    smuggled = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode()
    wire = daemon.wire()
    wire.send(
        f"POST /v1/files HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: {len(smuggled)}\r\n\r\n".encode() + smuggled
    )
    check_error(wire.answer(), 401)
    wire.try_send(f"GET /health HTTP/1.1\r\nHost: {wire.host}\r\nConnection: close\r\n\r\n".encode())
    assert b'"data"' not in wire.wait_closed()
