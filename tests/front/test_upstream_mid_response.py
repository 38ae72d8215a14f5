"""The fault matrix, rows 19-39: what can go wrong once an upstream's answer is under way.

No truncated answer is presented as complete: a chunked, uncompressed SSE stream between two events ends with an error
event and no `[DONE]`; anything else is cut so that its framing shows it.
"""

import gzip
import hashlib
import json
import zlib

import pytest

from tests.harness import plays
from tests.harness.answers import check_stream_error
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, FIN, HOLD, LAST, RST, SSE_HEAD, TWO, chunk, event, head, plain, stream
from tests.harness.upstream import Upstream
from tests.harness.wire import Answer

MiB = 1 << 20


def broken(
    daemon: Daemon,
    upstream: Upstream,
    start: list[plays.Step],
    marker: bytes,
    end: list[plays.Step],
    *,
    path: str = "/v1/chat/completions",
    via: str = "",
) -> Answer:
    """An answer that breaks off with `end` after the client has received `marker`, which `start` sent."""
    gate = upstream.gate()
    play = upstream.play(*start, gate, *end, name="broken")
    with daemon.wire() as wire:
        wire.chat(via + play.model, stream=True, path=path).read_head()
        got = wire.read_until(marker)
        gate.open()
        answer = wire.read_rest(before=got)
        seen = play.wait()
        assert seen.gone() or end[-1] in (FIN, RST), "the upstream connection is still open"
        assert not wire.was_reset or not answer.complete
        return answer


BREAKS = {
    "row19-fin": [FIN],
    "row21-rst": [RST],
    "row22-bad-chunk-size": [b"ZZZ\r\nxx", HOLD],
    "row22-huge-chunk-size": [b"fffffffffffffffff1\r\nxx", HOLD],
    "row22-no-crlf-after-chunk": [b"3\r\nabcXX", HOLD],
    "row22-negative-size": [b"-5\r\nabcde\r\n", HOLD],
}


@pytest.mark.parametrize("name", [name for name in BREAKS if "no-crlf" not in name])
def test_a_break_between_events_ends_in_an_error_event(daemon: Daemon, upstream: Upstream, name: str) -> None:
    answer = broken(daemon, upstream, [SSE_HEAD, chunk(TWO)], b"two", BREAKS[name])
    check_stream_error(answer, TWO)


def test_row22_data_longer_than_its_chunk(daemon: Daemon, upstream: Upstream) -> None:
    """The answer is cut if bytes of the bad chunk have been passed on; otherwise it ends in an error event."""
    answer = broken(daemon, upstream, [SSE_HEAD, chunk(TWO)], b"two", BREAKS["row22-no-crlf-after-chunk"])
    if answer.complete:
        check_stream_error(answer, TWO)
    else:
        assert answer.body in {TWO, TWO + b"abc"}


def test_row23_a_stall_ends_in_an_error_event(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(SSE_HEAD + chunk(TWO), HOLD, name="stall")
    answer = daemon.chat("idle:" + play.model, stream=True)
    assert "timeout" in check_stream_error(answer, TWO)["code"]
    assert play.wait().gone()


@pytest.mark.parametrize(
    ("path", "via", "name"),
    [("/v1/messages", "claude:", "error"), ("/v1/responses", "", "error"), ("/v1/completions", "", None)],
    ids=["messages", "responses", "completions"],
)
def test_the_error_event_has_the_endpoints_format(
    daemon: Daemon, upstream: Upstream, path: str, via: str, name: str | None
) -> None:
    first = event({"type": "ping"}, name="ping") if name else TWO
    answer = broken(daemon, upstream, [SSE_HEAD, chunk(first)], first[-20:], [FIN], path=path, via=via)
    rest = answer.body.removeprefix(first)
    assert answer.complete
    if name is None:
        assert rest.startswith(b'data: {"error"')
        return
    line, data = rest.split(b"\n", 1)
    assert line == b"event: error"
    payload = json.loads(data.removeprefix(b"data: "))
    assert payload["type"] == "error"
    # as in all errors of this API: Anthropic's clients do not know `upstream_error`
    assert payload["error"]["type"] == ("api_error" if path == "/v1/messages" else "upstream_error")
    assert "[DONE]" not in rest.decode()


@pytest.mark.parametrize("where", ["inside-data", "after-one-newline", "unfinished-chunk"])
@pytest.mark.parametrize("end", [FIN, RST], ids=repr)
def test_row20_a_break_inside_an_event_is_a_cut(
    daemon: Daemon, upstream: Upstream, where: str, end: plays.Ending
) -> None:
    half = {
        "inside-data": chunk(b'data: {"half'),
        "after-one-newline": chunk(b'data: {"half":1}\n'),
        "unfinished-chunk": b'50\r\ndata: {"half',
    }[where]
    answer = broken(daemon, upstream, [SSE_HEAD, chunk(TWO), half], b"half", [end])
    assert not answer.complete
    assert answer.body.startswith(TWO + b'data: {"half')
    assert b"error" not in answer.body


def test_row20_a_stall_inside_an_event_is_a_cut(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(SSE_HEAD + chunk(TWO + b'data: {"half'), HOLD, name="stall")
    answer = daemon.chat("idle:" + play.model, stream=True)
    assert (answer.complete, answer.body) == (False, TWO + b'data: {"half')


def test_a_break_between_crlf_events_ends_in_an_error_event(daemon: Daemon, upstream: Upstream) -> None:
    two = TWO.replace(b"\n", b"\r\n")
    answer = broken(daemon, upstream, [SSE_HEAD, chunk(two)], b"two", [FIN])
    check_stream_error(answer, two)


NOT_SSE_HEADS = {
    "json-chunked": {"Content-Type": "application/json", "Transfer-Encoding": "chunked"},
    "gzip-sse": {"Content-Type": "text/event-stream", "Content-Encoding": "gzip", "Transfer-Encoding": "chunked"},
}


@pytest.mark.parametrize("name", NOT_SSE_HEADS)
@pytest.mark.parametrize("end", [FIN, RST], ids=repr)
def test_any_other_chunked_answer_is_cut(daemon: Daemon, upstream: Upstream, name: str, end: plays.Ending) -> None:
    answer = broken(daemon, upstream, [head("200 OK", NOT_SSE_HEADS[name]), chunk(TWO)], b"two", [end])
    assert (answer.complete, answer.body) == (False, TWO)


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream"])
@pytest.mark.parametrize("end", [FIN, RST], ids=repr)
def test_row33_a_short_body_stays_short(
    daemon: Daemon, upstream: Upstream, content_type: str, end: plays.Ending
) -> None:
    start = head("200 OK", {"Content-Type": content_type, "Content-Length": "5000"})
    answer = broken(daemon, upstream, [start, TWO], b"two", [end])
    assert (answer.complete, answer.body, answer.header("content-length")) == (False, TWO, "5000")


def test_a_reset_body_without_framing_does_not_end_cleanly(daemon: Daemon, upstream: Upstream) -> None:
    """If only the connection's end frames the body, only a reset shows truncation: it must be passed on."""
    start = head("200 OK", {"Content-Type": "application/octet-stream", "Connection": "close"})
    answer = broken(daemon, upstream, [start, b"some bytes"], b"bytes", [RST])
    assert (answer.complete, answer.body) == (False, b"some bytes")


@pytest.mark.parametrize("end", [FIN, RST], ids=repr)
def test_http10_clients_get_a_reset(daemon: Daemon, upstream: Upstream, end: plays.Ending) -> None:
    """HTTP/1.0 has no chunks: if the upstream breaks, only a reset keeps half an answer from looking complete."""
    gate = upstream.gate()
    play = upstream.play(head("200 OK", NOT_SSE_HEADS["json-chunked"]), chunk(TWO), gate, end, name="http10")
    body = json.dumps({"model": play.model, "messages": []})
    with daemon.wire() as wire:
        wire.send(
            f"POST /v1/chat/completions HTTP/1.0\r\nHost: {wire.host}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        wire.read_head()
        got = wire.read_until(b"two")
        gate.open()
        answer = wire.read_rest(before=got)
    assert not answer.complete
    assert answer.body == TWO


def test_row24_a_clean_end_passes_unchanged(daemon: Daemon, upstream: Upstream) -> None:
    answer = daemon.chat(upstream.play(stream(TWO)).model, stream=True)
    assert (answer.complete, answer.body) == (True, TWO)


def test_row25_an_upstream_that_stays_after_done(daemon: Daemon, upstream: Upstream) -> None:
    """`[DONE]`, then neither a final chunk nor a FIN: the answer is complete, without waiting for the idle limit."""
    play = upstream.play(SSE_HEAD, chunk(TWO + DONE), HOLD)
    answer = daemon.chat(play.model, stream=True)
    assert (answer.complete, answer.body) == (True, TWO + DONE)


def test_row26_the_upstreams_own_error_event_is_the_only_one(daemon: Daemon, upstream: Upstream) -> None:
    own = event({"error": {"message": "Provider disconnected", "code": 502}})
    answer = daemon.chat(upstream.play(stream(TWO, own)).model, stream=True)
    assert (answer.complete, answer.body) == (True, TWO + own)


def test_row27_a_64_mib_event(daemon: Daemon, upstream: Upstream) -> None:
    """The event passes unchanged and is never buffered as a whole."""
    _large_event(daemon, upstream, 16)  # memory that the allocator keeps after the first large event is not growth
    before = daemon.rss()
    peak = _large_event(daemon, upstream, 64)
    assert peak - before < 56 * MiB, f"grew by {(peak - before) / MiB:.0f} MiB"


def _large_event(daemon: Daemon, upstream: Upstream, count: int) -> int:
    """Relay an event of `count` MiB; returns the daemon's peak memory meanwhile, in bytes."""
    piece, peak = b"x" * MiB, 0

    async def send(peer: object) -> None:
        nonlocal peak
        await peer.send(SSE_HEAD + chunk(b"data: "))  # type: ignore[attr-defined]
        for _ in range(count):
            await peer.send(chunk(piece))  # type: ignore[attr-defined]
            peak = max(peak, daemon.rss())
        await peer.send(chunk(b"\n\n") + LAST)  # type: ignore[attr-defined]

    with daemon.wire() as wire:
        answer = wire.chat(upstream.play(send).model, stream=True).answer(keep=False)
    assert answer.complete
    assert answer.size == count * MiB + 8
    assert answer.digest == hashlib.sha256(b"data: " + piece * count + b"\n\n").hexdigest()
    return peak


def test_row34_broken_json_passes_unchanged(daemon: Daemon, upstream: Upstream) -> None:
    answer = daemon.chat(upstream.play(plain(b'{"a": nul')).model)
    assert (answer.status, answer.complete, answer.body) == (200, True, b'{"a": nul')


def gzipped_zeros(blocks: int) -> bytes:
    """`blocks` times 16 MiB of zeros: one compressed block repeated, as a full flush allows."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(16 * MiB)) + packer.flush(zlib.Z_FULL_FLUSH)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * blocks + packer.flush()


def test_row35_a_gzip_bomb_stays_compressed(daemon: Daemon, upstream: Upstream) -> None:
    """1 GiB of zeros in 1 MiB is passed on unchanged and never unpacked, not even for the log."""
    bomb = gzipped_zeros(64)
    daemon.chat("warm-up")
    before = daemon.rss()
    answer = daemon.chat(upstream.play(plain(bomb, Content_Encoding="gzip")).model)
    assert answer.body == bomb
    assert answer.header("content-encoding") == "gzip"
    follow_up = upstream.play(plain(b"{}"))
    for _ in range(20):  # time for unpacking in the background: twenty requests
        assert daemon.chat(follow_up.model).status == 200
        assert daemon.rss() - before < 64 * MiB


@pytest.mark.parametrize("kind", ["whole", "truncated", "false"])
def test_row36_compression_is_left_alone(daemon: Daemon, upstream: Upstream, kind: str) -> None:
    packed = gzip.compress(plays.completion("hi") * 20)
    body = {"whole": packed, "truncated": packed[:-20], "false": plays.completion("hi")}[kind]
    answer = daemon.chat(
        upstream.play(plain(body, Content_Encoding="gzip")).model, headers=[("Accept-Encoding", "gzip")]
    )
    assert (answer.status, answer.body, answer.header("content-encoding")) == (200, body, "gzip")


def test_compressed_streams_are_left_alone(daemon: Daemon, upstream: Upstream) -> None:
    packed = gzip.compress(TWO + DONE)
    parts = [packed[n : n + 7] for n in range(0, len(packed), 7)]
    start = head("200 OK", NOT_SSE_HEADS["gzip-sse"])
    answer = daemon.chat(upstream.play(start, *map(chunk, parts), LAST).model, stream=True)
    assert (answer.complete, gzip.decompress(answer.body)) == (True, TWO + DONE)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_row39_a_restarted_upstream_fails_no_request(daemon: Daemon, upstream: Upstream, method: str) -> None:
    """All its old connections die between two requests, and the daemon must notice."""
    play = upstream.play(plain(b"{}"))
    body = b"{}" if method == "POST" else None
    with daemon.wire() as wire:
        for _ in range(5):
            answer = wire.request(method, "/v1/files", body=body, headers=[("X-Play", play.model)]).answer(
                method=method
            )
            assert answer.status == 200
            upstream.restart()


def test_row39_a_get_survives_a_stale_connection(daemon: Daemon, upstream: Upstream) -> None:
    """A reused connection closes without an answer: the request is sent once more, on a new connection."""
    calm = upstream.play(plain(b"{}"))
    first: list[int] = []

    async def close_if_reused(peer: object) -> None:
        number = peer.number  # type: ignore[attr-defined]
        if number in first:
            peer.transport.close()  # type: ignore[attr-defined]
            return
        await peer.send(plain(b'{"ok":1}'))  # type: ignore[attr-defined]

    moody = upstream.play(close_if_reused)
    with daemon.wire() as wire:
        wire.request("GET", "/v1/files", headers=[("X-Play", calm.model)]).answer(method="GET")
        first.append(calm.wait().connection)
        answer = wire.request("GET", "/v1/files", headers=[("X-Play", moody.model)]).answer(method="GET")
    assert (answer.status, answer.body) == (200, b'{"ok":1}')


def test_connections_are_reused(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    with daemon.wire() as wire:
        for _ in range(5):
            assert wire.chat(play.model).answer().status == 200
    assert len({seen.connection for seen in play.requests}) == 1
