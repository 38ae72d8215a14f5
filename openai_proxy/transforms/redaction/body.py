"""Secrets out of a JSON body: only the strings that hold one are written anew.

Every string token is looked at, not the parsed document: where a name stands twice a parser shows the last value
alone, and the provider's may show the first. What is decoded for the look is what any reader would decode.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from openai_proxy.secrets import MARK
from openai_proxy.transforms.redaction.finder import Finder
from openai_proxy.transforms.splicing import STRING, Path, splice
from openai_proxy.transforms.strings import dump, load

_DATA_URL = re.compile(rb"data:[\w.+-]{1,80}/[\w.+-]{1,80}(?:;[\w.+=-]{1,80}){0,8};base64,[A-Za-z0-9+/=_-]*\Z")
_MODEL = re.compile(rb'"model"\s*:\s*\Z')


def redact(body: bytes, document: Mapping[str, Any], finder: Finder) -> bytes:
    """`body` (the JSON of `document`) without the secrets `finder` knows; the same object where it holds none."""
    clean = _strings(body, finder) if finder.suspects(body) else body
    if has_parts(document) and _has_split(document, finder):
        again = document if clean is body else load(clean)
        clean = splice(clean, _joined(again, finder))
    return clean


def has_parts(document: Mapping[str, Any]) -> bool:
    """True if a message comes in several parts, over which a secret could be split."""
    for name in ("messages", "input"):
        messages = document.get(name)
        if type(messages) is list:
            for message in messages:
                if type(message) is dict and type(content := message.get("content")) is list and len(content) > 1:
                    return True
    return type(system := document.get("system")) is list and len(system) > 1


def _has_split(document: Mapping[str, Any], finder: Finder) -> bool:
    return any(finder.suspects(b"".join(texts)) for _, texts in part_lists(document))


def suspected(body: bytes, document: Mapping[str, Any], finder: Finder) -> bool:
    """True if `redact` might change `body`; the cheap half of it."""
    return finder.suspects(body) or (has_parts(document) and _has_split(document, finder))


def _strings(body: bytes, finder: Finder) -> bytes:
    pieces: list[bytes] = []
    position = 0
    for token in STRING.finditer(body):
        start, end = token.span()
        new = _string(body, start, end, finder)
        if new is not None:
            pieces += (body[position:start], new)
            position = end
    if not pieces:
        return body
    pieces.append(body[position:])
    return b"".join(pieces)


def _string(body: bytes, start: int, end: int, finder: Finder) -> bytes | None:
    """The string token at `start:end` without secrets, None if it may stay."""
    inner = body[start + 1 : end - 1]
    if len(inner) < 6:
        return None
    text = load(body[start:end]).encode("utf-8", "surrogatepass") if b"\\" in inner else inner
    clean = finder.clean(text)
    if (
        clean is text
        or _DATA_URL.match(text) is not None
        or _MODEL.search(body[max(start - 40, 0) : start]) is not None
    ):
        return None
    return dump(clean.decode("utf-8", "surrogatepass"))


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


def _joined(document: Mapping[str, Any], finder: Finder) -> dict[Path, bytes]:
    """The new texts of parts that hold a secret together: the mark in the first of them, the rest taken out."""
    changes: dict[Path, bytes] = {}
    for paths, texts in part_lists(document):
        spans = finder.spans(b"".join(texts))
        if not spans:
            continue
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
