"""The `response` object: repeated request members, usage, error.

https://platform.openai.com/docs/api-reference/responses/object
"""

import time
import uuid
from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects.responses.read_request import ResponsesDetails
from openai_proxy.dialects.token_numbers import count_of

_FILLERS: Final[dict[str, Any]] = {
    "background": False,
    "conversation": None,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""Members that repeat the request, with OpenAI's defaults."""

_CODES: Final = frozenset(
    {"server_error", "rate_limit_exceeded", "invalid_prompt", "context_length_exceeded", "insufficient_quota"}
)
_REASON_OF_FINISH: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def new_id(prefix: str) -> str:
    """An id in OpenAI's style: `prefix` and hexadecimal digits, less than 64 characters."""
    return f"{prefix}_{uuid.uuid4().hex}{uuid.uuid4().hex[:16]}"


def response_object(details: ResponsesDetails, model: str) -> dict[str, Any]:
    """The object at the beginning of an answer; `model` is the requested name."""
    request = details.request
    made: dict[str, Any] = {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(time.time()),
        "completed_at": None,
        "status": "in_progress",
        "error": None,
        "incomplete_details": None,
        "model": model,
        "output": [],
        "usage": None,
    }
    for name, filler in _FILLERS.items():
        value = request.get(name)
        made[name] = filler if value is None else value
    made["tools"] = [_tool(tool) for tool in made["tools"]]
    conversation = made["conversation"]
    if isinstance(conversation, str):
        made["conversation"] = {"id": conversation}
    elif conversation is None:
        del made["conversation"]
    if made["service_tier"] == "auto":
        made["service_tier"] = "default"
    text = request.get("text")
    made["text"] = {"format": {"type": "text"}, **(text if isinstance(text, dict) else {})}
    form = made["text"]["format"]
    if isinstance(form, dict) and form.get("type") == "json_schema":
        made["text"]["format"] = {"description": None, "strict": False, **form}
    reasoning = request.get("reasoning")
    made["reasoning"] = {"effort": None, "summary": None, **(reasoning if isinstance(reasoning, dict) else {})}
    return made


def _tool(tool: Any) -> Any:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        return tool
    return {"description": None, "parameters": None, "strict": None, **tool}


def ended(response: dict[str, Any], finish: str | None, usage: Mapping[str, Any] | None) -> dict[str, Any]:
    """Set the state of `response` that a finish_reason means. `output` is set by the caller."""
    reason = _REASON_OF_FINISH.get(finish or "")
    made = {**response, "status": "completed" if reason is None else "incomplete", "usage": usage_object(usage)}
    if reason is not None:
        made["incomplete_details"] = {"reason": reason}
    else:
        made["completed_at"] = int(time.time())
    return made


def usage_object(usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Responses usage from chat usage. Complete or None: some clients crash on a missing member."""
    if not usage:
        return None
    prompt, spoken = count_of(usage.get("prompt_tokens")), count_of(usage.get("completion_tokens"))
    read = usage.get("prompt_tokens_details") or {}
    written = usage.get("completion_tokens_details") or {}
    made: dict[str, Any] = {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": count_of(read.get("cached_tokens")),
            "cache_write_tokens": count_of(read.get("cache_write_tokens")),
        },
        "output_tokens": spoken,
        "output_tokens_details": {"reasoning_tokens": count_of(written.get("reasoning_tokens"))},
        "total_tokens": count_of(usage.get("total_tokens")) or prompt + spoken,
    }
    if usage.get("cost") is not None:
        made["cost"] = usage["cost"]
    return made


def chat_usage(usage: Any) -> dict[str, Any] | None:
    """Chat usage from Responses usage."""
    if not isinstance(usage, dict):
        return None
    read = usage.get("input_tokens_details") or {}
    written = usage.get("output_tokens_details") or {}
    prompt, spoken = count_of(usage.get("input_tokens")), count_of(usage.get("output_tokens"))
    made: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": spoken,
        "total_tokens": count_of(usage.get("total_tokens")) or prompt + spoken,
        "prompt_tokens_details": {"cached_tokens": count_of(read.get("cached_tokens"))},
        "completion_tokens_details": {"reasoning_tokens": count_of(written.get("reasoning_tokens"))},
    }
    if read.get("cache_write_tokens"):
        made["prompt_tokens_details"]["cache_write_tokens"] = count_of(read["cache_write_tokens"])
    if usage.get("cost") is not None:
        made["cost"] = usage["cost"]
    return made


def error_code(error: Mapping[str, Any]) -> str:
    """The `code` of a failed response: one of the few in the API, since clients base retries on it."""
    code, kind = error.get("code"), error.get("type")
    if code in _CODES:
        return str(code)
    if code == 429 or kind in ("rate_limit_error", "tokens", "requests"):
        return "rate_limit_exceeded"
    return "server_error"


def error_members(error: Mapping[str, Any]) -> dict[str, Any]:
    """The members of a stream's `error` event besides its type, from the chat API's error object."""
    message = error.get("message")
    nested = {
        "message": message if isinstance(message, str) and message else "The provider reported an error.",
        "type": error.get("type") or "server_error",
        "param": error.get("param"),
        "code": error.get("code") or error_code(error),
    }
    return {"code": nested["code"], "message": nested["message"], "param": nested["param"], "error": nested}
