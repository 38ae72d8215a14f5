"""What a WebSocket client sends is cut the same wherever its bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.protocols.websocket import (
    MAX_MESSAGE,
    MESSAGE_TOO_BIG,
    PROTOCOL_ERROR,
    ClientFrames,
    TextMessage,
    WebSocketError,
    close_frame,
    text_frame,
    unmasked,
)
from tests.harness.websocket import BINARY, PING, TEXT, frame


def fragments(data: bytes, count: int) -> list[bytes]:
    """A text message in `count` frames."""
    step = max(1, -(-len(data) // count))
    pieces = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
    made = []
    for number, piece in enumerate(pieces):
        head = bytearray(frame(TEXT if number == 0 else 0, piece, masked=True))
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
def test_every_cut_gives_the_same(items: list[tuple[str, bytes, int]], steps: list[int]) -> None:
    stream, texts, others = b"", [], b""
    for kind, data, count in items:
        if kind == "text":
            stream += b"".join(fragments(data, count))
            texts.append(data)
        else:
            made = frame(BINARY if kind == "binary" else PING, data, masked=True)
            stream, others = stream + made, others + made
    reader, found, at, number = ClientFrames(), [], 0, 0
    while at < len(stream):
        step = steps[number % len(steps)]
        found += reader.feed(stream[at : at + step])
        at, number = at + step, number + 1
    assert [item.data for item in found if isinstance(item, TextMessage)] == texts
    assert b"".join(item for item in found if isinstance(item, bytes)) == others
    assert sum(len(item.raw if isinstance(item, TextMessage) else item) for item in found) == len(stream)


def test_a_control_frame_passes_between_the_fragments_of_a_text() -> None:
    first, last = fragments(b"hello", 2)
    ping = frame(PING, b"x", masked=True)
    found = ClientFrames().feed(first + ping + last)
    assert found == [ping, TextMessage(b"hello", first + last)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"x", masked=False), PROTOCOL_ERROR),
        (bytes((0xC1,)) + frame(TEXT, b"x", masked=True)[1:], PROTOCOL_ERROR),
        (bytes((0x81, 0xFF)) + (MAX_MESSAGE + 1).to_bytes(8) + b"mask", MESSAGE_TOO_BIG),
    ],
    ids=["not masked", "a reserved bit", "too long"],
)
def test_what_breaks_the_protocol(data: bytes, code: int) -> None:
    with pytest.raises(WebSocketError) as refused:
        ClientFrames().feed(data)
    assert refused.value.code == code


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_masking_is_its_own_inverse(data: bytes, mask: bytes) -> None:
    assert unmasked(unmasked(data, mask), mask) == data


def test_frames_of_ours() -> None:
    for size in (0, 125, 126, 65535, 65536):
        (message,) = ClientFrames().feed(text_frame(b"a" * size))
        assert isinstance(message, TextMessage)
        assert message.data == b"a" * size
    assert close_frame(1008, "no") == b"\x88\x04\x03\xf0no"
