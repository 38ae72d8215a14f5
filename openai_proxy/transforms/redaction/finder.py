"""Every secret, in every disguise: is there any, and where.

Two automatons (automaton.py) know them. `_any` looks at text as a reader sees it, after JSON's escapes are undone.
`_loud` looks at raw JSON: it knows each form as JSON writes it, and stops at escapes that could hide anything else. So
what it finds nothing in needs no decoding: every string of it, decoded, would hold nothing for `_any` either.
"""

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from openai_proxy.secrets import MARK
from openai_proxy.transforms.flat import BACKSLASHED, PERCENT, flatten, mapped, undone
from openai_proxy.transforms.redaction import hint
from openai_proxy.transforms.redaction.automaton import Automaton
from openai_proxy.transforms.redaction.forms import PLAIN, Form, forms
from openai_proxy.transforms.redaction.shapes import BEGIN, PATTERNS, PRIVATE_KEY, begin, plausible

Span = tuple[int, int]

SLICE = 1 << 20
"""Bytes that are searched at a stretch: without RE2 the interpreter lock is kept, and others get a turn between two."""

MAX_SHAPE = 8192  # bytes in which what looks like a key must show that it does

HINTED = 4096
"""Bytes of a body up to which hint.py looks first: in a longer one there is always something to look up."""

_MARK = MARK.encode()
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


class Hit(NamedTuple):
    """Where raw JSON becomes suspicious, and whether by an escape: what that hides may begin further ahead."""

    start: int
    escape: bool


def _in_json(literals: list[bytes]) -> list[bytes]:
    """`literals` and how JSON writes them, where that differs."""
    known = set(literals)
    known.update(
        json.dumps(_text(literal), ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass") for literal in literals
    )
    return sorted(known, key=len, reverse=True)


def _backslashed(literals: list[bytes]) -> bytes:
    """What after a backslash could hide one of `literals`: printable ASCII, and what only some secrets have."""
    letters = frozenset().union(*literals)
    escapes = [BACKSLASHED]
    if any(letter < 0x20 for letter in letters):
        escapes.append(rb"u00[01]")
    if any(letter >= 0x80 for letter in letters):
        escapes.append(rb"u(?:[1-9a-fA-F]|0[1-9a-fA-F]|00[89a-fA-F])")
    return b"|".join(escapes)


def _text(literal: bytes) -> str:
    return literal.decode("utf-8", "surrogatepass")


class SecretFinder:
    """Finds `secrets` and, with `shapes`, whatever looks like a key. Immutable; used from any thread."""

    def __init__(self, secrets: Iterable[str], *, shapes: bool = True) -> None:
        self.secrets = frozenset(secrets)
        found: dict[bytes, Form] = {}
        for secret in self.secrets:
            for text, form in forms(secret).items():
                if found.get(text, PLAIN) == PLAIN:
                    found[text] = form
        self._forms = found
        literals = sorted(found, key=len, reverse=True)  # the longest one wins
        patterns = [BEGIN + b"(?:" + b"|".join(PATTERNS) + b")", PRIVATE_KEY] if shapes else []
        self._backslashed = _backslashed(literals)
        escapes = b"\\\\(?:%b)|%b" % (self._backslashed, PERCENT)
        self._shapes = shapes
        self._written = _in_json(literals)
        self._longest = max(map(len, self._written), default=0)
        self._escape = re.compile(escapes)
        self._odd = self._backslashed != BACKSLASHED
        self._any = Automaton(literals, patterns) if literals or patterns else None
        self._same = self._written == literals  # no secret that JSON writes differently
        self._raw = self._any if self._same else Automaton(self._written, patterns)
        self._known = Automaton(literals, []) if literals else None
        self._loud = Automaton(self._written, [*patterns, escapes])
        self.look: hint.Look = self._first_look
        """True of a body up to HINTED bytes that is surely `quiet`."""

    def quiet(self, data: bytes) -> bool:
        """True if raw JSON holds no secret, and no escape that could hide one or anything else: one pass, no more."""
        return (len(data) <= HINTED and self.look(data)) or self.first(data) is None

    def _first_look(self, data: bytes) -> bool:
        self.look = hint.build(self._written, self._backslashed, shapes=self._shapes)
        return self.look(data)

    @property
    def reach(self) -> int:
        """Bytes of raw JSON that something found may reach back from where it was noticed; runs of letters apart."""
        return 6 * self._longest + 128  # \\u00e9 is six bytes for two

    @property
    def seam(self) -> int:
        """Bytes of a text without escapes that something over its end may reach back; runs of letters apart."""
        return self._longest + 128

    def first(self, data: bytes, position: int = 0) -> Hit | None:
        """The first suspicious place of `data`, text or raw JSON, from `position` on; None says there is none."""
        overlap = self._longest + MAX_SHAPE
        for begin_ in range(position, len(data), SLICE):
            match = self._loud.search(data, begin_, begin_ + SLICE + overlap)
            if match is not None and (start := match.start()) < begin_ + SLICE:
                return Hit(start, self._escape.fullmatch(data, start, match.end()) is not None)
        return None

    def suspects(self, data: bytes) -> bool:
        """True if `data`, text or raw JSON, may hold a secret; False if it surely holds none."""
        hit = self.first(data)
        return hit is not None and self.confirms(data, hit)

    def confirms(self, data: bytes, hit: Hit) -> bool:
        """False if the `first` suspicious place of `data` is an escape, and none in it hides a secret."""
        if self._raw is None:
            return False
        if not hit.escape or self._odd or self._stands_in(data, hit.start):
            return True
        flat = flatten(data)
        return flat is not data and self._stands_in(flat, 0)

    def _stands_in(self, data: bytes, position: int) -> bool:
        assert self._raw is not None
        overlap = self._longest + MAX_SHAPE
        return any(
            self._raw.search(data, start, start + SLICE + overlap) is not None
            for start in range(position, len(data), SLICE)
        )

    def spans(self, text: bytes, start: int = 0) -> list[Span]:
        """Where secrets stand in `text` from `start` on, in order, none touching another."""
        if self._same and 0x5C not in text and 0x25 not in text:
            return _merged(self._direct(text, start, self._loud))  # warm from the search that led here
        if self._any is None:
            return []
        spans = self._direct(text, start, self._any)
        flat = undone(text)
        if flat is not text and self._any.search(flat, start) is not None:
            view = mapped(text)
            assert view is not None
            spans += [(view[1][first], view[1][last]) for first, last in self._direct(flat, start, self._any)]
        return _merged(spans)

    def clean(self, text: bytes) -> bytes:
        """`text` with every secret replaced by a mark; the same object where there is none."""
        spans = self.spans(text)
        return replaced(text, spans) if spans else text

    def _direct(self, text: bytes, position: int, automaton: Automaton) -> list[Span]:
        spans: list[Span] = []
        while (match := automaton.search(text, position)) is not None:
            start, end = match.span()
            form = self._forms.get(text[start:end])
            if form is not None:
                spans.append(_taken_along(text, start, end, form))
                position = start + 1  # another secret may begin inside this one
                continue
            spans += self._known_inside(text, start + 1, end)
            start = begin(text, start)
            if plausible(text, start, end):
                spans.append((start, end))
            position = end
        return spans

    def _known_inside(self, text: bytes, start: int, end: int) -> list[Span]:
        """Known secrets that begin between `start` and `end`, inside what only looks like a key."""
        spans: list[Span] = []
        until = end + self._longest
        while self._known is not None and start < end:
            match = self._known.search(text, start, until)
            if match is None or match.start() >= end:
                break
            first, last = match.span()
            spans.append(_taken_along(text, first, last, self._forms[text[first:last]]))
            start = first + 1
        return spans


def _taken_along(text: bytes, start: int, end: int, form: Form) -> Span:
    first = start
    while first > 0 and start - first < form.before and text[first - 1] in _BASE64:
        first -= 1
    last = end
    while last < len(text) and last - end < form.after and text[last] in _BASE64:
        last += 1
    return first, last


def _merged(spans: list[Span]) -> list[Span]:
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def replaced(text: bytes, spans: list[Span]) -> bytes:
    """`text` with the mark in place of each span. A backslash whose letter would be lost goes with it (JSON)."""
    pieces: list[bytes] = []
    position = 0
    for start, end in spans:
        before = start
        while before > position and text[before - 1] == 0x5C:
            before -= 1
        pieces += (text[position : start - (start - before) % 2], _MARK)
        position = end
    pieces.append(text[position:])
    return b"".join(pieces)
