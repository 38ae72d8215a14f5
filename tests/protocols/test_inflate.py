"""Content codings are removed, wherever the stream is cut and within a bound."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.protocols.inflate import DamagedError, Inflater, TooLongError, readable_part

TEXT = b"the same again " * 500


def bare(data: bytes) -> bytes:
    """Deflate without its wrapper."""
    engine = zlib.compressobj(wbits=-15)
    return engine.compress(data) + engine.flush()


FORMS = [
    gzip.compress(TEXT),
    gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]),
    zlib.compress(TEXT),
    bare(TEXT),
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_every_coding_in_pieces(form: bytes, step: int) -> None:
    inflater = Inflater(len(TEXT))
    assert b"".join(inflater.feed(form[at : at + step]) for at in range(0, len(form), step)) == TEXT
    assert inflater.ended


@given(st.binary(max_size=2000), st.integers(1, 50))
def test_any_bytes_are_restored(data: bytes, step: int) -> None:
    form = gzip.compress(data)
    inflater = Inflater(len(data))
    assert b"".join(inflater.feed(form[at : at + step]) for at in range(0, len(form), step)) == data


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1, 100, 4096, len(TEXT)])
def test_no_piece_is_larger_than_requested(form: bytes, size: int) -> None:
    pieces = list(Inflater(len(TEXT)).pieces(form, size))
    assert b"".join(pieces) == TEXT
    assert max(map(len, pieces)) <= size


def test_a_piece_is_unpacked_only_when_it_is_asked_for() -> None:
    pieces = Inflater(len(TEXT)).pieces(gzip.compress(TEXT) + b"this is not gzip", len(TEXT))
    assert next(pieces) == TEXT
    with pytest.raises(DamagedError):
        next(pieces)


def test_a_truncated_stream_has_not_ended() -> None:
    inflater = Inflater(len(TEXT))
    inflater.feed(FORMS[0][:-9])
    assert not inflater.ended


def test_a_decompression_bomb_stops_at_the_bound() -> None:
    with pytest.raises(TooLongError):
        Inflater(len(TEXT) - 1).feed(gzip.compress(TEXT))
    assert readable_part(gzip.compress(TEXT), len(TEXT) - 1) == b""


def test_invalid_data_is_reported_as_damaged() -> None:
    with pytest.raises(DamagedError):
        Inflater(100).feed(b"\x1f\x8bthis is not gzip")
    assert readable_part(b"\x1f\x8bthis is not gzip", 100) == b""


def test_the_beginning_of_a_body_can_be_read() -> None:
    assert TEXT.startswith(readable_part(FORMS[0][: len(FORMS[0]) // 2], len(TEXT)))
