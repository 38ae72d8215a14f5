"""`context` of /api/generate: the conversation so far, carried by the client.

Ollama gives its tokens; a client sends them back as they came and never looks into them. Ours are the messages,
compressed, three bytes a number, behind a mark that no vocabulary has.
"""

import zlib
from collections.abc import Sequence
from typing import Any, Final

import orjson

_MARK: Final = 1_869_631_600
_WIDTH: Final = 3
_MAX_BYTES: Final = 8 << 20  # of a conversation, unpacked


def remember(messages: Sequence[dict[str, Any]]) -> list[int]:
    """The numbers that stand for a conversation."""
    packed = zlib.compress(orjson.dumps([[message["role"], message["content"]] for message in messages]))
    packed += b"\0" * (-len(packed) % _WIDTH)  # what follows the end of the stream is ignored
    return [_MARK, *(int.from_bytes(packed[at : at + _WIDTH], "big") for at in range(0, len(packed), _WIDTH))]


def recall(context: Any) -> list[dict[str, Any]] | None:
    """The conversation that `remember` made numbers of; None for anything else."""
    if not isinstance(context, list) or not context or context[0] != _MARK:
        return None
    try:
        packed = b"".join([number.to_bytes(_WIDTH, "big") for number in context[1:]])
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(packed, _MAX_BYTES)
        pairs = orjson.loads(data) if unpacker.eof else None
        messages = [{"role": role, "content": content} for role, content in pairs or ()]
    except (AttributeError, TypeError, ValueError, OverflowError, zlib.error):
        return None
    sound = all(m["role"] in ("user", "assistant") and isinstance(m["content"], str) for m in messages)
    return messages if sound and messages else None
