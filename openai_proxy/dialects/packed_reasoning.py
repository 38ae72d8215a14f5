"""One provider's `reasoning_details`, packed into a text that clients of another API return unchanged.

A Responses client returns `encrypted_content`, a Messages client the signature of a thinking block, a Gemini client the
`thoughtSignature` of a call. What a provider needs to get back of its reasoning is put there, after a mark of ours, in
base64: Google's SDKs decode the signatures they keep.
"""

import binascii
import zlib
from typing import Any, Final, TypeGuard

from openai_proxy.dialects import json_text

_MARK: Final = b"openai-proxy:"
_OLD: Final = "oap1."
"""Responses and Messages clients were once given this and base64 for URLs; their histories still hold it."""

PREFIXES: Final = (binascii.b2a_base64(_MARK[:12], newline=False).decode(), _OLD)
"""What a packed text begins with."""

_MAX_PACKED: Final = 8 << 20  # bytes of JSON in one packed text
_MAX_RATIO: Final = 32
"""Bytes of JSON per packed byte: a request may hold thousands of packed texts, which a client may also have forged."""
_ALWAYS: Final = 4096  # bytes of JSON in even the shortest packed text


def pack(details: list[dict[str, Any]]) -> str:
    """`reasoning_details` as a text for a client to keep."""
    data = json_text.dumps(details)
    packed = zlib.compress(data, 1)
    if len(data) > _most(packed):
        packed = zlib.compress(data, 0)
    return binascii.b2a_base64(_MARK + packed, newline=False).decode()


def is_packed(text: object) -> TypeGuard[str]:
    """True for a text made by `pack`."""
    return isinstance(text, str) and text.startswith(PREFIXES)


def unpack(text: str) -> list[dict[str, Any]] | None:
    """The `reasoning_details` in a packed text; None if it is damaged."""
    encoded = text.removeprefix(_OLD).replace("-", "+").replace("_", "/")
    engine = zlib.decompressobj()
    try:
        packed = binascii.a2b_base64(encoded + "=" * (-len(encoded) % 4)).removeprefix(_MARK)
        details = json_text.loads(engine.decompress(packed, _most(packed)))
    except (ValueError, zlib.error):
        return None
    if not engine.eof:
        return None
    if isinstance(details, dict):
        details = details.get("details")  # after the old prefix
    return [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else None


def _most(packed: bytes) -> int:
    """The most bytes of JSON that `packed` may hold."""
    return min(_MAX_PACKED, _ALWAYS + _MAX_RATIO * len(packed))
