"""Maps providers' finish reasons to the chat API's five."""

from typing import Any, Final

_WORDS: Final = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
    "function_call": "tool_calls",  # used before 2023-12, and still by some compatible servers
    # Seen behind compatible endpoints, in answers of models with other APIs.
    "end_turn": "stop",
    "stop_sequence": "stop",
    "eos": "stop",
    "eos_token": "stop",  # Text Generation Inference
    "completed": "stop",
    "complete": "stop",
    "finished": "stop",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",  # Mistral
    "tool_use": "tool_calls",
    "tool_call": "tool_calls",
    "safety": "content_filter",
    "refusal": "content_filter",
    "sensitive": "content_filter",  # Zhipu
    "recitation": "content_filter",  # this and the next three: Gemini
    "blocklist": "content_filter",
    "prohibited_content": "content_filter",
    "spii": "content_filter",
    "abort": "error",  # vLLM
    "aborted": "error",
    "cancelled": "error",
    "canceled": "error",
    "failed": "error",
    "network_error": "error",  # Zhipu
    "insufficient_system_resource": "error",  # DeepSeek
    "malformed_function_call": "error",  # Gemini
    "unexpected_tool_call": "error",
}
_NOT_YET: Final = frozenset({"", "null", "none", "in_progress"})


def finish_of(choice: dict[str, Any]) -> str | None:
    """The finish_reason of a choice as one of the five; None while it has not ended.

    SGLang and Ollama write `""` into every chunk; OpenRouter says `stop` even if its `native_finish_reason` is an
    error.
    """
    if "native_finish_reason" in choice and _word(choice["native_finish_reason"]) == "error":
        return "error"
    return _word(choice.get("finish_reason"))


def _word(reason: Any) -> str | None:
    if not isinstance(reason, str):
        return None
    word = reason.strip().lower()
    return "error" if "error" in word else _WORDS.get(word)


def unknown_word(choice: dict[str, Any]) -> bool:
    """True for an unknown finish_reason: if it is the answer's last, it counts as an end."""
    reason = choice.get("finish_reason")
    return isinstance(reason, str) and _word(reason) is None and reason.strip().lower() not in _NOT_YET
