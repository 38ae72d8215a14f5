"""Extracts the error object of an answer, whatever shape a server gives it."""

from typing import Any, Final

from openai_proxy.dialects import json_text

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "insufficient_quota",
    403: "permission_error",
    404: "invalid_request_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def error_of(document: Any, status: int | None = None) -> dict[str, Any] | None:
    """The chat API's error object (`message`, `type`, `param`, `code`) in an answer's `document`; None if it has none.

    Understands OpenAI's and Anthropic's objects, Google's (in an array on its compatible endpoint), FastAPI's `detail`,
    Ollama's plain text, and vLLM's error without an envelope. `message` is "" if there is no text.
    """
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return None
    error = document.get("error")
    if error is None or error is False or error == "":
        if "detail" in document:
            error = {"message": _detail(document["detail"])}
        elif document.get("object") == "error" or (status is not None and isinstance(_message(document), str)):
            error = document
        else:
            return None
    if not isinstance(error, dict):
        error = {"message": error if isinstance(error, str) else ""}
    return _tidy(error, status)


def error_in(status: int, data: bytes) -> dict[str, Any]:
    """The chat API's error object for an error answer of any OpenAI-compatible server; `message` may be ""."""
    try:
        document = json_text.loads(data)
    except ValueError:
        document = None
    if isinstance(document, str):
        document = {"error": document}
    return error_of(document, status) or error_of({"error": {}}, status) or {}


def _tidy(error: dict[str, Any], status: int | None) -> dict[str, Any]:
    code = error.get("code")
    name = error.get("status")  # Google's: INVALID_ARGUMENT
    if isinstance(name, str) and name:
        number, code = code, name.lower()
        status = status if status is not None or not isinstance(number, int) else number
    elif status is None and isinstance(code, int):
        status = code
    kind = error.get("type")
    message = _message(error)
    param = error.get("param")
    return {
        "message": message if isinstance(message, str) else "",
        "type": kind if isinstance(kind, str) and kind else _TYPES.get(status or 0, "api_error"),
        "param": param if isinstance(param, str) else None,
        "code": code if isinstance(code, str | int) and not isinstance(code, bool) else None,
    }


def _message(error: dict[str, Any]) -> Any:
    return error.get("message", error.get("msg"))


def _detail(detail: Any) -> str:
    """FastAPI's `detail`: a text, or a list of validation errors."""
    if isinstance(detail, list) and detail:
        detail = detail[0]
    if isinstance(detail, dict):
        place = detail.get("loc")
        words = detail.get("msg") or detail.get("message") or detail.get("error") or ""
        where = ".".join(str(step) for step in place) if isinstance(place, list) else ""
        return f"{words} ({where})" if where and words else str(words)
    return detail if isinstance(detail, str) else ""
