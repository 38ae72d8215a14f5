"""Errors in Google's shape. https://cloud.google.com/apis/design/errors"""

from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.odd_input import in_own_format

_STATUS: Final = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 402: "FAILED_PRECONDITION", 403: "PERMISSION_DENIED",
    404: "NOT_FOUND", 405: "UNIMPLEMENTED", 408: "DEADLINE_EXCEEDED", 409: "ABORTED", 413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED",
    502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
_NAMES: Final = {
    "messages": "contents", "max_tokens": "generationConfig.maxOutputTokens", "n": "generationConfig.candidateCount",
    "stop": "generationConfig.stopSequences", "temperature": "generationConfig.temperature",
    "top_p": "generationConfig.topP", "response_format": "generationConfig.responseSchema",
    "tool_choice": "toolConfig", "reasoning_effort": "generationConfig.thinkingConfig",
}  # fmt: skip
"""Chat API members that have another name here."""
_INFO: Final = "type.googleapis.com/google.rpc.ErrorInfo"
_FIELD: Final = "type.googleapis.com/google.rpc.BadRequest"


def error_document(status: int | None, error: Mapping[str, Any]) -> dict[str, Any]:
    """The error document for the chat API's error object. Without a status, a numeric error code is used."""
    error = in_own_format(error, _NAMES)
    given, message, param = error.get("code"), error.get("message"), error.get("param")
    if status is None:
        status = given if isinstance(given, int) and 400 <= given < 600 else 500
    text = message if isinstance(message, str) and message else "The provider reported an error."
    made: dict[str, Any] = {"code": status, "message": text, "status": _STATUS.get(status, "UNKNOWN")}
    details: list[dict[str, Any]] = []
    if isinstance(given, str) and given:
        details.append({"@type": _INFO, "reason": given.upper(), "domain": "openai-proxy"})
    if isinstance(param, str) and param:
        details.append({"@type": _FIELD, "fieldViolations": [{"field": param, "description": text}]})
    if details:
        made["details"] = details
    return {"error": made}


def error_body(status: int | None, error: Mapping[str, Any]) -> bytes:
    """The body of an error answer."""
    return json_text.dumps(error_document(status, error))
