"""Finds the string of a JSON body that contains a position, without scanning everything before it.

A quote without a backslash begins or ends a string. Its neighbours nearly always show which: the end of a string is
followed by one of `,:}]`, its beginning preceded by one of `{[,:`. If a text looks like that, too (`"a,", ",b"`), the
quotes are counted from the last position known to be outside any string.
"""

import re

_SPACE = b" \t\r\n"
_FEW = 64  # quotes with backslashes that are skipped one by one
_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def enclosing(body: bytes, outside: int, place: int) -> tuple[int, int] | None:
    """Start and end, including quotes, of the string that contains the byte at `place`; None if there is none.

    `body` must be valid JSON, and `outside` a position before `place` that is in no string. A string's first quote is
    outside of it, its last one inside.
    """
    start = _opening(body, outside, place)
    return None if start < 0 else (start, _closing(body, place))


def _is_escaped(body: bytes, place: int) -> bool:
    """True if an odd number of backslashes precedes `place`."""
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
    """True if a string begins, False if it ends at `quote`; None if its neighbours do not show it."""
    after = body[quote + 1 : quote + 9].lstrip(_SPACE)
    if after and after[0] not in b",:}]":
        return True
    before = body[max(quote - 8, 0) : quote].rstrip(_SPACE)
    if before and before[-1] not in b"{[,:":
        return False
    return None


def _counted(body: bytes, outside: int, place: int) -> int:
    """`_opening` by counting: escaped backslashes and quotes are blanked out, so that every remaining quote counts."""
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
