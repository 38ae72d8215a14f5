"""Fault matrix rows 28, 40-42, 45 and 51: clients that are slow, greedy or too many, under `limits` set low."""

import json
from collections.abc import Iterator

import pytest

from tests.front.configurations import front_conf, serving
from tests.harness import plays
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import HOLD, LAST, SSE_HEAD, TWO, chunk, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Closed

MiB = 1 << 20
LIMITS = {
    "max_body_mb": 1,
    "max_concurrent_requests": 8,
    "header_seconds": 1,
    "body_idle_seconds": 1,
    "write_seconds": 1,
}


@pytest.fixture(scope="module")
def daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serving(tmp_path_factory.mktemp(way), front_conf(upstream, limits=LIMITS), way) as running:
        yield running


def test_row40_slow_headers_are_cut(daemon: Daemon) -> None:
    """All slow clients run concurrently, so that the test waits once; a good client is served meanwhile."""
    wires = [daemon.wire() for _ in range(60)]
    for number, wire in enumerate(wires):
        wire.send((b"", b"POST", b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-Slow: ")[number % 3])
    assert daemon.get("/health").status == 200
    for wire in wires:
        left = wire.wait_closed()
        assert left == b"" or left.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 400 "))


def test_row40_dripping_headers_are_cut_too(daemon: Daemon) -> None:
    """The limit is for the whole head: sending a byte now and then does not extend it."""
    wire = daemon.wire()
    wire.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    eventually(lambda: not wire.try_send(b"x"), "the slow head is cut off")


def test_row41_a_slow_body_is_a_408(daemon: Daemon) -> None:
    """All slow clients run concurrently, so that the test waits once."""
    wires = []
    for path in ("/v1/chat/completions", "/v1/embeddings"):
        for sent in (b"", b'{"model"'):
            wires.append(wire := daemon.wire())
            wire.send(f"POST {path} HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: 100\r\n\r\n".encode() + sent)
    for wire in wires:
        check_error(wire.answer(), 408)
    for wire in wires:
        wire.wait_closed()


def test_row41_a_slow_upload_is_ended(daemon: Daemon, upstream: Upstream) -> None:
    """The upload is already being sent to the upstream, so both sides are closed."""
    play = upstream.play(plain(b"{}"))
    wire = daemon.wire()
    wire.send(
        f"PUT /v1/files HTTP/1.1\r\nHost: {wire.host}\r\nX-Play: {play.model}\r\nTransfer-Encoding: chunked\r\n"
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + chunk(b"x" * 1000)
    )
    try:
        answer = wire.answer()
    except Closed:
        pass
    else:
        check_error(answer, 408)
    wire.wait_closed()
    eventually(lambda: upstream.busy() == 0, "the upload to the upstream has ended")


@pytest.mark.parametrize("readers", [1, 8])
def test_row42_a_reader_that_never_reads_is_cut(daemon: Daemon, upstream: Upstream, readers: int) -> None:
    """This is also row 28: the stream is endless, and neither side buffers more than a limit."""

    async def talk(peer: object) -> None:
        while True:
            await peer.send(chunk(b"data: " + b"x" * 4000 + b"\n\n"))  # type: ignore[attr-defined]

    play = upstream.play(SSE_HEAD, talk)
    daemon.chat("warm-up")
    before = daemon.rss()
    wires = [daemon.wire(receive_buffer=4096).chat(play.model, stream=True) for _ in range(readers)]
    for number in range(readers):
        assert play.begun(number + 1).gone(), "the upstream still generates for a client that does not read"
    grown = daemon.rss() - before
    assert grown < 8 * MiB + readers * 2 * MiB, f"grew by {grown / MiB:.1f} MiB"
    eventually(lambda: daemon.clients() == 0, "the readers' connections are closed")
    for wire in wires:
        wire.close()


def test_row42_a_slow_reader_who_reads_is_not_cut(daemon: Daemon, upstream: Upstream) -> None:
    """16 MiB pass slowly through a tiny window, but the client reads something every second."""
    body = b"data: " + b"y" * (16 * MiB) + b"\n\n"
    pieces = [chunk(body[n : n + 65536]) for n in range(0, len(body), 65536)]
    play = upstream.play(SSE_HEAD, *pieces, LAST)
    with daemon.wire(receive_buffer=4096) as wire:
        answer = wire.chat(play.model, stream=True).answer(keep=False)
    assert (answer.complete, answer.size) == (True, len(body))


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_row45_a_declared_body_over_the_limit_is_refused_unread(daemon: Daemon, path: str) -> None:
    wire = daemon.wire()
    wire.send(
        f"POST {path} HTTP/1.1\r\nHost: {wire.host}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {2 * MiB}\r\n\r\n".encode()
        + b"{"
    )
    check_error(wire.answer(), 413, "request_too_large")
    wire.wait_closed()


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings"])
def test_row45_an_undeclared_body_is_refused_once_it_exceeds_the_limit(
    daemon: Daemon, upstream: Upstream, path: str
) -> None:
    play = upstream.play(plain(b"{}"))
    wire = daemon.wire()
    wire.send(
        f"POST {path} HTTP/1.1\r\nHost: {wire.host}\r\nContent-Type: application/json\r\n"
        f"Transfer-Encoding: chunked\r\n\r\n".encode()
        + chunk(f'{{"model":"{play.model}","pad":"'.encode())
    )
    for _ in range(40):
        if not wire.try_send(chunk(b"x" * 65536)):
            break
    check_error(wire.answer(), 413, "request_too_large")
    assert play.requests == []


def test_row45_just_under_the_limit_is_served(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    body = json.dumps({"model": play.model, "messages": [], "pad": "x" * 900_000}).encode()
    assert daemon.post("/v1/chat/completions", body).status == 200
    assert play.wait().body == body


def test_row51_over_the_limit_is_a_503_and_health_answers(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(SSE_HEAD, chunk(TWO), HOLD)
    held = [daemon.wire().chat(play.model, stream=True) for _ in range(LIMITS["max_concurrent_requests"])]
    for wire in held:
        wire.read_head()
    for _ in range(5):
        answer = daemon.chat("one-more")
        check_error(answer, 503, "overloaded")
        assert int(answer.header("retry-after") or 0) > 0
    assert daemon.get("/health").status == 200
    held.pop().close()
    quick = upstream.play(plays.stream(TWO))
    answer = eventually(
        lambda: next((a for a in [daemon.chat(quick.model, stream=True)] if a.status == 200), None),
        "a request is accepted again",
    )
    assert answer.body == TWO
