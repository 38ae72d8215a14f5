"""JSON as providers and clients really write it, with its numbers kept.

orjson reads integers beyond 64 bits as floats, which changes an id, and refuses lone surrogate escapes, bytes that are
not UTF-8, raw line ends in strings, NaN (https://github.com/ijl/orjson#deserialize). What it cannot do right is left to
the standard library, which is slower: nearly no document needs it.
"""

import json
from typing import Any, Final

import orjson

_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG: Final = b"0" * 19
"""Digits from which an integer may not fit into 64 bits (a signed one ends at 9,223,372,036,854,775,807)."""


def holds_long_number(data: bytes) -> bool:
    """True if `data` may hold an integer that orjson would make a float of. About 1 ns a byte."""
    return len(data) >= 19 and data.translate(_DIGITS).find(_LONG) >= 0


def loads(data: bytes | str, *, exact: bool = True) -> Any:
    """The value of a JSON text: integers of any size, halves of characters as they are, NaN as null.

    Without `exact` integers beyond 64 bits become floats, which saves a look at every byte. Raises ValueError for what
    is not JSON even so.
    """
    encoded = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        return _by_the_letter(data if isinstance(data, str) else data.decode("utf-8-sig", "replace"))
    return _by_the_letter(encoded.decode()) if exact and holds_long_number(encoded) else value


def with_exact_numbers(document: dict[str, Any], data: bytes) -> dict[str, Any]:
    """`document`, which orjson read from `data`; read again where `data` may hold integers beyond 64 bits."""
    if not holds_long_number(data):
        return document
    try:
        again = loads(data)
    except ValueError:
        return document
    return again if isinstance(again, dict) else document


def _by_the_letter(text: str) -> Any:
    try:
        return json.loads(text, strict=False, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_number(name: str) -> None:
    """NaN and the infinities, which JSON does not have."""


def dumps(value: Any) -> bytes:
    """`value` as compact JSON. What UTF-8 or 64 bits cannot hold is written too: escaped, and digit by digit."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def text(value: Any) -> str:
    """`value` as compact JSON text: the `arguments` of a tool call, for one."""
    return dumps(value).decode()


def object_in(arguments: Any) -> dict[str, Any] | None:
    """The object in a tool call's `arguments`: JSON text, or an object already; {} where there is nothing.

    None where it is anything else, a text that was cut off among them.
    """
    if isinstance(arguments, dict):
        return arguments
    if arguments is None:
        return {}
    if not isinstance(arguments, str):
        return None
    if not arguments.strip():
        return {}
    try:
        value = loads(arguments)
    except ValueError:
        return None
    if value is None:
        return {}  # "null": some servers write it for a tool without parameters
    return value if isinstance(value, dict) else None
