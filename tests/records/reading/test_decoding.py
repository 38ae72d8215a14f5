"""Content codings are removed from a copy, without ever raising."""

import gzip

from openai_proxy.records.reading.decoding import MAX_INFLATED, decoder


def test_a_decompression_bomb_ends_the_reading() -> None:
    inflating = decoder("gzip")
    assert inflating is not None
    sizes = [len(piece) for piece in inflating.pieces(gzip.compress(b"\0" * (MAX_INFLATED + 1000)))]
    assert sum(sizes) <= MAX_INFLATED
    assert max(sizes) <= 64 * 1024, "the event loop waits for no more than a piece"
    assert inflating.broken
    assert list(inflating.pieces(b"more")) == []


def test_invalid_data_is_reported_not_raised() -> None:
    inflating = decoder("gzip")
    assert inflating is not None
    assert list(inflating.pieces(b"\x1f\x8bthis is not gzip")) == []
    assert inflating.broken


def test_an_unknown_coding_gives_nothing() -> None:
    opaque = decoder("br")
    assert opaque is not None
    assert list(opaque.pieces(b"anything")) == []
    assert opaque.broken


def test_no_coding_needs_no_decoder() -> None:
    assert decoder("") is None
    assert decoder("identity") is None
