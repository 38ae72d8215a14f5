"""Decodes content codings of request bodies up to a limit, because a small body may be huge when unpacked.

https://www.rfc-editor.org/rfc/rfc9110#section-8.4. Codex and LiteLLM's clients send zstd; its window is limited as
RFC 9659 requires. The libraries are imported when a body needs them.
"""

import asyncio
import sys
from collections.abc import Callable
from typing import Final

from openai_proxy.errors import BadRequest, TooLarge
from openai_proxy.protocols.inflate import DamagedError, Inflater, TooLongError

_WINDOW_LOG: Final = 23  # 8 MiB
_RATIO: Final = 200
"""Maximum ratio of unpacked to packed size: prompts have 3 to 20, a file of nothing but spaces 1,000."""
_ANY_RATIO: Final = 1 << 20  # bytes up to which the ratio does not matter
_MOST: Final = 4
"""Maximum number of codings of one body. Each is a whole pass over it."""


def decoded(body: bytes, codings: str, limit: int) -> bytes:
    """`body` without the codings of its Content-Encoding, at most `limit` bytes. Raises BadRequest, TooLarge."""
    names = [name for coding in codings.lower().split(",") if (name := coding.strip()) not in ("", "identity")]
    if len(names) > _MOST or any(name not in _DECODERS for name in names):
        raise BadRequest("This content encoding is not supported.", code="unsupported_encoding")
    for name in reversed(names):
        body = _DECODERS[name](body, limit)
        if len(body) > limit:
            raise TooLarge("The request is too large once unpacked.")
    return body


async def unpacked(body: bytes, codings: str, limit: int) -> bytes:
    """`decoded`, off the event loop, within the ratio of real text. Raises BadRequest, TooLarge."""
    limit = min(limit, max(_ANY_RATIO, len(body) * _RATIO))
    return await asyncio.get_running_loop().run_in_executor(None, decoded, body, codings, limit)


def _damaged() -> BadRequest:
    return BadRequest("The compressed body is damaged.", code="invalid_encoding")


def _inflated(body: bytes, limit: int) -> bytes:
    inflater = Inflater(limit)
    try:
        plain = inflater.feed(body)
    except DamagedError:
        raise _damaged() from None
    except TooLongError:
        raise TooLarge("The request is too large once unpacked.") from None
    if not inflater.ended:
        raise _damaged()
    return plain


def _from_zstd(body: bytes, limit: int) -> bytes:
    if sys.version_info >= (3, 14):
        from compression import zstd

        inflater = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
        try:
            plain = inflater.decompress(body, limit + 1)
        except zstd.ZstdError:
            raise _damaged() from None
        if len(plain) <= limit and not inflater.eof:
            raise _damaged()
        return bytes(plain)
    import zstandard

    # A truncated body ends early here without an error, and is then invalid JSON.
    reader = zstandard.ZstdDecompressor(max_window_size=1 << _WINDOW_LOG).stream_reader(body, read_across_frames=True)
    try:
        return bytes(reader.read(limit + 1))
    except zstandard.ZstdError:
        raise _damaged() from None


def _from_brotli(body: bytes, limit: int) -> bytes:
    import brotli

    decompressor = brotli.Decompressor()
    pieces: list[bytes] = []
    size = 0
    try:
        while size <= limit and not decompressor.is_finished():
            piece = decompressor.process(body, output_buffer_limit=limit + 1 - size)
            body = b""
            if not piece and decompressor.can_accept_more_data():
                raise _damaged()  # it waits for more
            pieces.append(piece)
            size += len(piece)
    except brotli.error:
        raise _damaged() from None
    return b"".join(pieces)


_DECODERS: Final[dict[str, Callable[[bytes, int], bytes]]] = {
    "gzip": _inflated,
    "x-gzip": _inflated,
    "deflate": _inflated,
    "zstd": _from_zstd,
    "br": _from_brotli,
}
