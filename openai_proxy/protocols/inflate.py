"""Decompresses gzip and deflate up to a limit, because small data on the wire may be huge when unpacked.

Supports several gzip members (RFC 1952 §2.2), and deflate with and without its zlib wrapper, since servers send either
(https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.2).
"""

import sys
import zlib
from collections.abc import Iterator
from typing import Final

CODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})

_EITHER_HEADER: Final = zlib.MAX_WBITS | 32
_BARE: Final = -zlib.MAX_WBITS
_STEP: Final = 16 * 1024
"""Bytes unpacked at a time: zlib copies what follows each member, and a body may have millions."""


class DamagedError(ValueError):
    """The data is not valid for its coding."""


class TooLongError(ValueError):
    """The unpacked data exceeds the limit."""


class Inflater:
    """Unpacks one body as it arrives."""

    __slots__ = ("_engine", "_left", "_started")

    def __init__(self, limit: int) -> None:
        """`limit`: maximum bytes of the whole unpacked body."""
        self._engine = zlib.decompressobj(_EITHER_HEADER)
        self._started = False
        self._left = limit

    @property
    def ended(self) -> bool:
        """True where the body may end: between two members."""
        return self._engine.eof

    def feed(self, data: bytes) -> bytes:
        """The unpacked `data`. Raises DamagedError and TooLongError."""
        out = [*self.pieces(data, sys.maxsize)]
        return out[0] if len(out) == 1 else b"".join(out)

    def pieces(self, data: bytes, size: int) -> Iterator[bytes]:
        """The unpacked `data` in pieces of at most `size` bytes, each unpacked when it is asked for.

        Raises DamagedError and TooLongError.
        """
        try:
            if data and not self._started:
                self._started = True
                if data[0] != 0x1F and data[0] & 0x0F != 8:
                    self._engine = zlib.decompressobj(_BARE)
            for start in range(0, len(data), _STEP):
                yield from self._unpacked(data[start : start + _STEP], size)
        except zlib.error:
            raise DamagedError("damaged") from None

    def _unpacked(self, data: bytes, size: int) -> Iterator[bytes]:
        more = False  # to come, although all of `data` was read
        while data or more:
            if self._engine.eof:
                self._engine = zlib.decompressobj(_EITHER_HEADER)
            engine, most = self._engine, min(size, self._left + 1)
            piece = engine.decompress(data, most)
            self._left -= len(piece)
            if self._left < 0:
                raise TooLongError("unpacks to too much")
            data = engine.unused_data if engine.eof else engine.unconsumed_tail
            more = len(piece) == most and not engine.eof
            if piece:
                yield piece


def readable_part(data: bytes, limit: int) -> bytes:
    """The readable part of a body that may be truncated, for inspection. b"" if it is damaged or too long."""
    try:
        return Inflater(limit).feed(data)
    except (DamagedError, TooLongError):
        return b""
