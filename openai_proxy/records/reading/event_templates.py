"""What is equal in the events of one stream, and how their texts are cut out of it in bulk."""

import re
from collections.abc import Callable
from typing import Any, Final

from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.writing import textjson

_STRING: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_TEXTS: Final = ("content", "reasoning_content", "reasoning", "refusal")
_WORD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:+"
"""What may differ in the frames: a number, a time, an id, padding; nothing that ends a JSON string or begins one."""

Cut = tuple[bytes, bytes, bytes]
"""Events before the texts that are not of the template, the texts as they stand in JSON, events after them."""


class EventTemplate:
    """Events that are `prefix + text + suffix`: 0.1 µs each."""

    __slots__ = ("add", "into", "joint", "prefix", "suffix")

    def __init__(self, prefix: bytes, suffix: bytes, add: Callable[[str], None], into: object) -> None:
        self.prefix = prefix
        self.suffix = suffix
        self.joint = suffix + prefix
        self.add = add
        self.into = into  # what `add` adds to

    def cut(self, block: bytes) -> Cut | None:
        """`block`, whole events, taken apart; None if they are not of this template."""
        pieces = block.split(self.joint)
        if len(pieces) < 3:
            return None
        before = after = b""
        if pieces[0].startswith(self.prefix):
            pieces[0] = pieces[0][len(self.prefix) :]
        else:
            before = pieces.pop(0) + self.suffix
        if pieces[-1].endswith(self.suffix):
            pieces[-1] = pieces[-1][: -len(self.suffix)]
        else:
            after = self.prefix + pieces.pop()
        texts = self.texts(pieces)
        return (before, texts, after) if texts is not None else None

    def texts(self, pieces: list[bytes]) -> bytes | None:
        """The texts in what stands between two joints, together."""
        return b"".join(pieces)


class Varying(EventTemplate):
    """Events that are `prefix + word + left + text + right + word + suffix`: 0.3 µs each; or only half of that.

    `left` begins and `right` ends with no character of a word, so both are found for certain; and `right` holds two
    quotes or more, so that it stands in no text. Where nothing differs before the texts, `left` is empty and part of
    `prefix`; where nothing differs after them, `right` is empty and part of `suffix`.
    """

    __slots__ = ("left", "right")

    def __init__(self, prefix: bytes, left: bytes, right: bytes, suffix: bytes, one: EventTemplate) -> None:
        super().__init__(prefix, suffix, one.add, one.into)
        self.left = left
        self.right = right

    def texts(self, pieces: list[bytes]) -> bytes | None:
        """The texts, if nothing but words differs around them."""
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
    if one.joint == other.joint and one.prefix == other.prefix:
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
    found = Varying(prefix, left, right, suffix, one)
    return found if all(found.cut((raw + b"\n\n") * 3) is not None for raw in raws) else None


def _alike(one: bytes, other: bytes) -> int:
    """How many bytes both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _single(raw: bytes, event: Any, answer: RecordedAnswer) -> EventTemplate | None:
    """One event's frame, if it carries one text and nothing else."""
    into: object
    try:
        (choice,) = event["choices"]
        delta = choice["delta"]
        if choice.get("finish_reason") or event.get("usage") or choice.get("index"):
            return None
        texts = [key for key in _TEXTS if delta.get(key)]
        calls = delta.get("tool_calls")
        if calls:
            (call,) = calls
            if texts or call.get("id") or call["function"].get("name"):
                return None
            key, value = "arguments", call["function"]["arguments"]
            known = answer.call(0, call["index"])
            into = call["index"]

            def add(text: str) -> None:
                answer.add_arguments(known, text)
        else:
            (key,) = texts
            value = delta[key]
            into = key
            add = answer.add_text if key in ("content", "refusal") else answer.add_reasoning
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    name = b'"%s":' % key.encode()
    if raw.count(name) != 1 or not raw.startswith(b"data: "):
        return None
    start = raw.index(name) + len(name)
    while raw[start : start + 1] == b" ":
        start += 1
    string = _STRING.match(raw, start)
    if string is None or textjson.tolerant(string[0]) != value:
        return None
    return EventTemplate(raw[: start + 1], raw[string.end() - 1 :] + b"\n\n", add, into)
