"""Secrets out of a JSON body: only the strings that hold one are written anew.

The raw body is searched once. What is found lies in a string; that string, decoded as any reader would decode it, is
searched from there on, and the search of the body goes on behind it. Raw strings are looked at, not the parsed
document: where a name stands twice a parser shows the last value alone, and the provider's may show the first.
"""

import re
from collections.abc import Mapping
from typing import Any

from openai_proxy.transforms.redaction.enclosing import enclosing
from openai_proxy.transforms.redaction.finder import SecretFinder, replaced
from openai_proxy.transforms.redaction.hint import LETTERS
from openai_proxy.transforms.redaction.parts import Looked, has_parts, has_split, joined
from openai_proxy.transforms.splicing import splice
from openai_proxy.transforms.strings import dump, load

_DATA_URL = re.compile(rb"data:[\w.+-]{1,80}/[\w.+-]{1,80}(?:;[\w.+=-]{1,80}){0,8};base64,[A-Za-z0-9+/=_-]*\Z")
_MODEL = re.compile(rb'"model"\s*:\s*\Z')
_SHORTEST = 6  # bytes of a string in which a secret could stand

MANY = 256
"""Strings with escapes that are looked into one by one (5 µs each), before all that is left is looked over at once."""


def redact(body: bytes, document: Mapping[str, Any], finder: SecretFinder) -> bytes:
    """`body` (the JSON of `document`) without the secrets `finder` knows; the same object where it holds none."""
    looked = Looked() if has_parts(document) else None
    clean = _strings(body, finder, looked)
    if looked is not None and (changes := joined(document, looked, finder)):
        clean = splice(clean, changes)
    return clean


def suspected(body: bytes, document: Mapping[str, Any], finder: SecretFinder) -> bool:
    """True if `redact` might change `body`; the cheap half of it."""
    hit = finder.first(body)
    return (hit is not None and finder.confirms(body, hit)) or (
        has_parts(document) and has_split(document, finder, alone=hit is None)
    )


def _strings(body: bytes, finder: SecretFinder, looked: Looked | None) -> bytes:
    """`body` with its strings cleaned one by one. Those that were looked into are noted in `looked`."""
    pieces: list[bytes] = []
    kept = position = outside = escaped = 0
    while (hit := finder.first(body, position)) is not None:
        if hit.escape:
            escaped += 1
            if escaped == MANY and not finder.suspects(body[position:]):
                if looked is not None:
                    looked.rest = True
                break
        found = enclosing(body, outside, hit.start)
        if found is None:
            outside = hit.start
            position = hit.start + 1
            continue
        start, end = found
        cleaned = _string(body, start, end, hit.start if not hit.escape and looked is None else start, finder)
        if cleaned is not None:
            cut, new = cleaned
            pieces += (body[kept:cut], new)
            kept = end
        if looked is not None:
            text = _decoded(body[start:end])
            looked.texts[text] = text if cleaned is None else _decoded(body[start : cleaned[0]] + cleaned[1])
        position = outside = end
    if not pieces:
        return body
    pieces.append(body[kept:])
    return b"".join(pieces)


def _decoded(token: bytes) -> bytes:
    return load(token).encode("utf-8", "surrogatepass") if b"\\" in token else token[1:-1]


def _string(body: bytes, start: int, end: int, hit: int, finder: SecretFinder) -> tuple[int, bytes] | None:
    """From where on the string token at `start:end` changes, and into what; None if it may stay.

    `hit` is the first suspicious place in it, or its start if what is found may begin anywhere.
    """
    if end - start - 2 < _SHORTEST or _MODEL.search(body[max(start - 40, 0) : start]) is not None:
        return None
    first = start + 1
    cut = _cut(body, first, hit, finder.reach)
    inner = body[cut : end - 1]
    text = inner
    if 0x5C in inner:
        text = load(b'"%b"' % inner).encode("utf-8", "surrogatepass")
    if body.startswith(b"data:", first) or (cut == first and text.startswith(b"data:")):
        whole = text if cut == first else _decoded(body[start:end])
        if _DATA_URL.match(whole) is not None:
            return None
    spans = finder.spans(text, 0 if cut == first else 1)  # the byte before shows whether a word begins
    if not spans:
        return None
    clean = replaced(text, spans)
    if text is inner:
        return cut, clean + b'"'
    return cut, dump(clean.decode("utf-8", "surrogatepass"))[1:]


def _cut(body: bytes, first: int, hit: int, reach: int) -> int:
    """A place in a string that begins at `first` from which on it holds all that what was found at `hit` is part of."""
    cut = hit - reach
    if cut <= first:
        return first
    cut = first + len(body[first:cut].rstrip(LETTERS + b"\\")) - 1  # and one byte before the run
    if cut <= first:
        return first
    for _ in range(64):  # not within an escape, a pair of them for one character, or a character
        backslash = body.rfind(b"\\", max(cut - 12, first), cut)
        if backslash < 0:
            break
        cut = backslash
    else:
        return first
    while cut > first and 0x80 <= body[cut] < 0xC0:
        cut -= 1
    return cut
