"""Embeddings: shared code of the dialects. Pivot: https://platform.openai.com/docs/api-reference/embeddings"""

import binascii
from array import array
from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects.base import Chunk
from openai_proxy.errors import UpstreamInvalid

PATH: Final = "/embeddings"


def vectors_of(document: Mapping[str, Any]) -> list[list[float]]:
    """The vectors of an answer of /embeddings, in the order of their texts. Raises UpstreamInvalid."""
    try:
        entries = sorted(document["data"], key=lambda entry: entry.get("index", 0))
        return [_vector(entry["embedding"]) for entry in entries]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UpstreamInvalid("The provider sent embeddings that are not understood.") from None


def _vector(embedding: Any) -> list[float]:
    if isinstance(embedding, str):
        return array("f", binascii.a2b_base64(embedding)).tolist()  # little-endian floats of 32 bits
    return list(embedding)


class WholeWriter:
    """The parts of an AnswerWriter that an API without streams does not need."""

    stream_type = b"application/json"

    def chunk(self, chunk: Chunk) -> bytes:
        """Empty: there is no stream."""
        return b""

    def heartbeat(self) -> bytes:
        """Empty: there is no stream."""
        return b""

    def end(self) -> bytes:
        """Empty: there is no stream."""
        return b""
