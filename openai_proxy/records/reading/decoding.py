"""Removes the content coding from a copy of the wire's bytes.

If that fails, only the record loses its text: readers here never raise.
"""

from collections.abc import Iterator
from typing import Final, Protocol

from openai_proxy.protocols.inflate import CODINGS, DamagedError, Inflater, TooLongError

MAX_INFLATED: Final = 32 * 1024 * 1024  # bytes; a zip bomb ends here, and any legitimate answer is far smaller
_PIECE: Final = 64 * 1024  # bytes inflated and read at a time: the event loop runs in between


class Decoder(Protocol):
    """Removes one layer of coding."""

    broken: bool

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The decoded `data`, in pieces; nothing once it is `broken`."""
        ...


class Inflating:
    """Decodes gzip or deflate."""

    __slots__ = ("_inflater", "broken")

    def __init__(self) -> None:
        self._inflater = Inflater(MAX_INFLATED)
        self.broken = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The inflated `data`; nothing once the limit is exceeded or the data is invalid."""
        if self.broken:
            return
        try:
            yield from self._inflater.pieces(data, _PIECE)
        except (DamagedError, TooLongError):
            self.broken = True


class UnreadableCoding:
    """A content coding that we do not read (br, zstd): the record says so and has no text."""

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = True

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Nothing."""
        return iter(())


def decoder(coding: str) -> Decoder | None:
    """The decoder for `coding`, a lower-case Content-Encoding; None if there is none."""
    if coding in ("", "identity"):
        return None
    return Inflating() if coding in CODINGS else UnreadableCoding()
