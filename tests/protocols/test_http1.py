"""Response heads and body framing (RFC 9112) without a socket, cut or malformed in any place."""

import itertools
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.protocols.http1 import (
    MAX_CHUNK_LINE,
    MAX_FIELDS,
    MAX_TRAILERS,
    ChunkedFraming,
    CloseFraming,
    LengthFraming,
    Malformed,
    ParserState,
    ResponseHead,
    framing_for,
)


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK") -> ResponseHead:
    return ResponseHead(b"\r\n".join([status, *lines]) + b"\r\n")


def encoded(pieces: Iterable[bytes], trailers: bytes = b"") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in pieces if p) + b"0\r\n" + trailers + b"\r\n"


# -- heads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK",  # no line end
        b"HTTP/2 200 OK\r\n",
        b"HTTP/1.1 099 Odd\r\n",
        b"HTTP/1.1 2000 Long\r\n",
        b"HTTP/1.1  200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nA b: c\r\n",
        b"HTTP/1.1 200 OK\r\nA : c\r\n",  # space before the colon: the classic of request smuggling
        b"HTTP/1.1 200 OK\r\n: c\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\nC: d\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n",
        b"HTTP/1.1 200 OK\r\nA: \0\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n",
    ],
)
def test_a_malformed_head_is_refused(text: bytes) -> None:
    with pytest.raises(Malformed):
        ResponseHead(text)


def test_a_head_of_too_many_fields_is_refused() -> None:
    head(*[b"A: b"] * MAX_FIELDS)
    with pytest.raises(Malformed, match="too many"):
        head(*[b"A: b"] * (MAX_FIELDS + 1))


def test_relevant_fields_are_read_in_any_case() -> None:
    seen = head(
        b"content-TYPE:\ttext/event-stream ", b"CONTENT-encoding: gzip", b"Content-Length: 12", b"X-Request-ID: r"
    )
    assert (seen.status, seen.reason, seen.length, seen.chunked) == (200, b"OK", 12, False)
    assert (seen.content_type, seen.content_encoding, seen.has_request_id) == (b"text/event-stream", b"gzip", True)
    assert seen.get(b"content-type") == b"text/event-stream"
    assert seen.get(b"location") is None
    assert head(status=b"HTTP/1.1 200").reason == b""


def test_an_empty_reason_and_obs_text_are_allowed() -> None:
    seen = head(b"X: \xc3\xa9 \xff", status=b"HTTP/1.1 503 ")
    assert (seen.status, seen.reason, seen.items()) == (503, b"", [(b"X", b"\xc3\xa9 \xff")])


@pytest.mark.parametrize(
    ("status", "connection", "kept"),
    [
        (b"HTTP/1.1 200 OK", b"", True),
        (b"HTTP/1.1 200 OK", b"Close", False),
        (b"HTTP/1.1 200 OK", b"x, close", False),
        (b"HTTP/1.0 200 OK", b"", False),
        (b"HTTP/1.0 200 OK", b"Keep-Alive", True),
        (b"HTTP/1.0 200 OK", b"keep-alive, close", False),
    ],
)
def test_whether_a_connection_is_kept(status: bytes, connection: bytes, kept: bool) -> None:
    assert head(b"Connection: " + connection, status=status).keep_alive is kept


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"timeout=5", 5.0), (b"max=100, Timeout = 7", None), (b"max=100, timeout=7", 7.0), (b"timeout=x", None)],
)
def test_the_keep_alive_timeout_of_a_server_is_read(value: bytes, seconds: float | None) -> None:
    assert head(b"Keep-Alive: " + value).keep_alive_timeout() == seconds
    assert head().keep_alive_timeout() is None


def test_only_hop_by_hop_fields_are_removed() -> None:
    seen = head(
        b"Content-Type: text/plain", b"Set-Cookie: a=b", b"set-cookie2: a", b"Connection: keep-alive, X-Hop",
        b"Keep-Alive: timeout=5", b"X-HOP: 1", b"X-Hop-Two: 2", b"Access-Control-Allow-Origin: *", b"Alt-Svc: h3",
        b"Proxy-Authenticate: x", b"Upgrade: y", b"Trailer: z", b"TE: t", b"Transfer-Encoding: chunked", b"x:y",
    )  # fmt: skip
    assert seen.connection_options() == {b"x-hop"}
    assert seen.forwarded() == (b"Content-Type: text/plain\r\nX-Hop-Two: 2\r\nTransfer-Encoding: chunked\r\nx:y\r\n")


def test_connection_cannot_take_the_framing_away() -> None:
    seen = head(b"Connection: content-length, transfer-encoding, close", b"Content-Length: 3")
    assert seen.connection_options() == set()
    assert seen.forwarded() == b"Content-Length: 3\r\n"


# -- which framing -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "status", "fields", "kind", "state"),
    [
        ("HEAD", b"200", [b"Content-Length: 5"], LengthFraming, ParserState.DONE),
        ("POST", b"204", [b"Transfer-Encoding: chunked"], LengthFraming, ParserState.DONE),
        ("GET", b"304", [b"Content-Length: 5"], LengthFraming, ParserState.DONE),
        ("GET", b"101", [], LengthFraming, ParserState.DONE),
        ("POST", b"200", [b"Transfer-Encoding: Chunked"], ChunkedFraming, ParserState.OPEN),
        ("POST", b"200", [b"Content-Length: 5"], LengthFraming, ParserState.OPEN),
        ("POST", b"200", [b"Content-Length: 0"], LengthFraming, ParserState.DONE),
        ("POST", b"200", [], CloseFraming, ParserState.OPEN),
    ],
)
def test_how_a_body_is_delimited(
    method: str, status: bytes, fields: list[bytes], kind: type, state: ParserState
) -> None:
    framing = framing_for(head(*fields, status=b"HTTP/1.1 " + status + b" X"), method)
    assert type(framing) is kind
    assert framing.state is state


def test_a_body_of_a_known_length_ends_there_and_detects_more_bytes() -> None:
    framing = LengthFraming(5)
    payload: list[bytes] = []
    assert framing.feed(b"abc", payload) == b"abc"
    assert (framing.state, framing.extra, framing.at_event_boundary()) == (ParserState.OPEN, False, False)
    assert framing.feed(b"deXY", payload) == b"de"
    assert (framing.state, framing.extra, payload) == (ParserState.DONE, True, [b"abc", b"de"])


def test_a_body_until_close_is_everything_that_comes() -> None:
    framing = CloseFraming()
    payload: list[bytes] = []
    assert framing.feed(b"abc", payload) == b"abc"
    assert (framing.state, payload, framing.at_event_boundary()) == (ParserState.OPEN, [b"abc"], False)


# -- chunks --------------------------------------------------------------------------------------------------------


def fed(wire: bytes, cuts: Iterable[int], *, decode: bool = True) -> tuple[ChunkedFraming, bytes, bytes]:
    """The framing after reading `wire` in pieces, the bytes it passed on, and the payload it extracted."""
    framing = ChunkedFraming()
    passed = b""
    payload: list[bytes] = []
    positions = [0, *sorted(cuts), len(wire)]
    for start, stop in itertools.pairwise(positions):
        if start < stop and framing.state is ParserState.OPEN:
            passed += framing.feed(wire[start:stop], payload if decode else None)
    return framing, passed, b"".join(payload)


PIECES = [b"data: {}\n\n", b"x", b"", b"ab\r\n0\r\n\r\n", b"y" * 300]


def test_chunks_may_be_cut_at_every_byte() -> None:
    wire = encoded(PIECES)
    for cut in range(len(wire) + 1):
        for decode in (True, False):
            framing, passed, payload = fed(wire, [cut], decode=decode)
            assert (framing.state, framing.extra, passed) == (ParserState.DONE, False, wire)
            assert payload == (b"".join(PIECES) if decode else b"")


def test_chunks_may_come_byte_by_byte() -> None:
    wire = encoded(PIECES)
    framing, passed, payload = fed(wire, range(len(wire)))
    assert (framing.state, passed, payload) == (ParserState.DONE, wire, b"".join(PIECES))


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 400), max_size=8), st.booleans()
)
def test_any_chunks_at_any_cuts(pieces: list[bytes], cuts: list[int], decode: bool) -> None:
    wire = encoded(pieces)
    framing, passed, payload = fed(wire, [cut for cut in cuts if cut < len(wire)], decode=decode)
    assert (framing.state, framing.extra, passed) == (ParserState.DONE, False, wire)
    if decode:
        assert payload == b"".join(pieces)


@given(st.binary(max_size=80), st.lists(st.integers(0, 79), max_size=6))
def test_cuts_never_change_how_bytes_are_judged(wire: bytes, cuts: list[int]) -> None:
    whole, passed_whole, payload_whole = fed(wire, [])
    cut, passed, payload = fed(wire, [c for c in cuts if c < len(wire)])
    assert cut.state is whole.state
    if whole.state is not ParserState.BROKEN:
        assert (passed, payload) == (passed_whole, payload_whole)
    else:  # a part of a broken chunk's payload may have been passed on before it proved broken, but no other bytes
        assert wire.startswith(passed)
        assert payload.startswith(payload_whole)


def test_an_unfinished_size_line_is_held_back() -> None:
    framing = ChunkedFraming()
    assert framing.feed(b"3\r\nabc\r\n1") == b"3\r\nabc\r\n"
    assert framing.feed(b'0;ext="v"\r') == b""
    assert framing.feed(b"\nabc") == b'10;ext="v"\r\nabc'
    assert framing.state is ParserState.OPEN


@pytest.mark.parametrize("size", [b"10", b"0A", b"a \t", b"A;x=y", b"00000A"])
def test_sizes_as_the_rfc_writes_them(size: bytes) -> None:
    length = int(size.split(b";")[0], 16)
    wire = size + b"\r\n" + b"z" * length + b"\r\n0\r\n\r\n"
    for cuts in ([], [len(wire) - 5]):  # the last chunk with it, and after it
        framing, passed, payload = fed(wire, cuts)
        assert (framing.state, passed, payload) == (ParserState.DONE, wire, b"z" * length)


@pytest.mark.parametrize(
    ("end", "boundary"),
    [(b"}\n\n", True), (b"}\r\n\r\n", True), (b"}\r\r", True), (b"}\n", False), (b"}", False), (b"\n\n}", False)],
)
def test_places_where_an_event_of_our_own_may_follow(end: bytes, boundary: bool) -> None:
    payload = b"data: {" + end
    chunk = b"%x\r\n%b\r\n" % (len(payload), payload)
    for cut in range(len(chunk)):
        framing = ChunkedFraming()
        framing.feed(chunk[:cut])
        framing.feed(chunk[cut:])
        assert framing.at_event_boundary() is boundary


@pytest.mark.parametrize(
    "line",
    [
        b"\r\n", b"g\r\n", b"-3\r\nabc\r\n", b"+3\r\nabc\r\n", b"0x3\r\nabc\r\n", b" 3\r\nabc\r\n", b"3\nabc\r\n",
        b"3 3\r\nabc\r\n", b"1_0\r\n", b"3;a\0b\r\nabc\r\n", b"3;a\nb\r\nabc\r\n", b"1" * 16 + b"\r\n",
    ],
)  # fmt: skip
def test_a_malformed_size_breaks_the_body_between_two_chunks(line: bytes) -> None:
    good = encoded([b"data: 1\n\n"])[:-5]
    for cut in range(len(good), len(good) + len(line)):
        framing, passed, payload = fed(good + line + b"0\r\n\r\n", [cut])
        assert (framing.state, passed, payload) == (ParserState.BROKEN, good, b"data: 1\n\n")
        assert framing.at_event_boundary(), "an error event can still follow the last whole chunk"


def test_a_size_line_without_an_end_breaks_the_body() -> None:
    framing = ChunkedFraming()
    assert framing.feed(b"3;" + b"x" * (MAX_CHUNK_LINE - 2)) == b""
    assert framing.state is ParserState.OPEN
    assert framing.feed(b"x") == b""
    assert framing.state is ParserState.BROKEN


@pytest.mark.parametrize("end", [b"XX", b"\rX", b"X\n", b"\n\n"])
def test_a_chunk_longer_than_it_said_breaks_the_body_inside_the_chunk(end: bytes) -> None:
    wire = b"3\r\nabc" + end + b"0\r\n\r\n"
    for cut in range(len(wire) - 5):
        framing, passed, _ = fed(wire, [cut])
        assert framing.state is ParserState.BROKEN
        assert b"3\r\nabc".startswith(passed[:6])
        assert not framing.at_event_boundary()


def test_trailers_are_removed_at_every_cut() -> None:
    wire = encoded([b"abc"], b"X-Sum: 1\r\nX-Two: 2\r\n")
    for cut in range(len(wire) + 1):
        framing, passed, payload = fed(wire, [cut])
        assert (framing.state, framing.extra, passed, payload) == (ParserState.DONE, False, encoded([b"abc"]), b"abc")


def test_endless_trailers_break_the_body() -> None:
    framing = ChunkedFraming()
    assert framing.feed(b"0\r\n") == b""
    assert framing.feed(b"a: b\r\n" * (MAX_TRAILERS // 6 + 2)) == b""
    assert framing.state is ParserState.BROKEN


@pytest.mark.parametrize("trailers", [b"", b"A: b\r\n"])
def test_bytes_after_the_end_are_detected_and_not_passed_on(trailers: bytes) -> None:
    framing, passed, _ = fed(encoded([b"abc"], trailers) + b"HTTP/1.1 200 OK", [])
    assert (framing.state, framing.extra, passed) == (ParserState.DONE, True, encoded([b"abc"]))


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r\n"])
def test_the_end_of_an_event_is_detected_however_its_bytes_are_chunked(end: bytes) -> None:
    text = b"data: 1" + end
    for cut in range(1, len(text)):
        for decode in (True, False):
            wire = encoded([text[:cut], text[cut:]])[:-5]
            framing = fed(wire, range(len(wire)), decode=decode)[0]
            assert framing.at_event_boundary()
            assert not fed(wire[:-1], [], decode=decode)[0].at_event_boundary(), "the last chunk is incomplete"


def test_the_middle_of_an_event_is_no_boundary() -> None:
    for text in (b"data: 1", b"data: 1\n", b"data: 1\r\n", b"\n\nx"):
        for _ in range(2):  # the second time the size is known and the shortcut is taken
            framing = ChunkedFraming()
            framing.feed(encoded([text])[:-5])
            assert not framing.at_event_boundary()
    assert ChunkedFraming().at_event_boundary(), "an empty body is at an event boundary"


def test_the_shortcut_for_one_known_chunk_is_not_fooled() -> None:
    ChunkedFraming().feed(b"6\r\nabcdef\r\n")  # now "6" is known
    framing = ChunkedFraming()
    assert framing.feed(b"6\r\nabcd\r\n") == b"6\r\nabcd\r\n", (
        "CRLF is the end of the six bytes of payload, not of the chunk"
    )
    assert not framing.at_event_boundary()
    assert framing.feed(b"\r\n") == b"\r\n"
    assert framing.feed(b"6\r\nabcdef\r\n5\r\nab") == b"6\r\nabcdef\r\n5\r\nab"
    assert framing.feed(b"cde\r\n0\r\n\r\n") == b"cde\r\n0\r\n\r\n"
    assert framing.state is ParserState.DONE
