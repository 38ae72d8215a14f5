"""Terms of the Messages API and their chat API equivalents, both ways."""

from typing import Any, Final

from openai_proxy.dialects.token_numbers import count_of

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
"""https://docs.anthropic.com/en/api/errors; 402, 503 and 504 are not the API's own, but sent by proxies."""

STATUS_OF_ERROR: Final = {kind: status for status, kind in ERROR_OF_STATUS.items() if status != 503}

THINKING_FORMAT: Final = "anthropic-claude-v1"
"""`format` of the entries in `reasoning_details`, as OpenRouter calls them."""

BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 65536}
"""Thinking tokens per effort, for models that only support budgets."""

_EFFORTS: Final = ((2048, "low"), (16384, "medium"))
"""The largest thinking budget per effort; above: high."""


def effort_of(budget: int) -> str:
    """The effort that corresponds to a budget of `budget` thinking tokens."""
    return next((effort for limit, effort in _EFFORTS if budget <= limit), "high")


def finish_reason(stop_reason: Any) -> str:
    """The finish_reason for a stop_reason; `stop` for an unknown one."""
    return FINISH_OF_STOP.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"


def stop_reason(finish: Any, *, called: bool) -> str:
    """The stop_reason for a finish_reason. Some models end with `stop` although they `called` a tool."""
    reason = STOP_OF_FINISH.get(finish, "end_turn") if isinstance(finish, str) else "end_turn"
    return "tool_use" if called and reason == "end_turn" else reason


def chat_usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Chat usage. Anthropic's `input_tokens` excludes cached tokens, read or written; `prompt_tokens` includes them.

    `cache_write_tokens` is OpenRouter's name for tokens written to the cache; of those, some may be kept for an hour.
    """
    cached = count_of(usage.get("cache_read_input_tokens"))
    written = count_of(usage.get("cache_creation_input_tokens"))
    prompt = count_of(usage.get("input_tokens")) + cached + written
    spoken = count_of(usage.get("output_tokens"))
    details = usage.get("output_tokens_details")
    thinking = count_of(details.get("thinking_tokens")) if isinstance(details, dict) else 0
    kept = usage.get("cache_creation")
    hour = count_of(kept.get("ephemeral_1h_input_tokens")) if isinstance(kept, dict) else 0
    longer = {"cache_write_1h_tokens": hour} if hour else {}
    return {
        "prompt_tokens": prompt,
        "completion_tokens": spoken,
        "total_tokens": prompt + spoken,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": written, **longer},
        "completion_tokens_details": {"reasoning_tokens": thinking},
    }


def messages_usage(usage: Any) -> dict[str, Any]:
    """Messages usage from chat usage, whose prompt tokens include cached ones."""
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    details = details if isinstance(details, dict) else {}
    read, written = count_of(details.get("cached_tokens")), count_of(details.get("cache_write_tokens"))
    return {
        "input_tokens": max(count_of(usage.get("prompt_tokens")) - read - written, 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": count_of(usage.get("completion_tokens")),
    }
