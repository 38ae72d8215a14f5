"""A first look at a small body that keeps the interpreter lock, and nearly always ends the matter.

RE2 lets go of the lock while it searches; where another thread waits for it, that costs a system call to wake that
thread, 15 µs (measured), for a body that takes 1 µs to search. This look takes about 1 µs and asks for three things:

- An escape that could hide something, or the begin of a private key: `int in bytes` and one `find`.
- A run of letters as long as secrets are. Nearly all forms of secrets have a part of twelve or more letters, digits,
  `_`, `-` and `.` in a row, and so has every key of a known shape. Runs are found by `next_run`, or, where this module
  is not compiled, by `next_run_in` a body that was mapped to two characters, run or no run. The few words so long
  (`max_completion_tokens`, names of models, uuids) are looked up: any part of a secret that stands in a word covers a
  whole stretch of `LENGTH - 3` bytes beginning at a multiple of four, and all such stretches of all secrets are in one
  set.
- The few secrets without such a part (short passwords), each by a piece of it, from its rarest character on.

It may take a clean body for a suspicious one, never the other way round.
"""

import re
from collections.abc import Callable, Iterable
from types import FunctionType
from typing import TYPE_CHECKING, Final

from openai_proxy.transforms.flat import PERCENT
from openai_proxy.transforms.redaction.shapes import AWS, BEGIN, PATTERNS, PREFIXES

if TYPE_CHECKING:
    from mypy_extensions import i64  # to the compiler an integer of the machine's; nobody else looks at it

LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."
"""What the keys of shapes.PATTERNS are made of, all but their private keys."""

SHORTEST_SHAPE: Final = 23
"""Bytes of the shortest key in shapes.PATTERNS but AWS, which has a look of its own: of 20 there are ordinary words."""

SHORTEST_RUN: Final = 12
"""Bytes a run must have to be looked up: below, too many ordinary words are."""

MOST_SHORT: Final = 64
"""Secrets without such a run up to which one `re` looks for them all: it tries each wherever one may begin."""

LONGEST_WORD: Final = 256
"""Bytes of a word up to which it is looked up here: `re` could take long over a longer one."""

REMEMBERED: Final = 512
"""Words that were looked up: names of models, members and users come again and again."""

_STEP: Final = 4
_TABLE: Final = bytes(0x61 if byte in LETTERS else 0x20 for byte in range(256))
_GAP: Final = 0x20
_RUNS: Final = re.compile(b"[" + re.escape(LETTERS) + b"]+")
_SHAPE: Final = re.compile(BEGIN + b"(?:" + b"|".join(PATTERNS) + b")")
_AWS: Final = re.compile(AWS)
_PREFIX: Final = re.compile(PREFIXES)
_HEXADECIMAL: Final = b"0123456789abcdef-"
_RARITY: Final = {byte: rank for rank, byte in enumerate(b' "etaoinshrdlcumwfgypbvk,:{}[]')}
"""The characters of ordinary bodies, commonest first; whatever else there is, is rarer."""

Look = Callable[[bytes], bool]


def build(literals: Iterable[bytes], backslashed: bytes, *, shapes: bool) -> Look:
    """A function that says True of a body that surely holds none of `literals`, no key's shape and no escape.

    Escapes are what PERCENT stands for, and a backslash with `backslashed` behind it.
    """
    hiding = re.compile(rb"\\(?:" + backslashed + rb")").search  # two patterns of one first letter each: 0.3 ns a byte
    percent = re.compile(PERCENT).search
    whole = [literal for literal in literals if hiding(literal) is None and percent(literal) is None]
    parts = [max(_RUNS.findall(literal), key=len, default=b"") for literal in whole]
    length = min([SHORTEST_SHAPE, *(len(part) for part in parts if len(part) >= SHORTEST_RUN)])
    width = length - _STEP + 1
    stretches = {part[at : at + width] for part in parts if len(part) >= length for at in range(_STEP)}
    pieces = {_piece(literal) for literal, part in zip(whole, parts, strict=True) if len(part) < length}
    if len(pieces) > MOST_SHORT:
        return lambda data: False
    short = re.compile(b"|".join(map(re.escape, sorted(pieces)))).search if pieces else None
    innocent: set[bytes] = set()

    def passes(word: bytes) -> bool:
        if len(word) > LONGEST_WORD:
            return False
        for start in range(0, len(word) - width + 1, _STEP):
            if word[start : start + width] in stretches:
                return False
        if (
            shapes
            and word.translate(None, _HEXADECIMAL)  # no prefix is of these alone
            and _PREFIX.search(word) is not None
            and _SHAPE.search(b"\\" + word) is not None  # as if the first letters were an escape: `\nsk-…`
        ):
            return False
        if len(innocent) >= REMEMBERED:
            innocent.clear()
        innocent.add(word)
        return True

    def look(data: bytes) -> bool:
        if (0x5C in data and hiding(data) is not None) or (0x25 in data and percent(data) is not None):
            return False
        if shapes and 0x56 in data and data.find(b"PRIVATE KEY") >= 0:  # a find takes 100 ns, looking for a `V` 12
            return False
        if shapes and _ia_stands_in(data) and _AWS.search(data) is not None:
            return False
        if short is not None and short(data) is not None:
            return False
        runs = data if COMPILED else data.translate(_TABLE)
        start, end = next_run(runs, 0, length) if COMPILED else next_run_in(runs, 0, length)
        while start >= 0:
            word = data[start:end]
            if word not in innocent and not passes(word):
                return False
            start, end = next_run(runs, end, length) if COMPILED else next_run_in(runs, end, length)
        return True

    return look


def _ia_stands_in(data: bytes) -> bool:
    """True if every AWS key's `IA` is there. Two bytes take eight times as long to find as one, and `I` is rare."""
    at = data.find(b"I")
    for _ in range(8):
        if at < 0 or data[at + 1 : at + 2] == b"A":
            return at >= 0
        at = data.find(b"I", at + 1)
    return data.find(b"IA") >= 0


def next_run(data: bytes, start: int, length: int) -> tuple[int, int]:
    """Where the first run of at least `length` letters begins and ends in `data` from `start` on, or (-1, -1).

    No run that goes on before `start` may be there. It looks where a run would end, and back from there to the first
    gap: most bytes are never looked at. 0.8 KB of English take 0.7 µs compiled, mapping them and `next_run_in` 1.0 µs,
    and interpreted 8.
    """
    table = _TABLE
    size: i64 = len(data)
    width: i64 = length
    at: i64 = start + length - 1
    first: i64
    back: i64
    byte: i64
    while at < size:
        first = at - width + 1
        back = at
        while back >= first:
            byte = data[back]
            if (byte < 0x61 or byte > 0x7A) and table[byte] == _GAP:  # a to z, the commonest, are no question
                break
            back -= 1
        if back < first:
            at += 1
            while at < size and table[data[at]] != _GAP:
                at += 1
            return first, at
        at = back + width
    return -1, -1


def next_run_in(runs: bytes, start: int, length: int) -> tuple[int, int]:
    """The same in what `translate` with the table has made of the data."""
    first = runs.find(b"a" * length, start)
    if first < 0:
        return -1, -1
    end = runs.find(b" ", first + length)
    return first, end if end >= 0 else len(runs)


COMPILED: Final = not isinstance(next_run, FunctionType)


def _piece(literal: bytes) -> bytes:
    """Some bytes of `literal`, from the rarest on that leaves room for four."""
    start = max(range(max(len(literal) - 3, 1)), key=lambda at: _RARITY.get(literal[at], len(_RARITY)), default=0)
    return literal[start : start + 8]
