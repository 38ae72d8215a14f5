"""Secrets split over the text parts of one message, which its reader joins."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from openai_proxy.secrets import MARK
from openai_proxy.transforms.redaction.finder import SecretFinder
from openai_proxy.transforms.redaction.hint import LETTERS
from openai_proxy.transforms.splicing import Path
from openai_proxy.transforms.strings import dump


@dataclass(slots=True)
class Looked:
    """Texts of strings with escapes or secrets in them, and what has become of each.

    All others surely hold neither; with `rest`, no secrets, but perhaps escapes.
    """

    texts: dict[bytes, bytes] = field(default_factory=dict)
    rest: bool = False


def has_parts(document: Mapping[str, Any]) -> bool:
    """True if a message comes in several parts, over which a secret could be split."""
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
    """True if the parts of a message may hold a secret together. `alone`: none of them holds one, or an escape."""
    if alone:
        return finder.suspects(b"\n".join(_seams(texts, finder.seam) for _, texts in part_lists(document)))
    return any(finder.suspects(b"".join(texts)) for _, texts in part_lists(document))


def part_lists(document: Mapping[str, Any]) -> Iterator[tuple[list[Path], list[bytes]]]:
    """The text parts of each message (or system prompt) that has more than one: their paths and their texts."""
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
    for index, part in enumerate(content):
        if type(part) is dict and type(text := part.get("text")) is str:
            paths.append((*path, index, "text"))
            texts.append(text.encode("utf-8", "surrogatepass"))
    if len(paths) > 1:
        yield paths, texts


def joined(document: Mapping[str, Any], looked: Looked, finder: SecretFinder) -> dict[Path, bytes]:
    """The new texts of parts that hold a secret together: the mark in the first of them, the rest taken out.

    `document` is what the body was before its strings were cleaned one by one; `looked` tells what that changed.
    """
    lengths = {len(text) for text in looked.texts}
    alone: list[tuple[list[Path], list[bytes]]] = []
    changes: dict[Path, bytes] = {}
    for paths, texts in part_lists(document):
        if looked.rest or any(len(text) in lengths and text in looked.texts for text in texts):
            changes.update(_without(paths, [looked.texts.get(text, text) for text in texts], finder))
        else:
            alone.append((paths, texts))
    if finder.suspects(b"\n".join(_seams(texts, finder.seam) for _, texts in alone)):
        for paths, texts in alone:
            changes.update(_without(paths, texts, finder))
    return changes


def _seams(texts: list[bytes], reach: int) -> bytes:
    """What a secret over two or more of `texts` would stand in, if none of them holds one, or an escape, alone."""
    letters = LETTERS + b"\\"
    pieces: list[bytes] = []
    for text in texts:
        head, tail = reach, len(text) - reach
        if tail > head:  # an unfinished key is a run of letters, however long
            head += len(text) - head - len(text[head:].lstrip(letters))
            tail = len(text[:tail].rstrip(letters))
        pieces += (text[:head], b"\n", text[tail:]) if tail > head else (text,)
    return b"".join(pieces)


def _without(paths: list[Path], texts: list[bytes], finder: SecretFinder) -> dict[Path, bytes]:
    changes: dict[Path, bytes] = {}
    spans = finder.spans(b"".join(texts))
    offset = 0
    for path, text in zip(paths, texts, strict=True):
        end = offset + len(text)
        pieces: list[bytes] = []
        position = offset
        for first, last in spans:
            if last <= offset or first >= end:
                continue
            pieces.append(text[position - offset : max(first, offset) - offset])
            if first >= offset:
                pieces.append(MARK.encode())
            position = min(last, end)
        if pieces:
            pieces.append(text[position - offset :])
            changes[path] = dump(b"".join(pieces).decode("utf-8", "replace"))
        offset = end
    return changes
