"""The encodings in which a secret may appear in a text, each a plain string to search for.

Base64 is found at any position of a longer encoded text: three bytes become four characters, so there are three
alignments, and in each the characters at both ends are mixed with the secret's neighbours. Those are not searched for
but included (`Form`) when the rest is found.
"""

import json
from base64 import b64encode, urlsafe_b64encode
from typing import NamedTuple
from urllib.parse import quote, quote_plus

MIN_LENGTH = 8  # minimum bytes of an encoded form; a shorter one would match by chance


class Form(NamedTuple):
    """How many base64 characters before and after a match are mixed with the secret's bits."""

    before: int = 0
    after: int = 0


PLAIN = Form()


def forms(secret: str) -> dict[bytes, Form]:
    """What to search for, and what to include around it."""
    raw = secret.encode("utf-8", "surrogatepass")
    found: dict[bytes, Form] = {raw: PLAIN}
    encoded = [
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(secret)[1:-1])[1:-1],
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        raw.hex(),
        raw.hex().upper(),
    ]
    for text in encoded:
        data = text.encode("utf-8", "surrogatepass")
        variants = (data,) if b"%" not in data else (data, _lower_codes(data))
        for variant in variants:
            if len(variant) >= min(MIN_LENGTH, len(raw)):
                found.setdefault(variant, PLAIN)
    for offset in range(3):
        for encode in (b64encode, urlsafe_b64encode):
            _base64(found, raw, offset, encode(b"\0" * offset + raw).rstrip(b"="))
    return found


def _base64(found: dict[bytes, Form], raw: bytes, offset: int, encoded: bytes) -> None:
    before = (0, 2, 3)[offset]
    mixed_after = (offset + len(raw)) % 3 != 0
    core = encoded[before : len(encoded) - mixed_after]
    if len(core) >= MIN_LENGTH:
        found.setdefault(core, Form(before, 1 if mixed_after else 0))


def _lower_codes(data: bytes) -> bytes:
    head, *rest = data.split(b"%")
    return b"%".join([head, *(piece[:2].lower() + piece[2:] for piece in rest)])
