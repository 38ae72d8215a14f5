"""JSON strings, the odd ones included: half a surrogate pair is legal JSON (RFC 8259 section 8.2), but no Unicode."""

import json
from typing import Any

import orjson


def load(token: bytes) -> Any:
    """The value of valid JSON."""
    try:
        return orjson.loads(token)
    except orjson.JSONDecodeError:
        return json.loads(token, strict=False)


def dump(text: str) -> bytes:
    """`text` as a JSON string."""
    try:
        return orjson.dumps(text)
    except TypeError:
        return json.dumps(text).encode()
