"""Reads and edits the top-level members of a JSON object without touching any other byte.

A pass-through proxy promises to forward a request body byte for byte; if a rule changes a member, only that member
changes. It must also read the body exactly as the provider will: RFC 8259 §4 leaves duplicate names open (Python takes
the last, others the first; Go's encoding/json matches by Unicode case folding, so that even "tool\u017f" is "tools"). A
duplicate or case-variant control member would let a caller show one model to our checks and another to the provider, so
such bodies are refused.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from openai_proxy.errors import BadRequest
from openai_proxy.steps import STEP
from openai_proxy.steps import pieces as pieces_of

_loads: Final = orjson.loads  # a name of this module, since a module's attribute is looked up at every call
_dumps: Final = orjson.dumps

CONTROL: Final = frozenset(
    {
        "model", "messages", "stream", "stream_options", "tools", "tool_choice", "functions", "function_call",
        "n", "max_tokens", "max_completion_tokens", "user", "metadata", "input", "prompt", "system", "instructions",
    }
)  # fmt: skip
"""Members that rules of the proxy may read or write."""

LARGE: Final = 512 * 1024
"""Bytes of a body from which `large_json` parses it: a smaller one takes a C parser some milliseconds, 20 at worst, and
processing its messages takes about as long.
"""

MAX_DEPTH: Final = 1024  # levels of lists and objects, as orjson
MAX_EXACT: Final = 64 * 1024  # bytes of a body up to which it is encoded again for comparison

_QUOTED: Final = {name: b'"' + name.encode() + b'"' for name in CONTROL}
_AS_NAME: Final = {name: re.compile(re.escape(quoted) + rb"[ \t\r\n]*:") for name, quoted in _QUOTED.items()}
"""The name before a colon: `"role": "user"` is not a second `user` member."""
STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
"""Possessive: a match is never retried differently, so a text full of escapes needs no memory for it."""
TOKEN: Final = re.compile(STRING.pattern + rb"|[{}\[\],:]", re.DOTALL)
"""Strings and JSON's structural characters; numbers and words are between them."""


class Member(NamedTuple):
    """One top-level member: its name and where its key begins, its value begins and its value ends."""

    name: str
    key_start: int
    value_start: int
    value_end: int


def parse_object(body: bytes) -> dict[str, Any]:
    """`body` as a JSON object.

    Raises BadRequest (`invalid_json`) for anything else: not an object, not UTF-8, NaN or infinite numbers, nesting
    beyond 1024 levels, and duplicate or case-variant control members.
    """
    exact = False
    try:
        document = _loads(body)
        exact = len(body) <= MAX_EXACT and _comes_out_again(document, body)
    except orjson.JSONDecodeError:
        document = _by_the_letter(body)
    if type(document) is not dict:
        raise BadRequest("The request body must be a JSON object.", code="invalid_json")
    for name in document:
        if name not in CONTROL:
            if not (name.islower() and name.isascii()) and name.casefold() in CONTROL:
                raise ambiguous(name)
        elif not exact and body.count(_QUOTED[name]) > 1 and len(_AS_NAME[name].findall(body)) > 1:
            return _checked(body, document)
    if not exact and b"\\u00" in body:  # a name may be hidden by escapes: "\u006dodel"
        return _checked(body, document)
    return document


def _comes_out_again(document: Any, body: bytes) -> bool:
    """True for compact JSON, as most clients write it: encoding it again gives the same bytes.

    Then no name is duplicated or hidden by escapes. This takes a third of the time of counting the names.
    """
    try:
        return _dumps(document) == body
    except TypeError:  # orjson reads 1,024 levels and writes 254
        return False


def _by_the_letter(body: bytes) -> Any:
    """Parse what orjson refuses though RFC 8259 allows it: lone surrogate escapes, numbers beyond a double.

    Python clients do send "\\ud800"; that is for the provider to judge.
    """
    try:
        document = json.loads(body.decode(), parse_constant=refuse_constant)
    except (ValueError, RecursionError):  # 5,000 digits are a plain ValueError, 200,000 brackets a RecursionError
        raise BadRequest("The request body is not valid JSON.", code="invalid_json") from None
    if _deeper_than(document, MAX_DEPTH):  # from Python 3.12 on, the parser itself goes much deeper than orjson
        raise BadRequest("The request body is not valid JSON.", code="invalid_json")
    return document


def _deeper_than(document: Any, levels: int) -> bool:
    """True if something in `document` is nested deeper than `levels` lists and objects."""
    layer = [document]
    for _ in range(levels + 1):
        containers = [one for one in layer if isinstance(one, dict | list)]
        if not containers:
            return False
        layer = [member for one in containers for member in (one.values() if isinstance(one, dict) else one)]
    return True


def refuse_constant(constant: str) -> None:
    """The parse_constant for json.loads: NaN and the infinities are not JSON. Raises ValueError."""
    raise ValueError(constant)


def _checked(body: bytes, document: dict[str, Any]) -> dict[str, Any]:
    seen: set[str] = set()
    for member in scan(body):
        if member.name in CONTROL:
            if member.name in seen:
                raise ambiguous(member.name)
            seen.add(member.name)
    return document


def check_unique(body: bytes) -> None:
    """Raise BadRequest if an object of `body`, at any depth, has a name twice: readers differ in which they use."""
    if len(body) >= LARGE:
        from openai_proxy.protocols import large_json

        large_json.check_unique(body)
        return
    try:
        json.loads(body, object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except (ValueError, RecursionError):
        raise BadRequest("The request body is not valid JSON.", code="invalid_json") from None


def _unique(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise ambiguous(name)
        seen.add(name)


def check_case(document: Mapping[str, Any]) -> None:
    """Raise BadRequest for a control member whose name is written in another case."""
    for name in document:
        if name not in CONTROL and not (name.islower() and name.isascii()) and name.casefold() in CONTROL:
            raise ambiguous(name)


def ambiguous(name: str) -> BadRequest:
    """The error for a member that two parsers could read differently."""
    return BadRequest(
        f"The member '{name[:60]}' occurs more than once in the request, or in another case.", code="invalid_json"
    )


def scan(body: bytes) -> list[Member]:
    """The top-level members of `body` in order, duplicates included. `body` must be a valid JSON object."""
    members: list[Member] = []
    depth = 0
    name = ""
    key_start = value_start = -1
    in_value = False
    for token in TOKEN.finditer(body):
        start = token.start()
        first = body[start]
        if first == 0x22:  # a string: at depth 1 before the colon, it is a key
            if depth == 1 and not in_value:
                name = json.loads(token.group())
                key_start = start
        elif first in b"{[":
            depth += 1
        elif first in b"}]":
            depth -= 1
            if depth == 0 and in_value:
                members.append(Member(name, key_start, value_start, _value_end(body, start)))
                break
        elif depth == 1:
            if first == 0x3A:  # ":"
                in_value = True
                value_start = _value_begin(body, start + 1)
            elif in_value:  # ","
                members.append(Member(name, key_start, value_start, _value_end(body, start)))
                in_value = False
    return members


_SPACE: Final = b" \t\r\n"


def _value_begin(body: bytes, position: int) -> int:
    while body[position] in _SPACE:
        position += 1
    return position


def _value_end(body: bytes, position: int) -> int:
    while body[position - 1] in _SPACE:
        position -= 1
    return position


def edit(
    body: bytes, replace: Mapping[str, bytes], remove: Iterable[str] = (), members: list[Member] | None = None
) -> bytes:
    """`body` with the top-level members of `replace` set to the given JSON and those of `remove` removed.

    Order and spacing of all other members are kept; a new member is added last. `body` must be a valid JSON object
    without duplicates of the touched names; `members` is the result of `scan`, if known.
    """
    removed = frozenset(remove)
    members = scan(body) if members is None else members
    kept = [member for member in members if member.name not in removed]
    present = {member.name for member in kept}
    fresh = [orjson.dumps(name) + b":" + value for name, value in replace.items() if name not in present]
    if len(kept) == len(members):
        pieces: list[bytes] = []
        position = 0
        for member in kept:
            if (value := replace.get(member.name)) is not None:
                pieces += _part(body, position, member.value_start)
                pieces.append(value)
                position = member.value_end
        if fresh:
            end = members[-1].value_end if members else body.index(b"{") + 1
            pieces += _part(body, position, end)
            pieces += (b"," if members else b"", b",".join(fresh))
            position = end
        pieces += _part(body, position, len(body))
        return b"".join(pieces)
    # Something is removed: rebuild between the braces, each kept member with the space around it.
    opening = body.index(b"{") + 1
    closing = body.rindex(b"}")
    begin = opening
    texts: list[bytes] = []
    gap = b""  # the space between the last kept value and its comma
    for member in members:
        comma = body.find(b",", member.value_end, closing)
        if member.name not in removed:
            if texts:
                texts.append(gap + b",")
            texts.append(body[begin : member.value_start])
            value = replace.get(member.name)
            texts += _part(body, member.value_start, member.value_end) if value is None else [value]
            gap = body[member.value_end : comma] if comma >= 0 else b""
        begin = comma + 1
    trailing = body[members[-1].value_end : closing]
    added = (b"," if texts else b"") + b",".join(fresh) if fresh else b""
    return b"".join((body[:opening], *texts, added, trailing, body[closing:]))


def _part(body: bytes, start: int, end: int) -> list[bytes]:
    """`body[start:end]`, in pieces if it is large: joining them releases the interpreter lock, a copy does not."""
    return [body[start:end]] if end - start <= STEP else list(pieces_of(body, start, end))
