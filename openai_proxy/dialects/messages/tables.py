"""Words of the Messages API beside those of the chat API, for both directions."""

from typing import Any, Final

FINISH_OF_STOP: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
STOP_OF_FINISH: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
ERROR_OF_STATUS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""https://docs.anthropic.com/en/api/errors; 402, 503 and 504 are not the API's own, but proxies give them."""

STATUS_OF_ERROR: Final = {kind: status for status, kind in ERROR_OF_STATUS.items() if status != 503}

THINKING_FORMAT: Final = "anthropic-claude-v1"
"""`format` of the entries in `reasoning_details`, as OpenRouter calls them."""

BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 65536}
"""Tokens of thinking for an effort, for models that know budgets only."""

_EFFORTS: Final = ((2048, "low"), (16384, "medium"))
"""Budgets of thinking up to which an effort is meant; above: high."""


def effort_of(budget: int) -> str:
    """The effort that a budget of `budget` tokens of thinking comes to."""
    return next((effort for limit, effort in _EFFORTS if budget <= limit), "high")


def finish_reason(stop_reason: Any) -> str:
    """The finish_reason for a stop_reason; one we do not know is `stop`."""
    return FINISH_OF_STOP.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"


def stop_reason(finish: Any, *, called: bool) -> str:
    """The stop_reason for a finish_reason. Some models end with `stop` although they `called` a tool."""
    reason = STOP_OF_FINISH.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"
    return "tool_use" if called and reason == "end_turn" else reason


def chat_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Chat usage. Anthropic's `input_tokens` leaves out what came from or went into the cache; `prompt_tokens` is all.

    `cache_write_tokens` is OpenRouter's name for what was written to the cache.
    """
    cached = _whole(usage.get("cache_read_input_tokens"))
    written = _whole(usage.get("cache_creation_input_tokens"))
    prompt = _whole(usage.get("input_tokens")) + cached + written
    spoken = _whole(usage.get("output_tokens"))
    details = usage.get("output_tokens_details")
    thinking = _whole(details.get("thinking_tokens")) if isinstance(details, dict) else 0
    return {
        "prompt_tokens": prompt,
        "completion_tokens": spoken,
        "total_tokens": prompt + spoken,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


def messages_usage(usage: Any) -> dict[str, Any]:
    """Messages usage from chat usage, which counts cached tokens among the prompt's."""
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    read, written = _whole(details.get("cached_tokens")), _whole(details.get("cache_write_tokens"))
    return {
        "input_tokens": max(_whole(usage.get("prompt_tokens")) - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": _whole(usage.get("completion_tokens")),
    }


def _whole(value: Any) -> int:
    """A count: a whole number, or a float that is one (some servers write 12.0)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
