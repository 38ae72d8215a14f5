"""Gemini's embedContent and batchEmbedContents as requests to /embeddings. https://ai.google.dev/api/embeddings"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.embeddings import PATH, WholeWriter, vectors_of
from openai_proxy.dialects.gemini.contents import text_of
from openai_proxy.dialects.gemini.errors import error_body
from openai_proxy.dialects.gemini.fields import an_object, member, objects
from openai_proxy.errors import BadRequest

_LEFT_OUT = ("taskType", "title", "autoTruncate")


@dataclass(frozen=True, slots=True)
class GeminiEmbeddingDetails:
    """Which of the two endpoints was used."""

    single: bool  # embedContent


def read_embed(model: str, document: dict[str, Any]) -> IncomingRequest:
    """A request to embed one content. Raises BadRequest."""
    return _request(model, [document], [""], single=True)


def read_batch(model: str, document: dict[str, Any]) -> IncomingRequest:
    """A request to embed several contents. Raises BadRequest."""
    requests = objects(document.get("requests"), "requests")
    if not requests:
        raise BadRequest("'requests' must hold at least one request.", param="requests")
    return _request(model, requests, [f"requests[{at}]." for at in range(len(requests))], single=False)


def _request(model: str, requests: list[dict[str, Any]], where: list[str], *, single: bool) -> IncomingRequest:
    texts = []
    dropped: dict[str, None] = {}
    dimensions: Any = None
    for request, param in zip(requests, where, strict=True):
        text = text_of(an_object(request.get("content"), f"{param}content"), f"{param}content")
        if not text:
            raise BadRequest("A content to embed needs a text.", param=f"{param}content")
        texts.append(text)
        config = an_object(member(request, "embedContentConfig"), f"{param}embedContentConfig")
        settings = {**request, **config}
        dimensions = member(settings, "outputDimensionality") or dimensions
        dropped.update({name: None for name in _LEFT_OUT if member(settings, name) is not None})
    chat: dict[str, Any] = {"model": model, "input": texts, "encoding_format": "float"}
    if dimensions is not None:
        chat["dimensions"] = dimensions
    return IncomingRequest(chat, dropped=tuple(dropped), details=GeminiEmbeddingDetails(single), path=PATH)


class GeminiEmbeddingsWriter(WholeWriter):
    """Writes the answer to a request for embeddings."""

    def __init__(self, details: GeminiEmbeddingDetails) -> None:
        self._single = details.single

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        """The vectors of a list of embeddings, in order. Raises UpstreamInvalid."""
        entries = [{"values": vector} for vector in vectors_of(completion)]
        if self._single:
            return orjson.dumps({"embedding": entries[0] if entries else {"values": []}})
        return orjson.dumps({"embeddings": entries})

    def error(self, error: Mapping[str, Any]) -> bytes:
        return error_body(None, error)
