"""JSON that never fails a record: strict and fast first, then as tolerant as it takes.

orjson refuses invalid UTF-8, lone surrogates and integers past 64 bits (https://github.com/ijl/orjson#deserialize);
all three come from real upstreams. Here they are kept, escaped, and counted by the caller.
"""

import codecs
import json
from typing import Any, Final

import orjson

NOTHING: Final = object()
"""What `tolerant` gives for text that is no JSON at all (None is a JSON value)."""


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """An invalid byte FF becomes the six characters backslash-x-f-f of the parsed text."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"\\\\x{byte:02x}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("openai_proxy.escaped", _escaped)


def _no_number(name: str) -> None:
    """NaN and the infinities, which JSON does not have, read as null."""


def tolerant(data: bytes) -> Any:
    """`data` parsed, invalid UTF-8 in strings escaped; NOTHING if it is no JSON even so."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode("utf-8", "openai_proxy.escaped"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        return NOTHING


def readable(data: bytes, limit: int) -> str:
    """The first `limit` bytes as text, what is no UTF-8 escaped."""
    return data[:limit].decode("utf-8", "backslashreplace")


def _joined(text: str) -> str:
    """Surrogate halves that meet made one character; those without a partner stay."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def whole_text(text: str) -> str:
    """`text` with surrogate halves joined, and those without a partner escaped, so that it can be written as UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _joined(text).encode("utf-8", "backslashreplace").decode()
    return text


def line(record: dict[str, Any]) -> bytes:
    """`record` as one line of JSON, with its newline. Never raises for what `tolerant` can give."""
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # Lone surrogates, keys that are no strings, or integers past 64 bits: the standard library writes them.
        text = json.dumps(record, default=str, ensure_ascii=False)
        return _joined(text).encode("utf-8", "replace") + b"\n"
