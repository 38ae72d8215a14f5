"""Why an answer ended, in the chat API's five words, whatever word the provider has for it."""

from typing import Any, Final

_WORDS: Final = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
    "function_call": "tool_calls",  # before 2023-12, and of some imitations still
    # Met in answers of other APIs' models behind compatible endpoints.
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
    "abort": "error",  # vLLM
    "network_error": "error",  # Zhipu
    "insufficient_system_resource": "error",  # DeepSeek
    "malformed_function_call": "error",  # Gemini
}
_NOT_YET: Final = frozenset({"", "null", "none"})


def finish_of(choice: dict[str, Any]) -> str | None:
    """The finish_reason of a choice as one of the five words; None while it has not ended.

    SGLang and Ollama write `""` into every chunk; OpenRouter says `stop` where its `native_finish_reason` is an error.
    """
    reason = choice.get("finish_reason")
    if "native_finish_reason" in choice and "error" in str(choice["native_finish_reason"]).lower():
        return "error"
    return _WORDS.get(reason.lower()) if isinstance(reason, str) else None


def unknown_word(choice: dict[str, Any]) -> bool:
    """True for a finish_reason of a word that is not known: if the answer ends with it, it is an end all the same."""
    reason = choice.get("finish_reason")
    return isinstance(reason, str) and reason.lower() not in _WORDS and reason.strip().lower() not in _NOT_YET
