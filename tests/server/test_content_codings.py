"""Compressed request bodies, read within a bound."""

import gzip
import random
import zlib

import brotli
import pytest
import zstandard

from openai_proxy.errors import BadRequest, TooLarge
from openai_proxy.server.content_codings import decoded

TEXT = (
    b'{"model":"m","messages":[{"role":"user","content":"' + random.Random(1).randbytes(3000).hex().encode() + b'"}]}'
)
CODINGS = {
    "gzip": gzip.compress(TEXT),
    "x-gzip": gzip.compress(TEXT),
    "deflate": zlib.compress(TEXT),
    "zstd": zstandard.compress(TEXT),
    "br": brotli.compress(TEXT),
}


@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_is_removed(coding: str) -> None:
    assert decoded(CODINGS[coding], coding.upper(), len(TEXT)) == TEXT


def test_no_coding_and_several() -> None:
    assert decoded(TEXT, "identity", 10_000) == decoded(TEXT, "", 10_000) == TEXT
    assert decoded(zstandard.compress(gzip.compress(TEXT)), "gzip, zstd", 10_000) == TEXT
    streamed = zstandard.ZstdCompressor().compressobj()
    assert decoded(streamed.compress(TEXT) + streamed.flush(), "zstd", 10_000) == TEXT


@pytest.mark.parametrize("coding", CODINGS)
def test_bodies_too_large_unpacked_are_refused_before_they_are(coding: str) -> None:
    compress = {"zstd": zstandard.compress, "br": brotli.compress, "deflate": zlib.compress}.get(coding, gzip.compress)
    with pytest.raises(TooLarge):
        decoded(compress(bytes(50_000_000)), coding, 1_000_000)
    with pytest.raises(TooLarge):
        decoded(CODINGS[coding], coding, len(TEXT) - 1)


@pytest.mark.parametrize("coding", CODINGS)
def test_damaged_bodies(coding: str) -> None:
    with pytest.raises(BadRequest):
        decoded(b"\xff\xfe not compressed", coding, 10_000)
    if coding != "zstd":  # a truncated body ends early and is not JSON then
        with pytest.raises(BadRequest):
            decoded(CODINGS[coding][:-9], coding, 10_000)


@pytest.mark.parametrize("codings", ["lzma", "gzip, lzma", "gzip,gzip,gzip,gzip,gzip"])
def test_unknown_codings(codings: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decoded(b"", codings, 10)
    assert caught.value.code == "unsupported_encoding"
