"""Answers that are legal but unusual, and breaks at unusual places."""

import asyncio
import time

import pytest

from tests.harness import plays
from tests.harness.answers import check_error, check_stream_error
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, FIN, HOLD, LAST, RST, SSE_HEAD, TWO, chunk, delta, head, plain, stream
from tests.harness.upstream import Peer, Upstream

JSON = {"Content-Type": "application/json"}

LEGAL = {
    "http10-with-length": head("200 OK", JSON | {"Content-Length": "8"}, version="HTTP/1.0") + b'{"ok":1}',
    "http10-to-the-end": head("200 OK", JSON, version="HTTP/1.0") + b'{"ok":1}',
    "lower-case": b'HTTP/1.1 200 ok\r\ncontent-type:application/json\r\ncontent-length:8\r\n\r\n{"ok":1}',
    "upper-case-chunked": head("200 OK", JSON | {"TRANSFER-ENCODING": "Chunked"}) + chunk(b'{"ok":1}') + LAST,
    "padded-values": head("200 OK", JSON | {"Content-Length": "  8 \t"}) + b'{"ok":1}',
    "no-framing-at-all": head("200 OK", JSON) + b'{"ok":1}',
    "100-continue-first": head("100 Continue") + plain(b'{"ok":1}'),
    "long-reason": head("200 " + "very " * 100 + "OK", JSON | {"Content-Length": "8"}) + b'{"ok":1}',
    "many-headers": head("200 OK", [*((f"X-{n}", "v" * 40) for n in range(80)), ("Content-Length", "8")]) + b'{"ok":1}',
}


@pytest.mark.parametrize("name", LEGAL)
def test_a_legal_answer_is_passed_on(daemon: Daemon, upstream: Upstream, name: str) -> None:
    ends = [FIN] if name in {"http10-to-the-end", "no-framing-at-all"} else []
    with daemon.wire() as wire:
        for _ in range(3):  # on one client connection: whatever the upstream's framing, ours stays in sync
            answer = wire.chat(upstream.play(LEGAL[name], *ends, name="legal").model).answer()
            assert (answer.status, answer.body, answer.complete) == (200, b'{"ok":1}', True)


def test_an_http10_upstream_connection_is_not_kept(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(LEGAL["http10-with-length"])
    for _ in range(2):
        assert daemon.chat(play.model).status == 200
    assert play.wait(1).connection != play.wait(2).connection


def test_an_unrequested_101_is_refused(daemon: Daemon, upstream: Upstream) -> None:
    switching = head("101 Switching Protocols", {"Upgrade": "websocket", "Connection": "Upgrade"})
    check_error(daemon.chat(upstream.play(switching, HOLD).model), 502)


def test_nothing_follows_done_even_if_the_upstream_breaks(daemon: Daemon, upstream: Upstream) -> None:
    """After `[DONE]` without a final chunk the message is complete, and no error may follow."""
    answer = daemon.chat(upstream.play(SSE_HEAD, chunk(TWO + DONE), FIN).model, stream=True)
    assert answer.body == TWO + DONE


@pytest.mark.parametrize("end", [FIN, RST], ids=repr)
def test_a_break_before_the_first_event_is_a_lone_error_event(
    daemon: Daemon, upstream: Upstream, end: plays.Ending
) -> None:
    gate = upstream.gate()
    play = upstream.play(SSE_HEAD, chunk(b": hello\n\n"), gate, end)
    with daemon.wire() as wire:
        wire.chat(play.model, stream=True).read_head()
        got = wire.read_until(b"hello\n\n")
        gate.open()
        check_stream_error(wire.read_rest(before=got), b": hello\n\n")


def test_a_head_without_a_body(daemon: Daemon, upstream: Upstream) -> None:
    check_stream_error(daemon.chat(upstream.play(SSE_HEAD, FIN).model, stream=True), b"")


def test_done_inside_a_text_does_not_end_the_stream(daemon: Daemon, upstream: Upstream) -> None:
    """A `[DONE]` event in the middle of a stream that continues does not end it, either."""
    body = delta("say data: [DONE]\n\n please") + TWO
    answer = daemon.chat(upstream.play(stream(body, DONE)).model, stream=True)
    assert (answer.complete, answer.body) == (True, body + DONE)


@pytest.mark.parametrize("split", [1, 2, 3])
def test_a_boundary_in_two_chunks_is_a_boundary(daemon: Daemon, upstream: Upstream, split: int) -> None:
    gate = upstream.gate()
    two = TWO.replace(b"\n", b"\r\n")
    play = upstream.play(SSE_HEAD, chunk(two[:-split]), chunk(two[-split:]), chunk(b": \n\n"), gate, FIN)
    with daemon.wire() as wire:
        wire.chat(play.model, stream=True).read_head()
        got = wire.read_until(b": \n\n")
        gate.open()
        check_stream_error(wire.read_rest(before=got), two + b": \n\n")


def test_a_stream_longer_than_the_idle_limit_is_not_idle(daemon: Daemon, upstream: Upstream) -> None:
    """The limit is for silence, not length: events every 0.25 s for longer than the limit of 1.5 s."""

    async def talk(peer: Peer) -> None:
        for number in range(8):
            await asyncio.sleep(0.25)
            await peer.send(chunk(delta(str(number))))

    answer = daemon.chat("paced:" + upstream.play(SSE_HEAD, talk, LAST).model, stream=True)
    assert answer.complete
    assert answer.body == b"".join(delta(str(number)) for number in range(8))


def test_a_slow_upload_does_not_count_as_a_slow_provider(daemon: Daemon, upstream: Upstream) -> None:
    """The first-byte limit (1.5 s) begins when the request has been sent, not while its client is still sending."""
    play = upstream.play(plain(b'{"text":"hi"}'))
    mark = "b0undary"
    field = f'--{mark}\r\nContent-Disposition: form-data; name="model"\r\n\r\npaced:whisper\r\n'
    file = f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    pieces = [b"x" * 100_000 for _ in range(5)]
    end = f"\r\n--{mark}--\r\n".encode()
    size = len(field) + len(file) + 500_000 + len(end)
    with daemon.wire() as wire:
        wire.send(
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {wire.host}\r\nX-Play: {play.model}\r\n"
            f"Content-Type: multipart/form-data; boundary={mark}\r\nContent-Length: {size}\r\n\r\n".encode()
            + (field + file).encode()
        )
        for piece in pieces:
            wire.send(piece)
            time.sleep(0.35)  # slowness is the subject of this test
        wire.send(end)
        assert wire.answer().body == b'{"text":"hi"}'


def test_a_slow_client_does_not_count_as_a_slow_provider(daemon: Daemon, upstream: Upstream) -> None:
    """While the client does not read, no idle limit applies to the provider."""
    body = b"data: " + b"z" * (24 << 20) + b"\n\n"
    play = upstream.play(SSE_HEAD, *(chunk(body[n : n + 65536]) for n in range(0, len(body), 65536)), LAST)
    with daemon.wire(receive_buffer=65536) as wire:
        wire.chat("paced:" + play.model, stream=True).read_head()
        time.sleep(2.0)  # longer than the idle limit
        answer = wire.read_rest(keep=False)
    assert (answer.complete, answer.size) == (True, len(body))


def test_unrequested_gzip_is_passed_unchanged(daemon: Daemon, upstream: Upstream) -> None:
    """Without `Accept-Encoding` from the client, none is sent upstream: the upstream chose the coding by itself."""
    play = upstream.play(plain(b"{}"))
    daemon.chat(play.model)
    assert play.wait().header("accept-encoding") is None
