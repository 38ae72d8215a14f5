"""Media in requests: the type of untyped data, and the content parts of chat messages that carry it."""

import binascii
import codecs
import re
from collections.abc import Iterator
from typing import Any, Final

from openai_proxy import steps

_DATA_URL: Final = re.compile(r"data:([\w.+/-]+)?((?:;[\w.=+-]+)*),", re.IGNORECASE)
_LONGEST_HEAD: Final = 1024  # characters before the data
_SIGNATURES: Final = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("Qk0", "image/bmp"),
    ("JVBERi", "application/pdf"),
    ("SUQz", "audio/mpeg"),
    ("T2dnUw", "audio/ogg"),
    ("ZkxhQw", "audio/flac"),
)
"""The first characters of base64 data, by type."""
_RIFF: Final = "UklGR"  # "RIFF", then four bytes of length, then the type
_IN_RIFF: Final = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}
_AUDIO_FORMATS: Final = {
    "audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/vnd.wave": "wav", "audio/mpeg": "mp3",
    "audio/mp3": "mp3", "audio/ogg": "ogg", "audio/flac": "flac", "audio/x-flac": "flac", "audio/aac": "aac",
    "audio/mp4": "m4a", "audio/webm": "webm", "audio/aiff": "aiff",
}  # fmt: skip


def kind_of(data: str) -> str | None:
    """The media type of base64 `data`, by its first bytes; None if unknown."""
    if data.startswith(_RIFF):
        try:
            return _IN_RIFF.get(binascii.a2b_base64(data[:16])[8:12])
        except binascii.Error:
            return None
    return next((kind for start, kind in _SIGNATURES if data.startswith(start)), None)


def url_of(kind: object, data: str) -> str:
    """The `data:` URL of base64 `data`, which may be large."""
    return steps.join((f"data:{kind};base64,", data))


def part(kind: str, data: str) -> dict[str, Any] | None:
    """The content part for base64 `data` of a media type; None for a type that chat requests cannot carry."""
    audio = _AUDIO_FORMATS.get(kind)
    if audio is not None:
        return {"type": "input_audio", "input_audio": {"data": data, "format": audio}}
    if kind.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url_of(kind, data)}}
    if kind == "application/pdf":
        return {"type": "file", "file": {"filename": "document.pdf", "file_data": url_of(kind, data)}}
    return None


def data_url(url: str) -> tuple[str, str] | None:
    """(media type, base64 data) of a `data:` URL; None for any other. A URL without `;base64` is encoded here."""
    found = _DATA_URL.match(url, 0, _LONGEST_HEAD)
    if found is None:
        return None
    media_type = (found[1] or "text/plain").lower()
    data = steps.part(url, found.end(), len(url))
    if "base64" not in found[2].lower():
        data = steps.join(_encoded(data))
    return ("image/jpeg" if media_type == "image/jpg" else media_type), data


def text_of(data: str) -> str:
    """The text in base64 `data`, which may be large. Raises ValueError if it is not base64 of UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    texts: list[str] = []
    ended = False
    for piece in steps.pieces(data, step=max(steps.STEP & ~3, 4)):  # four characters are three bytes
        if ended:
            raise ValueError("data after its end")
        texts.append(decoder.decode(binascii.a2b_base64(piece, strict_mode=True)))
        ended = piece.endswith("=")
    return steps.join([*texts, decoder.decode(b"", final=True)])


def _encoded(data: str) -> Iterator[str]:
    """Percent-encoded `data` as base64, in pieces."""
    from urllib.parse import unquote_to_bytes

    rest = b""
    at = 0
    while at < len(data):
        end = at + steps.STEP
        cut = data.find("%", max(end - 2, at + 1), end) if end < len(data) else -1
        piece = data[at : end if cut < 0 else cut]  # an escape has three characters, which stay together
        at += len(piece)
        rest += unquote_to_bytes(piece.encode("utf-8", "surrogatepass"))
        whole = len(rest) - len(rest) % 3  # three bytes are four characters
        yield binascii.b2a_base64(rest[:whole], newline=False).decode()
        rest = rest[whole:]
    yield binascii.b2a_base64(rest, newline=False).decode()
