"""Secrets split over the text parts of one message, which the reader joins."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from openai_proxy.dialects import json_text
from openai_proxy.secrets import MARK
from openai_proxy.steps import STEP, decode, encode, in_turns, pieces
from openai_proxy.transforms.redaction.finder import SecretFinder
from openai_proxy.transforms.redaction.hint import LETTERS
from openai_proxy.transforms.splicing import Path


@dataclass(slots=True)
class ScannedTexts:
    """Texts of strings with escapes or secrets in them, and their replacements.

    All others certainly have neither; with `rest`, no secrets, but perhaps escapes.
    """

    texts: dict[bytes, bytes] = field(default_factory=dict)
    lengths: set[int] = field(default_factory=set)
    rest: bool = False

    def add(self, text: bytes, new: bytes) -> None:
        """`text` was examined, and is to be replaced by `new`."""
        self.texts[_short(text)] = new
        self.lengths.add(len(text))

    def new(self, text: bytes) -> bytes | None:
        """The replacement of `text`; None if it was not examined."""
        return self.texts.get(_short(text)) if len(text) in self.lengths else None


def _short(text: bytes) -> bytes:
    """`text`, or the digest of a long one: to look up megabytes keeps the interpreter lock."""
    return text if len(text) <= STEP else blake2b(text).digest()


def has_parts(document: Mapping[str, Any]) -> bool:
    """True if a message has several parts, over which a secret could be split."""
    if _has_lists(document.get("messages")):
        return True
    if "system" in document and type(system := document["system"]) is list and len(system) > 1:
        return True
    return "input" in document and _has_lists(document["input"])


def _has_lists(messages: Any) -> bool:
    if type(messages) is list:
        for message in messages:
            if type(message) is dict and type(content := message.get("content")) is list and len(content) > 1:
                return True
    return False


def has_split(document: Mapping[str, Any], finder: SecretFinder, *, alone: bool) -> bool:
    """True if a message's parts may together contain a secret. `alone`: none contains one by itself, or an escape."""
    if alone:
        return finder.suspects(b"\n".join(_seams(texts, finder.seam) for _, texts in part_lists(document)))
    return any(finder.suspects(b"".join(texts)) for _, texts in part_lists(document))


def part_lists(document: Mapping[str, Any]) -> Iterator[tuple[list[Path], list[bytes]]]:
    """The text parts of each message (or system prompt) with more than one: their paths and texts."""
    for name in ("messages", "input"):
        messages = document.get(name)
        if type(messages) is list:
            for index, message in enumerate(messages):
                if type(message) is dict and type(content := message.get("content")) is list and len(content) > 1:
                    yield from _parts((name, index, "content"), content)
    system = document.get("system")
    if type(system) is list and len(system) > 1:
        yield from _parts(("system",), system)


def _parts(path: Path, content: list[Any]) -> Iterator[tuple[list[Path], list[bytes]]]:
    paths: list[Path] = []
    texts: list[bytes] = []
    for index, part in enumerate(in_turns(content)):
        if type(part) is dict and type(text := part.get("text")) is str:
            paths.append((*path, index, "text"))
            texts.append(encode(text))
    if len(paths) > 1:
        yield paths, texts


def joined(document: Mapping[str, Any], looked: ScannedTexts, finder: SecretFinder) -> dict[Path, bytes]:
    """The new texts of parts that together contain a secret: the mark in the first of them, the rest removed.

    `document` is the body before its strings were cleaned one by one; `looked` says what that changed.
    """
    alone: list[tuple[list[Path], list[bytes]]] = []
    changes: dict[Path, bytes] = {}
    for paths, texts in part_lists(document):
        examined = [looked.new(text) for text in in_turns(texts)]
        if looked.rest or any(new is not None for new in examined):
            new_texts = [text if new is None else new for text, new in zip(texts, examined, strict=True)]
            changes.update(_without(paths, new_texts, finder))
        else:
            alone.append((paths, texts))
    if finder.suspects(b"\n".join(_seams(texts, finder.seam) for _, texts in alone)):
        for paths, texts in alone:
            changes.update(_without(paths, texts, finder))
    return changes


def _seams(texts: list[bytes], reach: int) -> bytes:
    """Where a secret over two or more of `texts` would be, if none of them alone contains one, or an escape."""
    letters = LETTERS + b"\\"
    seams: list[bytes] = []
    for text in in_turns(texts):
        head, tail = reach, len(text) - reach
        if tail > head:  # an unfinished key is a run of letters, however long
            head += len(text) - head - len(text[head:].lstrip(letters))
            tail = len(text[:tail].rstrip(letters))
        seams += (text[:head], b"\n", text[tail:]) if tail > head else (text,)
    return b"".join(seams)


def _without(paths: list[Path], texts: list[bytes], finder: SecretFinder) -> dict[Path, bytes]:
    changes: dict[Path, bytes] = {}
    spans = finder.spans(b"".join(texts))
    offset = next_span = 0
    for path, text in zip(paths, in_turns(texts), strict=True):
        end = offset + len(text)
        kept: list[bytes] = []
        position = offset
        while next_span < len(spans) and spans[next_span][0] < end:
            first, last = spans[next_span]
            kept += pieces(text, position - offset, max(first, offset) - offset)
            if first >= offset:
                kept.append(MARK.encode())
            position = min(last, end)
            if last > end:
                break  # the rest of it is in the next text
            next_span += 1
        if position > offset:
            kept += pieces(text, position - offset)
            changes[path] = json_text.dumps(decode(b"".join(kept), "replace"))
        offset = end
    return changes
