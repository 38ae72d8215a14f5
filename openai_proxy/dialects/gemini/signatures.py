"""`thoughtSignature`: what a model needs to see again of its thoughts, carried by the client on its calls.

Google's own signatures go back as they came. Those of other makers travel in the same place: packed, behind a mark.
https://ai.google.dev/gemini-api/docs/thought-signatures
"""

import binascii
import zlib
from typing import Any, Final

import orjson

_MARK: Final = b"openai-proxy:"
_MAX_BYTES: Final = 4 << 20  # of the details, unpacked


def pack(details: list[Any]) -> str:
    """The signature that stands for another maker's `reasoning_details`."""
    return binascii.b2a_base64(_MARK + zlib.compress(orjson.dumps(details)), newline=False).decode()


def unpack(signature: str) -> list[Any] | None:
    """The `reasoning_details` that `pack` made a signature of; None for a signature of Google's."""
    try:
        data = binascii.a2b_base64(signature)
        if not data.startswith(_MARK):
            return None
        details = orjson.loads(zlib.decompressobj().decompress(data[len(_MARK) :], _MAX_BYTES))
    except (ValueError, zlib.error):
        return None
    return details if isinstance(details, list) else None


def of_call(call: dict[str, Any]) -> str | None:
    """Google's signature on a tool call of a chat message."""
    try:
        signature = call["extra_content"]["google"]["thought_signature"]
    except (KeyError, TypeError):
        return None
    return signature if isinstance(signature, str) else None


def on_call(call: dict[str, Any], signature: str) -> None:
    """Put Google's `signature` on a tool call of a chat message."""
    call["extra_content"] = {"google": {"thought_signature": signature}}
