"""The constant parts of a stream's events, and extracting their texts in bulk."""

import re
from collections.abc import Callable
from typing import Any, Final

from openai_proxy.dialects.chat.collect import only_text
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.writing import textjson

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_BLANK_LINE: Final = b"\n\n"
_events: Final = re.compile(_BLANK_LINE).split  # bytes.split takes twice as long
_WORD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:+"
"""What may vary in the frames: a number, a time, an id, padding; nothing that ends or starts a JSON string."""

Cut = tuple[bytes, bytes, bytes]
"""Events before the texts that do not match, the texts as written in JSON, events after them."""


class EventTemplate:
    """Events that are `prefix + text + suffix`: 0.2 µs each."""

    __slots__ = ("add", "into", "prefix", "suffix")

    def __init__(self, prefix: bytes, suffix: bytes, add: Callable[[str], None], into: object) -> None:
        self.prefix = prefix
        self.suffix = suffix
        self.add = add
        self.into = into  # what `add` adds to

    def cut(self, block: bytes) -> Cut | None:
        """Split `block`, whole events; None if they do not match this template."""
        prefix, suffix = self.prefix, self.suffix
        # Not split at `suffix + prefix`: bytes.split preprocesses a long separator for every match, 0.5 µs.
        # A final comparison shows that only frames were left out.
        events: list[bytes] = _events(block)
        events.pop()  # empty: the block ends with a blank line
        first, last = 0, len(events)
        while first < last and not events[first].startswith(prefix):
            first += 1
        while first < last and not (events[last - 1] + _BLANK_LINE).endswith(suffix):
            last -= 1
        begin, rest = len(prefix), len(suffix) - len(_BLANK_LINE)
        # Compiled, a slice of bytes that ends before it begins is an error.
        if last - first < 2 or min(map(len, events[first:last])) < begin + rest:
            return None
        pieces = [event[begin : len(event) - rest] for event in events[first:last]]
        before = b"".join([event + _BLANK_LINE for event in events[:first]])
        after = b"".join([event + _BLANK_LINE for event in events[last:]])
        if b"".join((before, prefix, (suffix + prefix).join(pieces), suffix, after)) != block:
            return None
        texts = self.texts(pieces)
        return (before, texts, after) if texts is not None else None

    def texts(self, pieces: list[bytes]) -> bytes | None:
        """The texts between the frames, joined."""
        return b"".join(pieces)


class VaryingTemplate(EventTemplate):
    """Events that are `prefix + word + left + text + right + word + suffix`: 0.5 µs each; or only half of that.

    `left` does not start and `right` does not end with a character of a word, so both are always found; and `right`
    contains at least two quotes, so no text contains it. If nothing differs before the texts, `left` is empty and part
    of `prefix`; if nothing differs after them, `right` is empty and part of `suffix`.
    """

    __slots__ = ("left", "right")

    def __init__(self, prefix: bytes, left: bytes, right: bytes, suffix: bytes, one: EventTemplate) -> None:
        super().__init__(prefix, suffix, one.add, one.into)
        self.left = left
        self.right = right

    def texts(self, pieces: list[bytes]) -> bytes | None:
        """The texts, if only words vary around them."""
        left, right = self.left, self.right
        if not right:
            words, marks, texts = zip(*[piece.partition(left) for piece in pieces], strict=True)
            ends = words
        elif not left:
            texts, marks, words = zip(*[piece.rpartition(right) for piece in pieces], strict=True)
            ends = words
        else:
            words, _, rests = zip(*[piece.partition(left) for piece in pieces], strict=True)
            texts, marks, ends = zip(*[rest.rpartition(right) for rest in rests], strict=True)
        if not all(marks) or b"".join(words + ends).translate(None, _WORD):
            return None
        return b"".join(texts)


def learn(raws: list[bytes], events: list[Any], answer: RecordedAnswer) -> EventTemplate | None:
    """The template of two chat events (each of `raws` without its blank line), if there is one."""
    one = _single(raws[0], events[0], answer)
    other = _single(raws[1], events[1], answer) if one is not None else None
    if one is None or other is None or one.into != other.into:
        return None
    if one.prefix == other.prefix and one.suffix == other.suffix:
        return one
    prefix = one.prefix[: _alike(one.prefix, other.prefix)].rstrip(_WORD)
    left = one.prefix[len(one.prefix) - _alike(one.prefix[::-1], other.prefix[::-1]) :].lstrip(_WORD)
    if one.prefix == other.prefix:
        prefix, left = one.prefix, b""
    right = one.suffix[: _alike(one.suffix, other.suffix)].rstrip(_WORD)
    suffix = one.suffix[len(one.suffix) - _alike(one.suffix[::-1], other.suffix[::-1]) :].lstrip(_WORD)
    if one.suffix == other.suffix:
        right, suffix = b"", one.suffix
    if not prefix or not suffix.endswith(b"\n\n"):
        return None
    if (not left and one.prefix != other.prefix) or (right.count(b'"') < 2 and one.suffix != other.suffix):
        return None
    found = VaryingTemplate(prefix, left, right, suffix, one)
    return found if all(found.cut((raw + b"\n\n") * 3) is not None for raw in raws) else None


def _alike(one: bytes, other: bytes) -> int:
    """The number of bytes with which both begin."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _single(raw: bytes, event: Any, answer: RecordedAnswer) -> EventTemplate | None:
    """One event's frame, if it contains one text and nothing else."""
    only = only_text(answer, event)
    if only is None:
        return None
    name = b'"%s":' % only.member.encode()
    if raw.count(name) != 1 or not raw.startswith(b"data: "):
        return None
    start = raw.index(name) + len(name)
    while raw[start : start + 1] == b" ":
        start += 1
    string = _STRING.match(raw, start)
    if string is None or textjson.tolerant(string[0]) != only.text:
        return None
    return EventTemplate(raw[: start + 1], raw[string.end() - 1 :] + b"\n\n", only.add, only.into)
