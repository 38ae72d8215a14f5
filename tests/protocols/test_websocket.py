"""Frames of a WebSocket client are read the same wherever its bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.protocols.websocket import (
    MAX_FRAMES,
    MAX_MESSAGE,
    MAX_READ,
    MESSAGE_TOO_BIG,
    PROTOCOL_ERROR,
    ClientFrames,
    ClientMessage,
    ServerMessages,
    WebSocketError,
    client_frame,
    close_frame,
    unmasked,
)
from tests.harness.websocket import BINARY, CLOSE, PING, TEXT, frame


def fragments(data: bytes, count: int, *, masked: bool = True) -> list[bytes]:
    """A text message in `count` frames."""
    step = max(1, -(-len(data) // count))
    pieces = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    made = []
    for number, piece in enumerate(pieces):
        head = bytearray(frame(TEXT if number == 0 else 0, piece, masked=masked))
        if number + 1 < len(pieces):
            head[0] &= 0x7F
        made.append(bytes(head))
    return made


ITEMS = st.one_of(
    st.tuples(st.just("text"), st.binary(max_size=300), st.integers(1, 3)),
    st.tuples(st.just("binary"), st.binary(max_size=300), st.just(1)),
    st.tuples(st.just("ping"), st.binary(max_size=20), st.just(1)),
)


@given(st.lists(ITEMS, max_size=6), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_cuts_do_not_change_the_messages(items: list[tuple[str, bytes, int]], steps: list[int]) -> None:
    stream, said, others = b"", [], b""
    for kind, data, count in items:
        if kind == "text":
            stream += b"".join(fragments(data, count))
            said.append((TEXT, data))
        elif kind == "binary":
            stream += frame(BINARY, data, masked=True)
            said.append((BINARY, data))
        else:
            made = frame(PING, data, masked=True)
            stream, others = stream + made, others + made
    reader, found, at, number = ClientFrames(), [], 0, 0
    while at < len(stream):
        step = steps[number % len(steps)]
        found += reader.feed(stream[at : at + step])
        at, number = at + step, number + 1
    assert [(item.kind, item.data()) for item in found if isinstance(item, ClientMessage)] == said
    assert b"".join(item for item in found if isinstance(item, bytes)) == others
    assert sum(len(item.raw if isinstance(item, ClientMessage) else item) for item in found) == len(stream)


def test_a_control_frame_passes_between_the_fragments_of_a_text() -> None:
    first, last = fragments(b"hello", 2)
    ping = frame(PING, b"x", masked=True)
    found = ClientFrames().feed(first + ping + last)
    assert found[0] == ping
    assert isinstance(found[1], ClientMessage)
    assert (found[1].kind, found[1].data(), found[1].raw) == (TEXT, b"hello", first + last)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", masked=False), PROTOCOL_ERROR),
        (bytes((0xC1,)) + frame(TEXT, b"x", masked=True)[1:], PROTOCOL_ERROR),
        (bytes((0x81, 0xFF)) + (MAX_MESSAGE + 1).to_bytes(8) + b"mask", MESSAGE_TOO_BIG),
        (bytes((0x82, 0xFF)) + (MAX_MESSAGE + 1).to_bytes(8) + b"mask", MESSAGE_TOO_BIG),
        (fragments(b"ab", 2)[1], PROTOCOL_ERROR),
        (fragments(b"ab", 2)[0] + frame(TEXT, b"c", masked=True), PROTOCOL_ERROR),
        (fragments(b"ab", 2)[0] + frame(BINARY, b"c", masked=True), PROTOCOL_ERROR),
        (frame(3, b"x", masked=True), PROTOCOL_ERROR),
        (frame(11, b"x", masked=True), PROTOCOL_ERROR),
        (frame(PING, b"x" * 126, masked=True), PROTOCOL_ERROR),
        (bytes((CLOSE,)) + frame(CLOSE, b"", masked=True)[1:], PROTOCOL_ERROR),
    ],
    ids=[
        "not masked", "a reserved bit", "a text too long", "audio too long", "nothing to continue", "a text in a text",
        "audio in a text", "an unknown kind", "an unknown control", "a ping too long", "a close in pieces",
    ],
)  # fmt: skip
def test_violations_of_the_protocol(data: bytes, code: int) -> None:
    with pytest.raises(WebSocketError) as refused:
        ClientFrames().feed(data)
    assert refused.value.code == code


def test_frame_headers_count_too() -> None:
    """A message of empty frames grows, too."""
    reader = ClientFrames()
    reader.feed(fragments(b"a" * 2 * (MAX_MESSAGE - 100), 2)[0])
    empty = bytes((0,)) + frame(0, b"", masked=True)[1:]
    with pytest.raises(WebSocketError) as refused:
        reader.feed(empty * 100)
    assert refused.value.code == MESSAGE_TOO_BIG


def test_a_message_has_no_endless_number_of_frames() -> None:
    """Each of them takes a hundred bytes here."""
    reader = ClientFrames()
    reader.feed(fragments(b"ab", 2)[0] + (bytes((0,)) + frame(0, b"", masked=True)[1:]) * (MAX_FRAMES - 1))
    with pytest.raises(WebSocketError) as refused:
        reader.feed(frame(0, b"", masked=True))
    assert refused.value.code == MESSAGE_TOO_BIG


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(data: bytes, mask: bytes) -> None:
    assert unmasked(unmasked(data, mask), mask) == data


def test_frames_that_we_write() -> None:
    for size in (0, 125, 126, 65535, 65536):
        (message,) = ClientFrames().feed(client_frame(BINARY, b"a" * size))
        assert isinstance(message, ClientMessage)
        assert message.kind == BINARY
        assert message.data() == b"a" * size
    assert close_frame(1008, "no") == b"\x88\x04\x03\xf0no"


@given(st.lists(ITEMS, max_size=6), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_frames_of_a_server_are_read_the_same(items: list[tuple[str, bytes, int]], steps: list[int]) -> None:
    stream = b"".join(
        b"".join(fragments(data, count, masked=False))
        if kind == "text"
        else frame(BINARY if kind == "binary" else PING, data, masked=False)
        for kind, data, count in items
    )
    reader, found, at, number = ServerMessages(), [], 0, 0
    while at < len(stream):
        step = steps[number % len(steps)]
        found += reader.feed(stream[at : at + step])
        at, number = at + step, number + 1
    assert found == [data for kind, data, _ in items if kind == "text"]


def test_an_overlong_message_of_a_server_is_skipped() -> None:
    large = b"".join(fragments(b"x" * (MAX_READ + 1), 3, masked=False))
    assert ServerMessages().feed(large + frame(TEXT, b"next", masked=False)) == [b"next"]
