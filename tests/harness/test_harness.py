"""The harness tested against itself: a tool that misses faults would make every test pass."""

import json
from collections.abc import Iterator

import pytest

from tests.harness import plays
from tests.harness.plays import FIN, HOLD, RST, TWO, chunk, head, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Closed, Wire


@pytest.fixture
def wire(upstream: Upstream) -> Iterator[Wire]:
    with Wire(("127.0.0.1", upstream.port)) as wire:
        yield wire


def test_a_complete_stream_is_complete(upstream: Upstream, wire: Wire) -> None:
    play = upstream.play(plays.stream(TWO, plays.DONE))
    answer = wire.chat(play.model).answer()
    assert answer.complete
    assert answer.body == TWO + plays.DONE
    assert answer.chunks == [len(TWO), len(plays.DONE), 0]


@pytest.mark.parametrize("ending", [FIN, RST], ids=repr)
def test_a_truncated_stream_is_incomplete(upstream: Upstream, wire: Wire, ending: plays.Ending) -> None:
    gate = upstream.gate()
    play = upstream.play(plays.SSE_HEAD, chunk(TWO), gate, ending)
    wire.chat(play.model).read_head()
    got = wire.read_until(b"two")
    gate.open()
    answer = wire.read_rest()
    assert not answer.complete
    assert wire.was_reset == (ending is RST)
    assert got


def test_a_short_body_is_incomplete(upstream: Upstream, wire: Wire) -> None:
    play = upstream.play(head("200 OK", {"Content-Length": "50"}) + b"short", FIN)
    answer = wire.chat(play.model).answer()
    assert (answer.complete, answer.body) == (False, b"short")


def test_a_missing_answer_differs_from_an_empty_one(upstream: Upstream, wire: Wire) -> None:
    play = upstream.play(FIN)
    with pytest.raises(Closed):
        wire.chat(play.model).answer()


def test_the_upstream_records_bytes_headers_and_disconnects(upstream: Upstream, wire: Wire) -> None:
    play = upstream.play(HOLD)
    body = json.dumps({"model": play.model}).encode()
    wire.request("POST", "/v1/x?y=1", body=body, headers=[("X-One", "a"), ("x-one", "b")])
    seen = play.wait()
    assert (seen.method, seen.target, seen.body) == ("POST", "/v1/x?y=1", body)
    assert seen.all("x-one") == ["a", "b"]
    assert not seen.hung_up.is_set()
    wire.abort()
    assert seen.gone()


def test_a_chunked_upload_is_recorded_as_it_arrives(upstream: Upstream, wire: Wire) -> None:
    play = upstream.play(plain(b"{}"))
    wire.send(f"POST /v1/files HTTP/1.1\r\nx-play: {play.model}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
    wire.send(chunk(b"abc"))
    assert not play.received(3).whole.is_set()
    wire.send(plays.LAST)
    assert play.wait().body == b"abc"
    assert wire.answer().status == 200


def test_a_canary_is_noticed_across_two_reads(upstream: Upstream, wire: Wire) -> None:
    gate = upstream.gate()
    play = upstream.play(plays.SSE_HEAD, chunk(b"my-se"), gate, chunk(b"cret"), plays.LAST)
    wire.watch_for(b"e\r\n4\r\ncre")
    wire.chat(play.model).read_head()
    wire.read_until(b"my-se")
    gate.open()
    with pytest.raises(AssertionError, match="a key came out"):
        wire.read_rest()


def test_idle_connections_can_be_dropped(upstream: Upstream, wire: Wire) -> None:
    assert wire.chat("anything").answer().json()["choices"]
    # The client may have the whole answer before the upstream's thread has noted that it sent it.
    eventually(lambda: upstream.busy() == 0, "no request is being answered")
    assert upstream.drop_idle() >= 1
    assert wire.wait_closed() == b""
