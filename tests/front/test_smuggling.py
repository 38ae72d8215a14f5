"""Fault matrix rows 47 and 50: requests whose end is ambiguous, and pipelines.

Every case is followed by a second request on the same connection. If the framing is in doubt, there is one 400 and
never a second answer, and nothing reaches the upstream.
"""

import json

import pytest

from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream
from tests.harness.wire import Closed

SECOND = b"GET /health?second HTTP/1.1\r\nHost: localhost\r\n\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
BODY = b'{"model":"m","messages":[]}'

DOUBTFUL = {
    "cl-then-te": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-then-cl": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "te-xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "te-identity": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "te-twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "te-gzip": POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
    "te-space-before-colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "te-vertical-tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "cl-space-before-colon": POST + b"Content-Length : 5\r\n\r\nabcde",
    "obs-fold": POST + b"X-A: b\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "leading-space-header": POST[:-2] + b"\r\n X: y\r\nContent-Length: 0\r\n\r\n",
    "bare-lf-headers": POST.replace(b"\r\n", b"\n") + b"Content-Length: 0\n\n",
    "bare-cr": POST + b"X-A: b\rContent-Length: 5\r\n\r\nabcde",
    "nul-in-value": POST + b"X-A: b\x00c\r\nContent-Length: 0\r\n\r\n",
    "nul-in-name": POST + b"X\x00A: b\r\nContent-Length: 0\r\n\r\n",
    "no-name": POST + b": b\r\nContent-Length: 0\r\n\r\n",
    "two-cl": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "cl-list": POST + b"Content-Length: 5, 5\r\n\r\nabcde",
    "cl-plus": POST + b"Content-Length: +5\r\n\r\nabcde",
    "cl-minus": POST + b"Content-Length: -5\r\n\r\nabcde",
    "cl-hex": POST + b"Content-Length: 0x5\r\n\r\nabcde",
    "cl-empty": POST + b"Content-Length:\r\n\r\n",
    "cl-arabic-digits": POST + "Content-Length: \u0665\r\n\r\nabcde".encode(),
    "cl-2-to-70": POST + b"Content-Length: 1180591620717411303424\r\n\r\nabcde",
    "chunk-2-to-64": POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\nabc",
    "chunk-negative": POST + b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "chunk-0x": POST + b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "chunk-too-long": POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    "chunk-lf-only": POST + b"Transfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
    "chunk-size-space": POST + b"Transfer-Encoding: chunked\r\n\r\n 3\r\nabc\r\n0\r\n\r\n",
    "http10-te": POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "http-1.2-3": b"GET /health HTTP/1.2.3\r\nHost: localhost\r\n\r\n",
    "http-9": b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "lower-http": b"GET /health http/1.1\r\nHost: localhost\r\n\r\n",
    "no-version": b"GET /health\r\n\r\n",
    "space-in-target": b"GET /health x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "nul-in-target": b"GET /hea\x00lth HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "method-brackets": b"G[]T /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20 + b"\r\n\r\n",
    "h2-preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "two-hosts": b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
    "long-line": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "long-field": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n",
    "many-fields": b"GET /health HTTP/1.1\r\nHost: localhost\r\n" + b"X-A: b\r\n" * 1000 + b"\r\n",
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_row47_one_refusal_and_never_a_second_answer(daemon: Daemon, upstream: Upstream, name: str) -> None:
    unclaimed = len(upstream.unclaimed)
    wire = daemon.wire()
    wire.try_send(DOUBTFUL[name] + SECOND)
    try:
        answer = wire.answer(method="GET")
    except Closed:
        pass  # closing without an answer is as good as a refusal
    else:
        check_error(answer, answer.status)
        assert answer.status in {400, 413, 414, 421, 431, 501, 505}, answer
        assert answer.header("server") is None or "aiohttp" not in (answer.header("server") or "")
    assert b"HTTP/1." not in wire.wait_closed(), "there was a second answer"
    posts = [seen for seen in upstream.unclaimed[unclaimed:] if seen.method == "POST"]
    assert posts == []


def test_row47_unusual_but_legal_requests_are_served(daemon: Daemon, upstream: Upstream) -> None:
    """Strictness must not refuse legal requests: chunk extensions, trailers, tabs, a leading blank line."""
    play = upstream.play(plain(b"{}"))
    body = json.dumps({"model": play.model, "messages": []}).encode()
    size = f"{len(body):X}".encode()
    legal = [
        b"\r\n" + POST + b"Content-Length: %d\r\n\r\n" % len(body) + body,
        POST + b"X-Tab:\tvalue\t\r\nContent-Length:   %d  \r\n\r\n" % len(body) + body,
        POST + b"transfer-encoding: Chunked\r\n\r\n" + size + b";a=b\r\n" + body + b"\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + size + b"\r\n" + body + b"\r\n0\r\nX-Trailer: 1\r\n\r\n",
    ]
    with daemon.wire() as wire:
        for count, request in enumerate(legal, 1):
            wire.send(request)
            assert wire.answer().status == 200
            assert play.wait(count).body == body


def test_a_trailer_is_not_a_header(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    body = json.dumps({"model": play.model, "messages": []}).encode()
    with daemon.wire() as wire:
        wire.send(
            POST
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + f"{len(body):x}\r\n".encode()
            + body
            + b"\r\n0\r\nX-Session-ID: smuggled\r\nAuthorization: Bearer smuggled\r\n\r\n"
        )
        assert wire.answer().header("x-session-id") is None
    seen = play.wait()
    assert seen.header("x-session-id") is None
    assert "smuggled" not in (seen.header("authorization") or "")


def test_a_get_with_a_body_stays_in_sync(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b'{"mine":1}'))
    with daemon.wire() as wire:
        for count in (1, 2):
            wire.request("GET", "/v1/files", body=SECOND, headers=[("X-Play", play.model)], content_type=None)
            assert wire.answer(method="GET").body == b'{"mine":1}'
            assert play.wait(count).body == SECOND


@pytest.mark.parametrize("size", [2, 300])
def test_row50_pipelined_requests_are_answered_in_order(daemon: Daemon, upstream: Upstream, size: int) -> None:
    answers = [f'{{"n":{n}}}'.encode() for n in range(size)]
    plays = [upstream.play(plain(body), name="pipe") for body in answers]
    with daemon.wire() as wire:
        for play in plays:
            wire.chat(play.model)
        for body in answers:
            assert wire.answer().body == body


def test_row50_pipelined_in_one_segment_and_mixed(daemon: Daemon, upstream: Upstream) -> None:
    """Our own answers, including an error, come between passed-through ones; all requests are sent in one write."""
    body = json.dumps({"model": upstream.play(plain(b'{"n":1}')).model, "messages": []}).encode()
    ask = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    wrong = POST + b"Content-Length: 4\r\n\r\noops"
    with daemon.wire() as wire:
        wire.send(ask + SECOND + wrong + ask + SECOND)
        assert wire.answer().body == b'{"n":1}'
        assert wire.answer(method="GET").json()["status"] == "ok"
        check_error(wire.answer(), 400)
        if not wire.ended and wire.try_send(b""):
            assert wire.answer().body == b'{"n":1}'
            assert wire.answer(method="GET").json()["status"] == "ok"


def test_row50_a_pipelined_request_waits_for_the_stream_before_it(daemon: Daemon, upstream: Upstream) -> None:
    gate = upstream.gate()
    first = upstream.play(plain(b'{"n":1}')[:-3], gate, b":1}")
    second = upstream.play(plain(b'{"n":2}'))
    with daemon.wire() as wire:
        wire.chat(first.model)
        wire.chat(second.model)
        wire.read_head()
        got = wire.read_until(b'"n"')
        gate.open()
        assert wire.read_rest(before=got).body == b'{"n":1}'
        assert wire.answer().body == b'{"n":2}'


@pytest.mark.parametrize("version", ["1.0", "1.1"])
def test_connection_close_is_obeyed(daemon: Daemon, upstream: Upstream, version: str) -> None:
    play = upstream.play(plain(b'{"ok":1}'))
    body = json.dumps({"model": play.model, "messages": []})
    with daemon.wire() as wire:
        wire.send(
            f"POST /v1/chat/completions HTTP/{version}\r\nHost: localhost\r\nConnection: close\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        answer = wire.answer()
        assert (answer.status, answer.body) == (200, b'{"ok":1}')
        assert wire.wait_closed() == b""


def test_http10_keep_alive_and_no_chunks(daemon: Daemon, upstream: Upstream) -> None:
    """A streamed answer to HTTP/1.0 has no chunk framing: it ends with the connection."""
    from tests.harness.plays import DONE, TWO, stream

    play = upstream.play(stream(TWO, DONE))
    body = json.dumps({"model": play.model, "messages": [], "stream": True})
    with daemon.wire() as wire:
        wire.send(
            f"POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        answer = wire.answer()
        assert (answer.framing, answer.complete, answer.body) == ("close", True, TWO + DONE)
