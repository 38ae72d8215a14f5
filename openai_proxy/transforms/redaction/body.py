"""Removes secrets from a JSON body: only the strings that contain one are rewritten.

The raw body is searched once. A match lies in a string; that string, decoded as any reader would, is searched from
there on, and the search of the body continues after it. Raw strings are examined rather than the parsed document: for a
duplicate name a parser shows only the last value, but the provider's may use the first.
"""

import re
from collections.abc import Mapping
from typing import Any

from openai_proxy import steps
from openai_proxy.dialects import json_text
from openai_proxy.transforms.redaction.enclosing import enclosing
from openai_proxy.transforms.redaction.finder import SecretFinder, replaced
from openai_proxy.transforms.redaction.hint import LETTERS
from openai_proxy.transforms.redaction.parts import ScannedTexts, has_parts, has_split, joined
from openai_proxy.transforms.splicing import splice

_DATA_URL = re.compile(rb"data:[\w.+-]{1,80}/[\w.+-]{1,80}(?:;[\w.+=-]{1,80}){0,8};base64,")
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-"
_MODEL = re.compile(rb'"model"\s*:\s*\Z')
_SHORTEST = 6  # minimum bytes of a string that could contain a secret

MANY = 256
"""Strings with escapes that are examined one by one (5 µs each); beyond, all the rest is examined at once."""


def redact(body: bytes, document: Mapping[str, Any], finder: SecretFinder) -> bytes:
    """`body` (the JSON of `document`) without the secrets that `finder` knows; the same object if it has none."""
    looked = ScannedTexts() if has_parts(document) else None
    clean = _strings(body, finder, looked)
    if looked is not None and (changes := joined(document, looked, finder)):
        clean = splice(clean, changes)
    return clean


def suspected(body: bytes, document: Mapping[str, Any], finder: SecretFinder) -> bool:
    """True if `redact` might change `body`; the cheap part of it."""
    hit = finder.first(body)
    return (hit is not None and finder.confirms(body, hit)) or (
        has_parts(document) and has_split(document, finder, alone=hit is None)
    )


def _strings(body: bytes, finder: SecretFinder, looked: ScannedTexts | None) -> bytes:
    """`body` with its strings cleaned one by one. The examined ones are noted in `looked`."""
    pieces: list[bytes] = []
    kept = position = outside = escaped = 0
    while (hit := finder.first(body, position)) is not None:
        if hit.escape:
            escaped += 1
            if escaped == MANY and not finder.suspects(body, position):
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
            pieces += (*steps.pieces(body, kept, cut), new)
            kept = end
        if looked is not None:
            text = _decoded(steps.part(body, start, end))
            new = text
            if cleaned is not None:
                new = _decoded(b"".join([*steps.pieces(body, start, cleaned[0]), *steps.pieces(cleaned[1])]))
            looked.add(text, new)
        position = outside = end
    if not pieces:
        return body
    pieces += steps.pieces(body, kept)
    return b"".join(pieces)


def _decoded(token: bytes) -> bytes:
    return steps.encode(json_text.loads(token, exact=False)) if 0x5C in token else steps.part(token, 1, len(token) - 1)


def _string(body: bytes, start: int, end: int, hit: int, finder: SecretFinder) -> tuple[int, bytes] | None:
    """Where the change of the string token at `start:end` begins, and its new rest; None if it is unchanged.

    `hit` is the first suspicious position in it, or its start if a match may begin anywhere.
    """
    if end - start - 2 < _SHORTEST or _MODEL.search(body[max(start - 40, 0) : start]) is not None:
        return None
    first = start + 1
    cut = _cut(body, first, hit, finder.reach)
    inner = steps.part(body, cut, end - 1)
    text = inner
    if 0x5C in inner:
        text = steps.encode(json_text.loads(b"".join([b'"', *steps.pieces(inner), b'"']), exact=False))
    if body.startswith(b"data:", first) or (cut == first and text.startswith(b"data:")):
        whole = text if cut == first else _decoded(steps.part(body, start, end))
        head = _DATA_URL.match(whole)
        if head is not None and not any(piece.strip(_BASE64) for piece in steps.pieces(whole, head.end())):
            return None
    spans = finder.spans(text, 0 if cut == first else 1)  # the preceding byte shows whether a word begins
    if not spans:
        return None
    clean = replaced(text, spans)
    if text is inner:
        return cut, b"".join([*steps.pieces(clean), b'"'])
    written = json_text.dumps(steps.decode(clean))
    return cut, steps.part(written, 1, len(written))


def _cut(body: bytes, first: int, hit: int, reach: int) -> int:
    """A position in a string that begins at `first` from which on it includes everything that `hit` is part of."""
    cut = hit - reach
    if cut <= first:
        return first
    cut = first + len(body[first:cut].rstrip(LETTERS + b"\\")) - 1  # and one byte before the run
    if cut <= first:
        return first
    for _ in range(64):  # not inside an escape, a surrogate pair of escapes, or a character
        backslash = body.rfind(b"\\", max(cut - 12, first), cut)
        if backslash < 0:
            break
        cut = backslash
    else:
        return first
    while cut > first and 0x80 <= body[cut] < 0xC0:
        cut -= 1
    return cut
