"""From the bytes on the wire back to the text: content coding taken off a copy.

What cannot be taken off costs the record its text and nothing else: readers here never raise.
"""

from typing import Final, Protocol

from openai_proxy.protocols.inflate import CODINGS, DamagedError, Inflater, TooLongError

MAX_INFLATED: Final = 32 * 1024 * 1024  # bytes; a zip bomb ends here, any honest answer is far smaller


class Decoder(Protocol):
    """Takes one layer off."""

    broken: bool

    def feed(self, data: bytes) -> bytes:
        """What `data` holds inside; b"" once it is `broken`."""
        ...


class Inflating:
    """Takes gzip or deflate off."""

    __slots__ = ("_inflater", "broken")

    def __init__(self) -> None:
        self._inflater = Inflater(MAX_INFLATED)
        self.broken = False

    def feed(self, data: bytes) -> bytes:
        """What `data` inflates to; nothing more once the bound is passed or the data is wrong."""
        if self.broken:
            return b""
        try:
            return self._inflater.feed(data)
        except (DamagedError, TooLongError):
            self.broken = True
            return b""


class Opaque:
    """A content coding we do not read (br, zstd): the record says so and holds no text."""

    __slots__ = ("broken",)

    def __init__(self) -> None:
        self.broken = True

    def feed(self, data: bytes) -> bytes:
        """Nothing."""
        return b""


def decoder(coding: str) -> Decoder | None:
    """What takes `coding` off: a Content-Encoding, lower case; None where there is none."""
    if coding in ("", "identity"):
        return None
    return Inflating() if coding in CODINGS else Opaque()
