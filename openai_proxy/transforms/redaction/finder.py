"""Finds every secret in every encoding: whether there is one, and where.

Two automatons (automaton.py) are used. `_any` examines text as a reader sees it, after JSON's escapes are undone.
`_loud` examines raw JSON: it knows each form as JSON writes it, and stops at escapes that could hide anything else. So
a body in which it finds nothing needs no decoding: `_any` would find nothing in the decoded strings either.
"""

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

from openai_proxy.secrets import MARK
from openai_proxy.steps import STEP, any_piece
from openai_proxy.steps import pieces as pieces_of
from openai_proxy.transforms.flat import BACKSLASHED, PERCENT, flatten, mapped, undone
from openai_proxy.transforms.redaction import hint
from openai_proxy.transforms.redaction.automaton import Automaton
from openai_proxy.transforms.redaction.forms import PLAIN, Form, forms
from openai_proxy.transforms.redaction.shapes import BEGIN, PATTERNS, PRIVATE_KEY, begin, plausible
from openai_proxy.transforms.spans import Span, merged

SLICE = STEP
"""Bytes searched at a time: without RE2 the interpreter lock is held, and other threads get a turn in between."""

MAX_SHAPE = 8192  # bytes within which a possible key must turn out to be one

HINTED = 4096
"""Bytes of a body up to which hint.py is tried first: a longer one always has something to look up."""

_MARK = MARK.encode()
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_")


class Hit(NamedTuple):
    """Where raw JSON becomes suspicious, and whether by an escape, whose hidden text may begin earlier."""

    start: int
    escape: bool


def _in_json(literals: list[bytes]) -> list[bytes]:
    """`literals`, and how JSON writes them if that differs."""
    known = set(literals)
    known.update(
        json.dumps(_text(literal), ensure_ascii=False)[1:-1].encode("utf-8", "surrogatepass") for literal in literals
    )
    return sorted(known, key=len, reverse=True)


def _backslashed(literals: list[bytes]) -> bytes:
    """What may follow a backslash that hides one of `literals`: printable ASCII, and what only some secrets contain."""
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
    """Finds `secrets` and, with `shapes`, whatever looks like a key. Immutable; thread-safe."""

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
        """True for a body up to HINTED bytes that is certainly `quiet`."""

    def quiet(self, data: bytes) -> bool:
        """True if raw JSON has no secret, and no escape that could hide one: a single pass."""
        return (len(data) <= HINTED and self.look(data)) or self.first(data) is None

    def _first_look(self, data: bytes) -> bool:
        self.look = hint.build(self._written, self._backslashed, shapes=self._shapes)
        return self.look(data)

    @property
    def reach(self) -> int:
        """Bytes of raw JSON that a match may extend back from where it was noticed, not counting runs of letters."""
        return 6 * self._longest + 128  # \\u00e9 is six bytes for two

    @property
    def seam(self) -> int:
        """Bytes of a text without escapes that a match across its end may extend back, not counting runs of letters."""
        return self._longest + 128

    def first(self, data: bytes, position: int = 0) -> Hit | None:
        """The first suspicious position of `data`, text or raw JSON, from `position` on; None if there is none."""
        overlap = self._longest + MAX_SHAPE
        for begin_ in range(position, len(data), SLICE):
            match = self._loud.search(data, begin_, begin_ + SLICE + overlap)
            if match is not None and (start := match.start()) < begin_ + SLICE:
                return Hit(start, self._escape.fullmatch(data, start, match.end()) is not None)
        return None

    def suspects(self, data: bytes, position: int = 0) -> bool:
        """True if `data`, text or raw JSON, may contain a secret from `position` on; False is certain."""
        hit = self.first(data, position)
        return hit is not None and self.confirms(data, hit, position)

    def confirms(self, data: bytes, hit: Hit, position: int = 0) -> bool:
        """False if `hit`, the `first` from `position` on, is an escape, and no escape in `data` hides a secret."""
        if self._raw is None:
            return False
        if not hit.escape or self._odd or self._stands_in(data, hit.start):
            return True
        return any_piece(self._hidden_in, data, self._longest * 6 + MAX_SHAPE, position)

    def _hidden_in(self, piece: bytes) -> bool:
        flat = flatten(piece)
        return flat is not piece and self._stands_in(flat, 0)

    def _stands_in(self, data: bytes, position: int) -> bool:
        assert self._raw is not None
        overlap = self._longest + MAX_SHAPE
        return any(
            self._raw.search(data, start, start + SLICE + overlap) is not None
            for start in range(position, len(data), SLICE)
        )

    def spans(self, text: bytes, start: int = 0) -> list[Span]:
        """Where secrets are in `text` from `start` on, in order and disjoint."""
        if self._same and 0x5C not in text and 0x25 not in text:
            return merged(self._direct(text, start, self._loud))  # still cached from the search that led here
        if self._any is None:
            return []
        spans = self._direct(text, start, self._any)
        flat = undone(text)
        if flat is not text and self._any.search(flat, start) is not None:
            view = mapped(text)
            assert view is not None
            spans += [(view[1][first], view[1][last]) for first, last in self._direct(flat, start, self._any)]
        return merged(spans)

    def clean(self, text: bytes) -> bytes:
        """`text` with every secret replaced by a mark; the same object if there is none."""
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
        """Known secrets that begin between `start` and `end`, inside something that only looks like a key."""
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


def replaced(text: bytes, spans: list[Span]) -> bytes:
    """`text` with the mark in place of each span. A backslash that would lose its letter is removed with it (JSON)."""
    pieces: list[bytes] = []
    position = 0
    for start, end in spans:
        before = start
        while before > position and text[before - 1] == 0x5C:
            before -= 1
        pieces += (*pieces_of(text, position, start - (start - before) % 2), _MARK)
        position = end
    pieces += pieces_of(text, position)
    return b"".join(pieces)
