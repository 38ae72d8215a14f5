"""WAV as a stream: its head parsed as soon as it is complete, and written before samples. Pure, without I/O."""

import io
import struct
import wave
from dataclasses import dataclass
from typing import Final

PCM: Final = 1
_EXTENSIBLE: Final = 0xFFFE
_MAX_HEAD: Final = 64 * 1024  # maximum bytes before the samples; no WAV file has more


class NotWavError(ValueError):
    """The bytes are not a WAV file with plain PCM samples."""


@dataclass(frozen=True, slots=True)
class SampleFormat:
    """Samples per second, bytes per sample, and channels."""

    rate: int
    width: int
    channels: int

    @property
    def frame(self) -> int:
        """Bytes of one sample of all channels."""
        return self.width * self.channels


class WavReader:
    """Takes a WAV file piece by piece and returns its samples, whole frames only.

    Servers that write while they compute do not know the length and put 0 or 0xFFFFFFFF there: the samples then
    continue to the end of the body.
    """

    def __init__(self) -> None:
        self.format: SampleFormat | None = None
        self._buffer = b""
        self._left: int | None = None  # remaining bytes of samples; None: to the end
        self._in_data = False

    def feed(self, piece: bytes) -> bytes:
        """The samples completed by `piece`. Raises NotWavError."""
        self._buffer += piece
        if not self._in_data and not self._head():
            return b""
        assert self.format is not None
        data, self._buffer = self._buffer, b""
        if self._left is not None:
            data = data[: self._left]
            self._left -= len(data)
        rest = len(data) % self.format.frame
        if rest:
            data, self._buffer = data[:-rest], data[-rest:]
            if self._left is not None:
                self._left += rest
        return data

    def _head(self) -> bool:
        """Parse the chunks before the samples; True once the samples begin."""
        data = self._buffer
        if not b"RIFF".startswith(data[:4]) or not b"WAVE".startswith(data[8:12]):
            raise NotWavError("it does not begin like a WAV file")
        position = 12
        while len(data) >= position + 8:
            kind, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
            position += 8
            if kind == b"data":
                if self.format is None:
                    raise NotWavError("the format of its samples is missing")
                self._left = size if 0 < size < 0x7FFFFFFF else None
                self._in_data, self._buffer = True, data[position:]
                return True
            if position + size > _MAX_HEAD:
                raise NotWavError("its head does not end")
            if len(data) < position + size:
                return False
            if kind == b"fmt ":
                self.format = _format(data[position : position + size])
            position += size + size % 2
        return False


def _format(chunk: bytes) -> SampleFormat:
    if len(chunk) < 16:
        raise NotWavError("its format is truncated")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
    if tag == _EXTENSIBLE and len(chunk) >= 26:
        tag = int.from_bytes(chunk[24:26], "little")
    if tag != PCM or bits not in (8, 16, 24, 32) or not 1 <= channels <= 8 or not 1000 <= rate <= 384_000:
        raise NotWavError("its samples are not plain PCM")
    return SampleFormat(rate, bits // 8, channels)


def wav_file(samples: bytes, form: SampleFormat) -> bytes:
    """A whole WAV file of `samples`."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setframerate(form.rate)
        file.setsampwidth(form.width)
        file.setnchannels(form.channels)
        file.writeframes(samples)
    return out.getvalue()
