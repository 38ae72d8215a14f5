"""A quick check of a small body that keeps the interpreter lock, and is nearly always sufficient.

RE2 releases the lock while it searches; if another thread is waiting for it, waking that thread costs a system call,
15 µs (measured), for a body that takes 1 µs to search. This check takes about 1 µs and looks for three things:

- An escape that could hide something, or the beginning of a private key: `int in bytes` and one `find`.
- A run of letters as long as in secrets. Nearly all forms of secrets have a part of twelve or more letters, digits,
  `_`, `-` and `.` in a row, and so has every key of a known shape. Runs are found in a body that was mapped to two
  characters, run or no run. The few words this long (`max_completion_tokens`, names of models, uuids) are looked up:
  any part of a secret inside a word covers a whole stretch of `LENGTH - 3` bytes beginning at a multiple of four, and
  all such stretches of all secrets are in one set.
- The few secrets without such a part (short passwords), each by a piece of it, from its rarest character on.

It may mistake a clean body for a suspicious one, but never the reverse.
"""

import re
from collections.abc import Callable, Iterable
from typing import Final

from openai_proxy.transforms.flat import PERCENT
from openai_proxy.transforms.redaction.shapes import AWS, BEGIN, PATTERNS, PREFIXES

LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-."
"""The characters of the keys in shapes.PATTERNS, except private keys."""

SHORTEST_SHAPE: Final = 23
"""Length of the shortest key in shapes.PATTERNS except AWS's, which is checked separately: many words have 20."""

SHORTEST_RUN: Final = 12
"""Minimum length of a run that is looked up: too many ordinary words are shorter."""

MOST_SHORT: Final = 64
"""How many secrets without such a run one `re` searches for: it tries each wherever one may begin."""

LONGEST_WORD: Final = 256
"""Maximum length of a word that is looked up here: `re` could take long for a longer one."""

REMEMBERED: Final = 512
"""Words already looked up: names of models, members and users recur."""

_STEP: Final = 4
_TABLE: Final = bytes(0x61 if byte in LETTERS else 0x20 for byte in range(256))
_RUNS: Final = re.compile(b"[" + re.escape(LETTERS) + b"]+")
_SHAPE: Final = re.compile(BEGIN + b"(?:" + b"|".join(PATTERNS) + b")")
_AWS: Final = re.compile(AWS)
_PREFIX: Final = re.compile(PREFIXES)
_HEXADECIMAL: Final = b"0123456789abcdef-"
_RARITY: Final = {byte: rank for rank, byte in enumerate(b' "etaoinshrdlcumwfgypbvk,:{}[]')}
"""The characters of ordinary bodies, most common first; all others are rarer."""

Look = Callable[[bytes], bool]


def build(literals: Iterable[bytes], backslashed: bytes, *, shapes: bool) -> Look:
    """A function that returns True for a body that certainly has none of `literals`, no key's shape and no escape.

    Escapes are matches of PERCENT, and a backslash followed by `backslashed`.
    """
    # Two patterns with one first letter each take 0.3 ns a byte.
    hiding = re.compile(rb"\\(?:" + backslashed + rb")").search
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
        runs = data.translate(_TABLE)
        start, end = next_run(runs, 0, length)
        while start >= 0:
            word = data[start:end]
            if word not in innocent and not passes(word):
                return False
            start, end = next_run(runs, end, length)
        return True

    return look


def _ia_stands_in(data: bytes) -> bool:
    """True if every AWS key's `IA` occurs. Two bytes take eight times as long to find as one, and `I` is rare."""
    at = data.find(b"I")
    for _ in range(8):
        if at < 0 or data[at + 1 : at + 2] == b"A":
            return at >= 0
        at = data.find(b"I", at + 1)
    return data.find(b"IA") >= 0


def next_run(runs: bytes, start: int, length: int) -> tuple[int, int]:
    """Start and end of the first run of at least `length` letters from `start` on, or (-1, -1).

    `runs` is a body mapped by _TABLE; no run may begin before `start` and end after it. Mapping and searching together
    take 1.0 µs for 0.8 KB of English.
    """
    first = runs.find(b"a" * length, start)
    if first < 0:
        return -1, -1
    end = runs.find(b" ", first + length)
    return first, end if end >= 0 else len(runs)


def _piece(literal: bytes) -> bytes:
    """Some bytes of `literal`, beginning at the rarest one that leaves room for four."""
    start = max(range(max(len(literal) - 3, 1)), key=lambda at: _RARITY.get(literal[at], len(_RARITY)), default=0)
    return literal[start : start + 8]
