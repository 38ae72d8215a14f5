"""Converts parts of Messages answers to the chat API: thinking, citations, errors, models."""

import datetime
from typing import Any, Final

from openai_proxy.dialects.messages.tables import THINKING_FORMAT

_TOO_LONG: Final = ("prompt is too long", "exceed context limit", "exceeds the context window")


def thinking_detail(
    index: int, *, text: str | None = None, signature: str | None = None, first: bool = True
) -> dict[str, Any]:
    """One entry of `reasoning_details`: a piece of thinking, or its signature; `format` only in a block's first."""
    detail: dict[str, Any] = {"type": "reasoning.text", "index": index}
    if first:
        detail["format"] = THINKING_FORMAT
    if text is not None:
        detail["text"] = text
    if signature is not None:
        detail["signature"] = signature
    return detail


def redacted_detail(index: int, data: Any) -> dict[str, Any]:
    """The entry of `reasoning_details` for thinking that only the provider can read."""
    return {"type": "reasoning.encrypted", "index": index, "format": THINKING_FORMAT, "data": data}


def annotation(citation: Any) -> dict[str, Any] | None:
    """A citation of a web page as an annotation; None for citations of other things."""
    if not isinstance(citation, dict) or not isinstance(citation.get("url"), str):
        return None
    cited = {"url": citation["url"], "title": citation.get("title") or "", "start_index": 0, "end_index": 0}
    return {"type": "url_citation", "url_citation": cited}


def error_of(error: Any) -> dict[str, Any]:
    """The OpenAI error object for an Anthropic `error` member (`{"type", "message"}`)."""
    error = error if isinstance(error, dict) else {}
    message = error.get("message") if isinstance(error.get("message"), str) else "The provider reported an error."
    kind = error.get("type") if isinstance(error.get("type"), str) else "api_error"
    code = "context_length_exceeded" if any(text in str(message).lower() for text in _TOO_LONG) else kind
    return {"message": message, "type": kind, "param": None, "code": code}


def model_object(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of the model list as an OpenAI model object, with its other members kept beside it."""
    created = 0
    try:
        created = int(datetime.datetime.fromisoformat(str(entry.get("created_at"))).timestamp())
    except (ValueError, OverflowError):
        created = 0  # some entries have no date
    made: dict[str, Any] = {"id": entry["id"], "object": "model", "created": created, "owned_by": "anthropic"}
    if isinstance(entry.get("display_name"), str):
        made["name"] = entry["display_name"]
    if isinstance(entry.get("max_input_tokens"), int):
        made["context_length"] = entry["max_input_tokens"]
    if isinstance(entry.get("max_tokens"), int):
        made["max_output_tokens"] = entry["max_tokens"]
    if isinstance(entry.get("capabilities"), dict):
        made["capabilities"] = entry["capabilities"]
    return made
