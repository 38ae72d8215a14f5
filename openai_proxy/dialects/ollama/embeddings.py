"""Ollama's two embedding endpoints: reads requests as requests to /embeddings, and writes the answers.

https://docs.ollama.com/api/embed; /api/embeddings is the older one, for one text at a time.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.embeddings import PATH, WholeWriter, vectors_of
from openai_proxy.dialects.ollama.read_request import model_of
from openai_proxy.dialects.ollama.write_answer import Clock, error_body
from openai_proxy.errors import BadRequest


@dataclass(frozen=True, slots=True)
class OllamaEmbeddingDetails:
    """Which endpoint was used."""

    single: bool  # /api/embeddings


def read_embed(document: dict[str, Any]) -> IncomingRequest:
    """A request to /api/embed: `input` is a text or a list of texts. Raises BadRequest."""
    model = model_of(document)
    texts = document.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if texts in (None, [], [""]):
        answer = {"model": model, "embeddings": []}
        return IncomingRequest({"model": model, "input": []}, path=PATH, answer=orjson.dumps(answer))
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest("'input' must be a string or a list of strings.", param="input")
    chat: dict[str, Any] = {"model": model, "input": texts, "encoding_format": "float"}
    if document.get("dimensions"):
        chat["dimensions"] = document["dimensions"]
    dropped = tuple(name for name in ("truncate", "options", "keep_alive") if document.get(name) is not None)
    return IncomingRequest(chat, dropped=dropped, details=OllamaEmbeddingDetails(single=False), path=PATH)


def read_embeddings(document: dict[str, Any]) -> IncomingRequest:
    """A request to /api/embeddings: `prompt` is one text. Raises BadRequest."""
    model = model_of(document)
    prompt = document.get("prompt")
    if prompt in (None, ""):
        return IncomingRequest({"model": model, "input": []}, path=PATH, answer=b'{"embedding":[]}')
    if not isinstance(prompt, str):
        raise BadRequest("'prompt' must be a string.", param="prompt")
    chat = {"model": model, "input": [prompt], "encoding_format": "float"}
    dropped = tuple(name for name in ("options", "keep_alive") if document.get(name) is not None)
    return IncomingRequest(chat, dropped=dropped, details=OllamaEmbeddingDetails(single=True), path=PATH)


class OllamaEmbeddingsWriter(WholeWriter):
    """Writes the answer to a request for embeddings."""

    def __init__(self, details: OllamaEmbeddingDetails, model: str) -> None:
        self._single = details.single
        self._model = model
        self._clock = Clock()

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        """The vectors of a list of embeddings, in order. Raises UpstreamInvalid."""
        vectors = vectors_of(completion)
        if self._single:
            return orjson.dumps({"embedding": vectors[0] if vectors else []})
        total = self._clock.durations({})["total_duration"]
        answer = {"model": self._model, "embeddings": vectors, "total_duration": total, "load_duration": 0}
        count = (completion.get("usage") or {}).get("prompt_tokens")
        if count:
            answer["prompt_eval_count"] = count
        return orjson.dumps(answer)

    def error(self, error: Mapping[str, Any]) -> bytes:
        return error_body(error)
