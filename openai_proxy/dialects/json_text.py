"""JSON as providers and clients really write it, with exact numbers.

orjson reads integers beyond 64 bits as floats, which changes an id, and refuses lone surrogate escapes, bytes that are
not UTF-8, raw line ends in strings, and NaN (https://github.com/ijl/orjson#deserialize). Those cases, which are rare,
are left to the slower standard library.
"""

import json
from typing import Any, Final

import orjson

from openai_proxy.errors import TooLarge
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.tasks import is_beside

_DIGITS: Final = bytes(0x30 if 0x30 <= byte <= 0x39 else 0x20 for byte in range(256))
_LONG: Final = b"0" * 19
"""Digits from which an integer may exceed 64 bits (a signed one ends at 9,223,372,036,854,775,807)."""


def holds_long_number(data: bytes) -> bool:
    """True if `data` may hold an integer that orjson would turn into a float. About 1 ns per byte."""
    return len(data) >= 19 and data.translate(_DIGITS).find(_LONG) >= 0


def loads(data: bytes | str, *, exact: bool = True, large: bool = False) -> Any:
    """The value of a JSON text: integers of any size, lone surrogates unchanged, NaN as null.

    A `large` text is read in small steps, for a thread, and must be strictly valid; so is one of LARGE bytes in a
    thread of `tasks.in_thread`. Without `exact` integers beyond 64 bits become floats, which saves scanning every
    byte. Raises ValueError for invalid JSON.
    """
    encoded = data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass")
    if large or (len(encoded) >= LARGE and is_beside()):
        from openai_proxy.protocols import large_json

        try:
            return large_json.read_value(encoded)
        except TooLarge:
            raise ValueError("too many values") from None
    try:
        value = orjson.loads(encoded)
    except orjson.JSONDecodeError:
        return _by_the_letter(data if isinstance(data, str) else data.decode("utf-8-sig", "replace"))
    return _by_the_letter(encoded.decode()) if exact and holds_long_number(encoded) else value


def with_exact_numbers(document: dict[str, Any], data: bytes) -> dict[str, Any]:
    """`document`, which orjson read from `data`; read again if `data` may hold integers beyond 64 bits."""
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


def dumps(value: Any, *, large: bool = False) -> bytes:
    """`value` as compact JSON. Lone surrogates and large integers are written, too: escaped, and in full.

    A `large` one is written in small steps, and so is any in a thread of `tasks.in_thread`.
    """
    if large or is_beside():
        from openai_proxy.protocols import large_json

        return large_json.write(value)
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(value, separators=(",", ":")).encode()


def text(value: Any) -> str:
    """`value` as compact JSON text, for example as the `arguments` of a tool call."""
    return dumps(value).decode()


def object_in(arguments: Any) -> dict[str, Any] | None:
    """The object in a tool call's `arguments`: JSON text, or already an object; {} if empty.

    None for anything else, including truncated text.
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
        return {}  # some servers write "null" for a tool without parameters
    return value if isinstance(value, dict) else None
