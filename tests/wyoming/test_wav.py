"""Streamed WAV: any cut gives the same samples, and other data is refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.wyoming.wav import NotWavError, SampleFormat, WavReader, wav_file

FORM = SampleFormat(24_000, 2, 1)
SAMPLES = bytes(range(256)) * 4


def endless(form: SampleFormat = FORM, size: int = 0xFFFFFFFF, extra: bytes = b"") -> bytes:
    """The header of a server that does not know the length yet."""
    fmt = struct.pack("<HHIIHH", 1, form.channels, form.rate, form.rate * form.frame, form.frame, form.width * 8)
    return b"RIFF\xff\xff\xff\xffWAVE" + extra + b"fmt \x10\0\0\0" + fmt + b"data" + struct.pack("<I", size)


def read(data: bytes, cuts: list[int]) -> tuple[SampleFormat | None, bytes]:
    reader, found, last = WavReader(), b"", 0
    for cut in [*sorted(cut % (len(data) + 1) for cut in cuts), len(data)]:
        found += reader.feed(data[last:cut])
        last = cut
    return reader.format, found


@given(st.lists(st.integers(0, 5000), max_size=8), st.sampled_from([wav_file(SAMPLES, FORM), endless() + SAMPLES]))
def test_every_cut_gives_the_same_samples(cuts: list[int], data: bytes) -> None:
    assert read(data, cuts) == (FORM, SAMPLES)


def test_data_after_the_samples_is_not_sound() -> None:
    assert read(wav_file(SAMPLES, FORM) + b"LIST\x04\0\0\0abcd", [])[1] == SAMPLES


def test_chunks_before_the_samples_are_skipped() -> None:
    assert read(endless(extra=b"LIST\x03\0\0\0abc\0") + SAMPLES, [14, 20])[1] == SAMPLES


def test_half_a_frame_waits_for_the_rest_and_is_dropped_at_the_end() -> None:
    reader = WavReader()
    assert reader.feed(endless() + b"\1\2\3") == b"\1\2"
    assert reader.feed(b"\4\5") == b"\3\4"


@pytest.mark.parametrize(
    "data",
    [
        b"ID3\x03" + bytes(200),
        b"\xff\xf3\x44\xc4" + bytes(100),
        b"RIFF\0\0\0\0AVI " + bytes(50),
        b"RIFF\0\0\0\0WAVEdata\x10\0\0\0" + bytes(16),  # no format chunk
        b"RIFF\0\0\0\0WAVEfmt \x04\0\0\0" + bytes(4) + b"data\x10\0\0\0",
        b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0" + struct.pack("<HHIIHH", 3, 1, 24_000, 96_000, 4, 32) + b"data\0\0\0\0",
        b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f" + bytes(50),
        b"RIFF\0\0\0\0WAVE" + (b"junk\0\0\1\0" + bytes(65536)) * 2,
        b"{}",
    ],
)
def test_other_data_is_reported_as_no_wav(data: bytes) -> None:
    with pytest.raises(NotWavError):
        read(data, [3, 9])


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_any_bytes_give_samples_or_that_error(data: bytes, cuts: list[int]) -> None:
    try:
        read(data, cuts)
    except NotWavError:
        return
