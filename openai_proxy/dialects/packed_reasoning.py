"""`reasoning_details` of one maker inside the text that another maker's clients send back as it came.

A Responses client returns `encrypted_content`, a Messages client the signature of a thinking block. What a provider has
to see again of its thoughts travels there, behind a prefix of ours.
"""

import base64
import binascii
import zlib
from typing import Any, Final

import orjson

_PREFIX: Final = "oap1."
_MAX_PACKED: Final = 8 << 20  # bytes of JSON in one packed text; a limit against zip bombs


def pack(details: list[dict[str, Any]]) -> str:
    """`reasoning_details` as a text for a client to keep."""
    packed = zlib.compress(orjson.dumps({"details": details}), 1)
    return _PREFIX + base64.urlsafe_b64encode(packed).decode()


def is_packed(text: object) -> bool:
    """True for a text that `pack` made."""
    return isinstance(text, str) and text.startswith(_PREFIX)


def unpack(text: str) -> list[dict[str, Any]] | None:
    """The `reasoning_details` in a packed text; None if it has been damaged."""
    try:
        engine = zlib.decompressobj()
        document = engine.decompress(base64.urlsafe_b64decode(text[len(_PREFIX) :]), _MAX_PACKED)
        details = orjson.loads(document)["details"]
    except (binascii.Error, zlib.error, ValueError, KeyError, TypeError):
        return None
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else None
