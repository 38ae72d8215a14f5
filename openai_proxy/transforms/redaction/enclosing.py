"""Which string of a JSON body a place lies in, without walking through all that stands before it.

A quote no backslash belongs to begins or ends a string. Which of the two, its neighbours nearly always tell: what
follows the end of a string is one of `,:}]`, what precedes its begin one of `{[,:`. Where a text looks like that too
(`"a,", ",b"`), the quotes are counted from the last place known to lie outside any string.
"""

import re

_SPACE = b" \t\r\n"
_FEW = 64  # quotes with backslashes that are passed one by one
_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def enclosing(body: bytes, outside: int, place: int) -> tuple[int, int] | None:
    """Where the string begins and ends, quotes included, in which the byte at `place` lies; None if in none.

    `body` must be valid JSON, and `outside` a place before `place` that lies in no string. A string's first quote
    lies outside of it, its last one inside.
    """
    start = _opening(body, outside, place)
    return None if start < 0 else (start, _closing(body, place))


def _is_escaped(body: bytes, place: int) -> bool:
    """True if an odd number of backslashes stands before `place`."""
    first = place
    while first > 0 and body[first - 1] == 0x5C:
        first -= 1
    return (place - first) % 2 == 1


def _opening(body: bytes, outside: int, place: int) -> int:
    quote = place
    for _ in range(_FEW):
        quote = body.rfind(b'"', outside, quote)
        if quote < 0:
            return -1
        if body[quote - 1] != 0x5C or not _is_escaped(body, quote):
            break
    else:
        return _counted(body, outside, place)
    opens = _opens(body, quote)
    if opens is None:
        return _counted(body, outside, place)
    return quote if opens else -1


def _opens(body: bytes, quote: int) -> bool | None:
    """True if the string's begin, False if its end is at `quote`; None if its neighbours do not tell."""
    after = body[quote + 1 : quote + 9].lstrip(_SPACE)
    if after and after[0] not in b",:}]":
        return True
    before = body[max(quote - 8, 0) : quote].rstrip(_SPACE)
    if before and before[-1] not in b"{[,:":
        return False
    return None


def _counted(body: bytes, outside: int, place: int) -> int:
    """`_opening` by counting: escaped backslashes and quotes are blotted out, so that every quote left counts."""
    text = body[outside:place].replace(b"\\\\", b"__").replace(b'\\"', b"__")
    return outside + text.rfind(b'"') if text.count(b'"') % 2 else -1


def _closing(body: bytes, place: int) -> int:
    for _ in range(_FEW):
        quote = body.find(b'"', place)
        place = quote + 1
        if body[quote - 1] != 0x5C or not _is_escaped(body, quote):
            return place
    rest = _REST.match(body, place)
    assert rest is not None  # it is valid JSON
    return rest.end()
