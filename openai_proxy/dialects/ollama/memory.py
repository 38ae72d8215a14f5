"""`context` of /api/generate: the conversation so far, carried by the client.

Ollama's are tokens, which clients return unchanged without looking at them. Ours are the compressed messages, three
bytes per number, after a marker that no vocabulary contains.
"""

import zlib
from collections.abc import Sequence
from typing import Any, Final

from openai_proxy.dialects import json_text

_MARK: Final = 1_869_631_600
_WIDTH: Final = 3
_MAX_BYTES: Final = 8 << 20  # of a conversation, unpacked


def remember(messages: Sequence[dict[str, Any]]) -> list[int] | None:
    """The numbers that represent a conversation; None for one too large for `recall`."""
    if sum(len(message["content"]) for message in messages) > _MAX_BYTES:
        return None  # before megabytes are written for nothing
    data = json_text.dumps([[message["role"], message["content"]] for message in messages])
    if len(data) > _MAX_BYTES:
        return None
    packed = zlib.compress(data)
    packed += b"\0" * (-len(packed) % _WIDTH)  # anything after the end of the stream is ignored
    return [_MARK, *(int.from_bytes(packed[at : at + _WIDTH], "big") for at in range(0, len(packed), _WIDTH))]


def recall(context: Any) -> list[dict[str, Any]] | None:
    """The conversation that `remember` turned into numbers; None for anything else."""
    if not isinstance(context, list) or not context or context[0] != _MARK:
        return None
    try:
        packed = b"".join([number.to_bytes(_WIDTH, "big") for number in context[1:]])
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(packed, _MAX_BYTES)
        pairs = json_text.loads(data) if unpacker.eof else None
        messages = [{"role": role, "content": content} for role, content in pairs or ()]
    except (AttributeError, TypeError, ValueError, OverflowError, zlib.error):
        return None
    sound = all(m["role"] in ("user", "assistant") and isinstance(m["content"], str) for m in messages)
    return messages if sound and messages else None
