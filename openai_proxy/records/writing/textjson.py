"""JSON that never fails a record: strict and fast first, then as tolerant as necessary.

orjson refuses invalid UTF-8, lone surrogates and integers past 64 bits (https://github.com/ijl/orjson#deserialize);
real upstreams send all three. Here they are kept, escaped, and counted by the caller.
"""

import codecs
import json
from typing import Any, Final

import orjson

from openai_proxy.dialects import json_text
from openai_proxy.steps import pieces

MAX_STRING: Final = 256 * 1024  # characters of one string of a message

NOTHING: Final = object()
"""The result of `tolerant` for text that is not JSON at all (None is a JSON value)."""


def _escaped(error: UnicodeError) -> tuple[str, int]:
    """An invalid byte FF becomes the six characters backslash-x-f-f of the parsed text."""
    assert isinstance(error, UnicodeDecodeError)
    return "".join(f"\\\\x{byte:02x}" for byte in error.object[error.start : error.end]), error.end


codecs.register_error("openai_proxy.escaped", _escaped)


def _no_number(name: str) -> None:
    """NaN and the infinities, which JSON does not have, read as null."""


def tolerant(data: bytes) -> Any:
    """`data` parsed, with invalid UTF-8 in strings escaped; NOTHING if it is still not JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode("utf-8", "openai_proxy.escaped"), parse_constant=_no_number)
    except (ValueError, RecursionError):
        return NOTHING


def readable(data: bytes, limit: int) -> str:
    """The first `limit` bytes as text, with invalid UTF-8 escaped."""
    return data[:limit].decode("utf-8", "backslashreplace")


def _joined(text: str) -> str:
    """Surrogate pairs joined into one character; lone ones stay."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def whole_text(text: str) -> str:
    """`text` with surrogate pairs joined, and lone ones escaped, so that it can be written as UTF-8."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return _joined(text).encode("utf-8", "backslashreplace").decode()
    return text


def bounded(value: Any, depth: int = 0) -> Any:
    """`value` with strings past MAX_STRING cut; for bodies large enough to contain one."""
    if isinstance(value, str):
        return value if len(value) <= MAX_STRING else f"{value[:1000]}… [{len(value) - 1000} characters left out]"
    if depth > 20:
        return value
    if isinstance(value, list):
        return [bounded(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {key: bounded(item, depth + 1) for key, item in value.items()}
    return value


def line(record: dict[str, Any], *, large: bool = False) -> bytes:
    """`record` as one line of JSON, with its newline; never raises for what `tolerant` returns.

    A `large` one is written in small steps.
    """
    if large:
        return b"".join([*pieces(json_text.dumps(record, large=True)), b"\n"])
    try:
        return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        # Lone surrogates, keys that are not strings, or integers past 64 bits: the standard library writes them.
        text = json.dumps(record, default=str, ensure_ascii=False)
        return _joined(text).encode("utf-8", "replace") + b"\n"
