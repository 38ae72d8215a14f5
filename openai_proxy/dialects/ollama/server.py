"""An Ollama server's other endpoints: its models, their capabilities, and embeddings.

https://docs.ollama.com/api/tags, https://docs.ollama.com/api-reference/show-model-details
"""

import binascii
import datetime
from array import array
from collections.abc import Mapping
from typing import Any

from openai_proxy.dialects import json_text
from openai_proxy.dialects.ollama.options import write_options
from openai_proxy.errors import BadRequest, UpstreamInvalid

_KEPT = ("size", "digest", "modified_at", "details", "capabilities")


def models_of(document: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """OpenAI model objects for the answer of /api/tags, or of a list like OpenAI's; None if it is neither."""
    listed = document.get("models", document.get("data"))
    if not isinstance(listed, list):
        return None
    return [made for entry in listed if isinstance(entry, dict) and (made := _model(entry)) is not None]


def _model(entry: dict[str, Any]) -> dict[str, Any] | None:
    name = entry.get("model") or entry.get("name") or entry.get("id")
    if not isinstance(name, str) or not name:
        return None
    made: dict[str, Any] = {"id": name, "object": "model", "created": _created(entry), "owned_by": "ollama"}
    made.update({member: entry[member] for member in _KEPT if entry.get(member) is not None})
    details = entry.get("details")
    context = details.get("context_length") if isinstance(details, dict) else None
    if isinstance(context, int) and context > 0:
        made["context_length"] = context
    return made


def _created(entry: Mapping[str, Any]) -> int:
    try:
        return max(0, int(datetime.datetime.fromisoformat(str(entry.get("modified_at"))).timestamp()))
    except (ValueError, OverflowError):
        created = entry.get("created")
        return created if isinstance(created, int) else 0


def is_complete(model: Mapping[str, Any]) -> bool:
    """Whether the list already has everything that /api/show would add."""
    return "capabilities" in model and "context_length" in model


def with_details(model: dict[str, Any], shown: Mapping[str, Any]) -> dict[str, Any]:
    """`model` with the context and capabilities from the answer of /api/show."""
    made = dict(model)
    capabilities = shown.get("capabilities")
    if isinstance(capabilities, list) and "capabilities" not in made:
        made["capabilities"] = capabilities
    info = shown.get("model_info")
    for name, value in info.items() if isinstance(info, dict) else ():
        if name.endswith(".context_length") and isinstance(value, int) and value > 0:
            made.setdefault("context_length", value)
    return made


def with_context(model: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """`model` with the context size that this connection sets for its requests."""
    requested = options.get("num_ctx")
    if not isinstance(requested, int) or requested <= 0:
        return model
    known = model.get("context_length")
    return {**model, "context_length": min(requested, known) if isinstance(known, int) else requested}


def names_model(body: bytes) -> bool:
    """Whether a 404 is about a model rather than the path."""
    try:
        document = json_text.loads(body)
    except ValueError:
        return False
    return isinstance(document, dict) and "model" in str(document.get("error"))


def embed_request(chat: Mapping[str, Any]) -> dict[str, Any]:
    """A request to /embeddings as one to /api/embed. Raises BadRequest for tokens instead of text."""
    texts = chat.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise BadRequest("This provider embeds text only.", param="input", code="unsupported_content")
    body: dict[str, Any] = {"model": chat.get("model"), "input": texts}
    options = write_options(chat)
    if options:
        body["options"] = options
    for name in ("dimensions", "keep_alive"):
        if chat.get(name) is not None:
            body[name] = chat[name]
    return body


def embeddings(document: Mapping[str, Any], chat: Mapping[str, Any]) -> dict[str, Any]:
    """The answer of /api/embed as that of /embeddings, for the request `chat`. Raises UpstreamInvalid."""
    vectors = document.get("embeddings")
    try:
        packed = chat.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if packed else vector}
            for index, vector in enumerate(vectors or ())
        ]
    except (TypeError, OverflowError):
        raise UpstreamInvalid("The provider sent embeddings that are not understood.") from None
    tokens = document.get("prompt_eval_count") or 0
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": chat.get("model"), "usage": usage}


def _packed(vector: list[float]) -> str:
    """32-bit floats as base64, as requested by OpenAI's libraries."""
    return binascii.b2a_base64(array("f", vector).tobytes(), newline=False).decode()
