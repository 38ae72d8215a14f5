"""Uploads to an upstream that answers early, reads slowly, or disconnects while bytes are still in flight."""

import hashlib

import pytest

from tests.harness import plays
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import FIN, RST, plain
from tests.harness.upstream import Peer, Upstream
from tests.harness.wire import Closed, Wire

MiB = 1 << 20
PIECE = bytes(range(256)) * 256


def begin(daemon: Daemon, model: str, size: int) -> Wire:
    """The head of an upload of `size` bytes."""
    wire = daemon.wire()
    wire.send(
        f"PUT /v1/files HTTP/1.1\r\nHost: {wire.host}\r\nX-Play: {model}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n".encode()
    )
    return wire


def test_an_early_answer_is_passed_on_during_the_upload(daemon: Daemon, upstream: Upstream) -> None:
    """A provider refuses after reading the head: the client must get that answer, not a broken pipe."""
    refusal = plain(b'{"error":{"message":"too large"}}', "413 Content Too Large")

    async def read_on(peer: Peer) -> None:
        while True:
            await peer.take()

    play = upstream.play(refusal, read_on, early=True)
    wire = begin(daemon, play.model, 64 * MiB)
    wire.send(PIECE)
    answer = wire.answer()
    assert (answer.status, answer.body) == (413, b'{"error":{"message":"too large"}}')
    wire.close()
    assert play.begun().gone(), "the upload to the upstream is still open"


def test_after_an_early_answer_the_connection_is_in_sync_or_closed(daemon: Daemon, upstream: Upstream) -> None:
    """The rest of the upload is never parsed as a request."""
    play = upstream.play(plain(b"{}", "413 Content Too Large"), FIN, early=True)
    wire = begin(daemon, play.model, len(PIECE))
    assert wire.answer().status == 413
    smuggled = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    if wire.try_send(smuggled + PIECE[len(smuggled) :]):
        wire.try_send(f"GET /v1/nothing-here HTTP/1.1\r\nHost: {wire.host}\r\nConnection: close\r\n\r\n".encode())
        assert b'"status":"ok"' not in wire.wait_closed()


@pytest.mark.parametrize("end", [FIN, RST], ids=repr)
def test_an_upstream_that_aborts_an_upload(daemon: Daemon, upstream: Upstream, end: plays.Ending) -> None:
    play = upstream.play(end, early=True)
    wire = begin(daemon, play.model, 64 * MiB)
    play.begun()
    for _ in range(1024):
        if not wire.try_send(PIECE):
            break
    try:
        answer = wire.answer()
    except Closed:
        pytest.fail("the client got no answer after the upstream's disconnect")
    check_error(answer, 502)


def test_an_upstream_that_reads_slowly_slows_the_client(daemon: Daemon, upstream: Upstream) -> None:
    """64 MiB are sent while the upstream reads nothing: they stay with the client, not in the daemon's memory."""
    gate = upstream.gate()
    total = 64 * MiB

    async def stop_reading(peer: Peer) -> None:
        peer.transport.pause_reading()
        await gate.passed()
        peer.transport.resume_reading()
        digest, rest = hashlib.sha256(), total
        while rest:
            data = await peer.take()
            digest.update(data)
            rest -= len(data)
        await peer.send(plain(digest.hexdigest().encode()))

    play = upstream.play(stop_reading, early=True)
    daemon.chat("warm-up")
    before = daemon.rss()
    wire = begin(daemon, play.model, total)
    sent = wire.send_what_fits(PIECE * (total // len(PIECE)))
    grown = daemon.rss() - before
    assert sent < total, "the daemon took all 64 MiB while the upstream read nothing"
    assert grown < 16 * MiB, f"grew by {grown / MiB:.0f} MiB"
    gate.open()
    wire.send((PIECE * (total // len(PIECE)))[sent:])
    assert wire.answer().body == hashlib.sha256(PIECE * (total // len(PIECE))).hexdigest().encode()
