"""Bodies pass through unchanged: sha256(upstream body) == sha256(client body), in both directions."""

import hashlib
import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import plays
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.plays import DONE, LAST, SSE_HEAD, TWO, chunk, delta, event, head
from tests.harness.upstream import Upstream
from tests.harness.wire import Answer

RECORDED = REPOSITORY.parent / "shared" / "recorded"
EMOJI = delta("naïve 🧑‍🚀 你好")

BODIES = {
    "plain-events": TWO + delta("", finish="stop") + DONE,
    "split-utf8": EMOJI + DONE,
    "crlf-events": (TWO + DONE).replace(b"\n", b"\r\n"),
    "cr-events": (TWO + DONE).replace(b"\n", b"\r"),
    "comments": b": keepalive\n\n" + TWO + b":\n\n: bye\n\n" + DONE,
    "event-id-retry": b"id: 7\nretry: 10\n" + event({"x": 1}, name="ping") + b"event: done\ndata: [DONE]\n\n",
    "no-space-after-colon": b'data:{"a":1}\n\ndata:[DONE]\n\n',
    "many-data-lines": b"data: one\ndata: two\ndata\n\n" + DONE,
    "row29-invalid-json": delta("a") + b"data: {not json\n\n" + delta("b") + DONE,
    "row30-invalid-utf8": delta("a") + b'data: {"content":"\xff\xfe\xc3"}\n\n' + DONE,
    "bom": b"\xef\xbb\xbf" + TWO + DONE,
    "row24-no-done": TWO,
    "row26-own-error": TWO + event({"error": {"message": "overloaded", "type": "server_error", "code": 529}}),
    "after-done": TWO + DONE + delta("more"),
    "unfinished-last-event": TWO + b'data: {"half',
    "nul-and-binary": bytes(range(256)) * 3,
    "empty": b"",
}


def cut(body: bytes, sizes: list[int]) -> list[bytes]:
    """`body` in pieces of `sizes`, the rest as the last piece."""
    pieces, at = [], 0
    for size in sizes:
        pieces.append(body[at : at + size])
        at += size
    return [piece for piece in [*pieces, body[at:]] if piece]


def check_exact(answer: Answer, body: bytes) -> None:
    """Check that the answer is complete and has the bytes of `body`."""
    assert answer.status == 200
    assert answer.complete
    assert answer.body == body
    assert answer.digest == hashlib.sha256(body).hexdigest()


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("framing", ["chunks", "bytewise", "length", "close"])
def test_any_body_passes_in_any_framing(daemon: Daemon, upstream: Upstream, name: str, framing: str) -> None:
    body = BODIES[name]
    sse = {"Content-Type": "text/event-stream"}
    if framing == "chunks":
        steps: list[plays.Step] = [SSE_HEAD, *map(chunk, cut(body, [40] * 20)), LAST]
    elif framing == "bytewise":  # row 31: each byte its own chunk, so every UTF-8 sequence is split
        steps = [SSE_HEAD, *(chunk(bytes([byte])) for byte in body), LAST]
    elif framing == "length":
        steps = [head("200 OK", sse | {"Content-Length": str(len(body))}), body]
    else:
        steps = [head("200 OK", sse | {"Connection": "close"}), body, plays.FIN]
    check_exact(daemon.chat(upstream.play(*steps, name=name).model, stream=True), body)


CHUNKINGS = {
    "upper-case-size": chunk(TWO, size=f"{len(TWO):X}") + LAST,
    "leading-zeros": chunk(TWO, size=f"{len(TWO):08x}") + LAST,
    "extension": chunk(TWO, size=f'{len(TWO):x};name="va;lue"') + LAST,
    "last-with-zeros": chunk(TWO) + b"000\r\n\r\n",
    "trailers": chunk(TWO) + b"0\r\nX-Checksum: abc\r\nX-Other: 1\r\n\r\n",
    "one-big": chunk(TWO * 5000) + LAST,
}


@pytest.mark.parametrize("name", CHUNKINGS)
def test_every_legal_chunk_framing(daemon: Daemon, upstream: Upstream, name: str) -> None:
    expected = TWO * 5000 if name == "one-big" else TWO
    check_exact(daemon.chat(upstream.play(SSE_HEAD, CHUNKINGS[name], name=name).model, stream=True), expected)


def test_chunk_framing_cut_at_every_byte(daemon: Daemon, upstream: Upstream) -> None:
    """Size lines, data and the final chunk reach the daemon one byte at a time."""
    wire = SSE_HEAD + chunk(delta("é")) + chunk(DONE, size="E;x=y") + b"0\r\nT: 1\r\n\r\n"
    assert len(DONE) == 0xE

    async def drip(peer: object) -> None:
        for byte in wire:
            await peer.send(bytes([byte]))  # type: ignore[attr-defined]

    check_exact(daemon.chat(upstream.play(drip).model, stream=True), delta("é") + DONE)


def test_random_cuts_of_a_long_stream(daemon: Daemon, upstream: Upstream) -> None:
    body = b"".join(delta(f"wörd {n} 🚀") for n in range(200)) + DONE
    dice = random.Random(7)
    for _ in range(10):
        framed = SSE_HEAD + b"".join(map(chunk, cut(body, [dice.randrange(1, 300) for _ in range(200)]))) + LAST
        writes = cut(framed, [dice.randrange(1, 2000) for _ in range(30)])
        check_exact(daemon.chat(upstream.play(*writes, name="cuts").model, stream=True), body)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(body=st.binary(max_size=2000), sizes=st.lists(st.integers(1, 200), max_size=30))
def test_arbitrary_bytes_both_ways(daemon: Daemon, upstream: Upstream, body: bytes, sizes: list[int]) -> None:
    play = upstream.play(SSE_HEAD, *map(chunk, cut(body, sizes)), LAST, name="any")
    with daemon.wire() as wire:
        options = {"headers": [("X-Play", play.model)], "content_type": "application/octet-stream"}
        check_exact(wire.request("POST", "/v1/files", body=body, **options).answer(), body)  # type: ignore[arg-type]
    assert play.wait().body == body


@pytest.mark.parametrize("path", sorted(RECORDED.rglob("*.sse")), ids=lambda path: path.stem)
def test_recorded_streams(daemon: Daemon, upstream: Upstream, path: Path) -> None:
    """Recorded answers of real providers, in pieces of all sizes."""
    body = path.read_bytes()
    dice = random.Random(path.stem)
    framed = SSE_HEAD + b"".join(map(chunk, cut(body, [dice.randrange(1, 4000) for _ in range(40)]))) + LAST
    check_exact(daemon.chat(upstream.play(*cut(framed, [1500] * 60), name="recorded").model, stream=True), body)


def test_a_chunk_is_passed_on_at_once(daemon: Daemon, upstream: Upstream) -> None:
    """This is also row 37: the upstream writes the next byte only after the client has received the last one."""
    text = b'{"id":1}'
    gates = [upstream.gate() for _ in text]
    steps: list[plays.Step] = [head("200 OK", {"Content-Type": "application/json", "Content-Length": "8"})]
    for byte, gate in zip(text, gates, strict=True):
        steps += [bytes([byte]), gate]
    play = upstream.play(*steps, name="drip")
    with daemon.wire() as wire:
        wire.chat(play.model).read_head()
        for byte, gate in zip(text, gates, strict=True):
            assert wire.read_until(bytes([byte])) == bytes([byte])
            gate.open()
        assert wire.read_rest().complete


def test_half_an_event_is_passed_on_at_once(daemon: Daemon, upstream: Upstream) -> None:
    gate = upstream.gate()
    whole = delta("slow")
    play = upstream.play(SSE_HEAD, chunk(whole[:20]), gate, chunk(whole[20:]), LAST)
    with daemon.wire() as wire:
        wire.chat(play.model, stream=True).read_head()
        got = wire.read_until(whole[:20])
        gate.open()
        check_exact(wire.read_rest(before=got), whole)


SPACED = (
    b'{ "messages" : [ {"role":"user","content":"h\\u00e9 \xc3\xa9"} ],\n\t"model":"%s","n":1.0,'
    b'"big":1e2, "x":{"model":"y"} }'
)


def test_a_json_body_is_sent_byte_for_byte(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plays.plain(b"{}"))
    body = SPACED.replace(b"%s", play.model.encode())
    daemon.post("/v1/chat/completions", body)
    assert play.wait().body == body


def test_only_the_affected_member_changes(daemon: Daemon, upstream: Upstream) -> None:
    """With `connection:model` the model must change; order, spacing and spelling of the rest stay."""
    play = upstream.play(plays.plain(b"{}"))
    body = SPACED.replace(b"%s", b"idle:" + play.model.encode())
    daemon.post("/v1/chat/completions", body)
    assert play.wait().body == SPACED.replace(b"%s", play.model.encode())


@pytest.mark.parametrize("segments", [1, 2, 7])
def test_a_body_in_segments_is_unchanged(daemon: Daemon, upstream: Upstream, segments: int) -> None:
    """SDKs send head and body separately; slow links may split them anywhere."""
    play = upstream.play(plays.plain(b"{}"))
    body = json.dumps({"model": play.model, "messages": [], "pad": "x" * 5000}).encode()
    head_bytes = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {daemon.address[0]}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with daemon.wire() as wire:
        wire.send(head_bytes.encode())
        for piece in cut(body, [len(body) // segments] * (segments - 1)):
            wire.send(piece)
        assert wire.answer().body == b"{}"
    assert play.wait().body == body


def test_a_chunked_json_body_arrives_complete(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plays.plain(b"{}"))
    body = json.dumps({"model": play.model, "messages": []}).encode()
    with daemon.wire() as wire:
        wire.send(f"POST /v1/embeddings HTTP/1.1\r\nHost: {wire.host}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        wire.send(b"".join(map(chunk, cut(body, [1, 2, 3]))) + LAST)
        assert wire.answer().status == 200
    assert play.wait().body == body
