"""What is known about a model, from its provider's entry.

The fields of providers' lists: OpenRouter (https://openrouter.ai/docs/api-reference/models/get-models), Ollama, vLLM,
llama.cpp, LM Studio, Mistral, Groq, Anthropic, Google, and another openai-proxy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

COMPLETION: Final = "completion"
TOOLS: Final = "tools"
VISION: Final = "vision"
THINKING: Final = "thinking"
AUDIO: Final = "audio"
EMBEDDING: Final = "embedding"
"""Capabilities, by Ollama's names."""

_CONTEXT: Final = (
    "context_length", "context_window", "max_model_len", "max_context_length", "max_input_tokens", "inputTokenLimit",
    "input_token_limit",
)  # fmt: skip
_OUTPUT: Final = (
    "max_output_tokens", "max_completion_tokens", "max_tokens", "outputTokenLimit", "output_token_limit",
    "max_output_length",
)  # fmt: skip
_BELOW: Final = ("top_provider", "meta", "details", "limits")
_DEEPER: Final = ("n_ctx", "n_ctx_train")
_NAMES: Final = {
    "completion": COMPLETION, "chat": COMPLETION, "completion_chat": COMPLETION, "generateContent": COMPLETION,
    "tools": TOOLS, "tool_use": TOOLS, "function_calling": TOOLS, "tool_choice": TOOLS, "function-calling": TOOLS,
    "vision": VISION, "image": VISION, "multimodal": VISION, "image_input": VISION, "vlm": VISION,
    "thinking": THINKING, "reasoning": THINKING, "reasoning_effort": THINKING, "include_reasoning": THINKING,
    "audio": AUDIO, "audio_input": AUDIO, "embedding": EMBEDDING, "embeddings": EMBEDDING, "embedContent": EMBEDDING,
    "insert": "insert", "completion_fim": "insert", "fim": "insert",
}  # fmt: skip
_LATEST: Final = 1 << 33
"""Seconds since 1970 that are a plausible creation time; some providers count milliseconds."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """One model that a client may request. None: unknown."""

    id: str
    entry: Mapping[str, Any]  # the provider's own entry, under `id`, as in OpenAI's list
    name: str | None = None  # for people
    description: str | None = None
    created: int = 0  # seconds since 1970
    owned_by: str = ""
    context_length: int | None = None  # tokens
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None

    def can(self, capability: str) -> bool:
        """Whether the model is known to have `capability`."""
        return self.capabilities is not None and capability in self.capabilities


def card_of(entry: Mapping[str, Any], upstream: Mapping[str, Any] | None = None) -> ModelCard:
    """The card of a model whose object in OpenAI's list is `entry`.

    `upstream`: an augmented model's upstream model, which determines its limits and capabilities, except that tools are
    always supported.
    """
    source = entry if upstream is None else upstream
    capabilities = capabilities_of(source)
    if upstream is not None:
        capabilities = (capabilities or frozenset()) | {COMPLETION, TOOLS}
    name = entry.get("name") or entry.get("display_name")
    created = entry.get("created")
    return ModelCard(
        id=str(entry["id"]),
        entry=entry,
        name=name if isinstance(name, str) else None,
        description=entry["description"] if isinstance(entry.get("description"), str) else None,
        created=int(created) if isinstance(created, int | float) and 0 <= created < _LATEST else 0,
        owned_by=str(entry.get("owned_by") or ""),
        context_length=_first(source, _CONTEXT, (*_CONTEXT, *_DEEPER)),
        max_output_tokens=_first(source, _OUTPUT, _OUTPUT),
        capabilities=capabilities,
    )


def capabilities_of(entry: Mapping[str, Any]) -> frozenset[str] | None:
    """The capabilities according to a provider's entry; None if it does not say."""
    found: set[str] = set()
    listed = entry.get("capabilities")
    if isinstance(listed, dict):
        found |= _known(name for name, value in listed.items() if _is_yes(value))
        if "image_input" in listed:
            found |= {COMPLETION, TOOLS}  # Anthropic's: every model supports chat and tools
    elif isinstance(listed, list):
        found |= _known(listed)
    architecture = entry.get("architecture")
    architecture = architecture if isinstance(architecture, dict) else {}
    inputs = architecture.get("input_modalities") or entry.get("input_modalities")
    outputs = architecture.get("output_modalities") or entry.get("output_modalities")
    for members in (inputs, entry.get("supported_parameters"), entry.get("supportedGenerationMethods")):
        if isinstance(members, list):
            found |= _known(members)
    if isinstance(outputs, list):
        found |= {COMPLETION} if "text" in outputs else set()
        found |= {EMBEDDING} if "embeddings" in outputs else set()
    if entry.get("thinking") is True:
        found.add(THINKING)
    if isinstance(entry.get("type"), str):
        found |= _known([entry["type"]])
    if not found and "embed" in str(entry.get("id")).lower():
        found.add(EMBEDDING)
    if found and EMBEDDING not in found:
        found.add(COMPLETION)
    return frozenset(found) if found else None


def _known(names: Iterable[Any]) -> set[str]:
    return {_NAMES[name] for name in names if isinstance(name, str) and name in _NAMES}


def _is_yes(value: Any) -> bool:
    return value is True or (isinstance(value, dict) and value.get("supported") is True)


def _first(entry: Mapping[str, Any], names: tuple[str, ...], below: tuple[str, ...]) -> int | None:
    """The first positive number under one of `names`, else under one of `below` in nested objects."""
    found = _number(entry, names)
    for inner in _BELOW if found is None else ():
        member = entry.get(inner)
        if isinstance(member, dict) and (found := _number(member, below)) is not None:
            return found
    return found


def _number(entry: Mapping[str, Any], names: tuple[str, ...]) -> int | None:
    for name in names:
        value = entry.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 2**53:
            return int(value)
    return None
