"""From the bytes on the wire back to the body: chunked framing and content coding taken off a copy.

The relay hands on exactly what came and keeps a copy; only here, in the writer's thread, is the copy taken apart.
Nothing in this file raises on bad input: a copy that cannot be read is marked `broken` and read no further, because
the client already has the true bytes and the log must say so rather than fail.

Framing: RFC 9112 §7.1. Content coding: RFC 9110 §8.4.1.
"""

import zlib
from typing import Final, Protocol

CRLF: Final = b"\r\n"
MAX_INFLATED: Final = 32 * 1024 * 1024  # bytes; a zip bomb ends here, any honest answer is far smaller
MAX_LINE: Final = 4096  # bytes of one chunk-size line with its extensions, or of a trailer line
MAX_HELD: Final = 16 * 1024  # bytes of an unfinished chunk kept before it is emitted in part


class _HexSizes(dict[bytes, int]):
    """Chunk-size texts already understood: streams repeat a few hundred of them, and `int(x, 16)` costs 0.15 µs."""

    def __missing__(self, text: bytes) -> int:
        # int() also takes "0x1f", "+5", "1_0" and blanks, none of which is a chunk size.
        if not text.isalnum() or text[:2] in (b"0x", b"0X"):
            return -1
        try:
            size = int(text, 16)
        except ValueError:
            return -1
        if len(self) < 4096:
            self[text] = size
        return size


_SIZES: Final = _HexSizes()


class Decoder(Protocol):
    """Bytes in, the bytes they stand for out."""

    broken: bool

    def feed(self, data: bytes) -> bytes:
        """What `data` adds to the body."""
        ...


class Dechunker:
    """Takes chunked framing off. `ended` after the last chunk; `broken` if it was no such framing."""

    __slots__ = ("_held", "_left", "broken", "ended")

    def __init__(self) -> None:
        self._held = b""  # a cut size line, or a whole small chunk that is still incomplete
        self._left = 0  # payload bytes (and their CRLF) of the open chunk still to come
        self.ended = False
        self.broken = False

    def feed(self, data: bytes) -> bytes:
        """The payload bytes in `data`."""
        if self.ended or self.broken:
            return b""
        if self._held:
            data = self._held + data
            self._held = b""
        if self._left == 0:
            fast = self._in_bulk(data)
            if fast is not None:
                return fast
        return self._one_by_one(data)

    def _in_bulk(self, data: bytes) -> bytes | None:
        """All whole chunks of `data` at the speed of `split`, if no payload holds a CRLF; else None.

        Each payload's length is held against its size line, so agreement proves that the split was right.
        """
        pieces = data.split(CRLF)
        count = (len(pieces) - 1) & ~1
        sizes = [_SIZES[text] for text in pieces[0:count:2]]
        payloads = pieces[1:count:2]
        if list(map(len, payloads)) != sizes:
            return None
        if 0 in sizes:
            if sizes.index(0) != len(sizes) - 1:
                return None
            self.ended = True
            return b"".join(payloads)
        rest = CRLF.join(pieces[count:])
        if len(rest) > MAX_HELD:
            return None
        self._held = rest
        return b"".join(payloads)

    def _one_by_one(self, data: bytes) -> bytes:
        out: list[bytes] = []
        position = 0
        end = len(data)
        while position < end:
            if self._left:
                payload = self._left - 2
                if payload > 0:
                    out.append(data[position : position + payload])
                step = min(self._left, end - position)
                self._left -= step
                position += step
                continue
            stop = data.find(CRLF, position)
            if stop < 0:
                self._held = data[position:]
                self.broken = len(self._held) > MAX_LINE
                break
            size = _SIZES[data[position:stop].partition(b";")[0].strip()]
            if size < 0:
                self.broken = True
                break
            if size == 0:
                self.ended = True  # trailers say nothing a record needs
                break
            position = stop + 2
            self._left = size + 2
        return b"".join(out)


class Inflater:
    """Takes gzip or deflate off (deflate both with and without its zlib wrapper: servers send either)."""

    __slots__ = ("_coding", "_engine", "_started", "_total", "broken")

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._engine = zlib.decompressobj(47)  # 32 + 15: gzip or zlib, by its header
        self._started = False
        self._total = 0
        self.broken = False

    def feed(self, data: bytes) -> bytes:
        """What `data` inflates to; nothing more once the bound is passed or the data is wrong."""
        if self.broken or not data:
            return b""
        out: list[bytes] = []
        try:
            if not self._started:
                self._started = True
                if self._coding == "deflate" and (data[0] & 0x0F) != 8:
                    self._engine = zlib.decompressobj(-15)
            while data:
                piece = self._engine.decompress(data, MAX_INFLATED - self._total + 1)
                self._total += len(piece)
                out.append(piece)
                if self._total > MAX_INFLATED:
                    self.broken = True
                    break
                data = self._engine.unused_data if self._engine.eof else b""
                if data:
                    self._engine = zlib.decompressobj(47)  # another gzip member (RFC 1952 §2.2)
        except zlib.error:
            self.broken = True
        return b"".join(out)


class Opaque:
    """A content coding we do not read (br, zstd): the record says so and holds no text."""

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = True

    def feed(self, data: bytes) -> bytes:
        """Nothing."""
        return b""


def decoders(framing: str, coding: str) -> tuple[Decoder, ...]:
    """What has to be taken off, outermost first. `coding` is the Content-Encoding, lower case, "" for none."""
    if framing != "chunked" and not coding:
        return ()
    found: list[Decoder] = []
    if framing == "chunked":
        found.append(Dechunker())
    if coding in ("gzip", "x-gzip", "deflate"):
        found.append(Inflater(coding))
    elif coding not in ("", "identity"):
        found.append(Opaque())
    return tuple(found)
