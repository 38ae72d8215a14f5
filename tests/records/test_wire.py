"""Framing and content coding come off, wherever the stream is cut."""

import gzip
import zlib

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.records.reading.decoding import MAX_INFLATED, Dechunker, Inflater, decoders


def cuts(data: bytes, size: int) -> list[bytes]:
    return [data[n : n + size] for n in range(0, len(data), size)]


@given(
    st.lists(
        st.one_of(st.binary(min_size=1, max_size=40), st.just(b"a\r\nb\r\n"), st.binary(min_size=1, max_size=30_000))
    ),
    st.lists(st.integers(0, 100_000)),
    st.sampled_from([b"", b";ext=1", b' ; q="x"']),
    st.booleans(),
)
def test_payloads_come_back_whole(payloads: list[bytes], places: list[int], extension: bytes, upper: bool) -> None:
    form = b"%X" if upper else b"%x"
    wire = b"".join(form % len(p) + extension + b"\r\n" + p + b"\r\n" for p in payloads)
    wire += b"0\r\nTrailer: x\r\n\r\n"
    dechunker = Dechunker()
    out, last = b"", 0
    for place in sorted({min(p, len(wire)) for p in places} | {len(wire)}):
        out += dechunker.feed(wire[last:place])
        last = place
    assert out == b"".join(payloads)
    assert dechunker.ended
    assert not dechunker.broken


def test_every_single_cut() -> None:
    wire = b"5\r\nhello\r\n8\r\n\r\nwo\r\nrl\r\n1\r\nd\r\n0\r\n\r\n"
    for place in range(len(wire)):
        dechunker = Dechunker()
        assert dechunker.feed(wire[:place]) + dechunker.feed(wire[place:]) == b"hello\r\nwo\r\nrld"
        assert dechunker.ended


def test_what_is_no_chunk_size_is_the_end() -> None:
    for wire in (
        b"zz\r\nhello\r\n",
        b"-5\r\nhello\r\n",
        b"0x5\r\nhello\r\n",
        b"+5\r\nhello\r\n",
        b"\r\n\r\n\r\n",
        b"5" * 20_000,
    ):
        dechunker = Dechunker()
        dechunker.feed(wire)
        assert dechunker.broken, wire


def test_a_chunk_that_never_ends_is_not_held() -> None:
    dechunker = Dechunker()
    seen = len(dechunker.feed(b"ffffff\r\n"))
    for _ in range(100):
        seen += len(dechunker.feed(b"x" * 10_000))
    assert seen > 990_000


def test_gzip_and_both_kinds_of_deflate_in_pieces() -> None:
    text = b"the same again " * 500
    raw = zlib.compressobj(wbits=-15)
    coded = {
        "gzip": [gzip.compress(text), gzip.compress(text[:100]) + gzip.compress(text[100:])],
        "deflate": [zlib.compress(text), raw.compress(text) + raw.flush()],
    }
    for coding, forms in coded.items():
        for form in forms:
            inflater = Inflater(coding)
            assert b"".join(map(inflater.feed, cuts(form, 7))) == text
            assert not inflater.broken


def test_a_bomb_stops_at_the_bound() -> None:
    inflater = Inflater("gzip")
    out = inflater.feed(gzip.compress(b"\0" * (MAX_INFLATED + 1000)))
    assert len(out) <= MAX_INFLATED + 1
    assert inflater.broken


def test_wrong_data_is_broken_not_an_exception() -> None:
    inflater = Inflater("gzip")
    assert inflater.feed(b"this is no gzip") == b""
    assert inflater.broken


def test_an_unknown_coding_gives_nothing() -> None:
    (decoder,) = decoders("length", "br")
    assert decoder.feed(b"anything") == b""
    assert decoder.broken
