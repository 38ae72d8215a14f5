"""OpenAI's list, extended with limits, under the names that clients expect, and capabilities.

https://platform.openai.com/docs/api-reference/models; `context_length` is OpenRouter's name, `context_window` Groq's,
`max_model_len` vLLM's.
"""

from collections.abc import Sequence
from typing import Any

from openai_proxy.dialects.model_lists.cards import ModelCard


def one(card: ModelCard) -> dict[str, Any]:
    """A model object: the provider's own members, and ours if known."""
    made = dict(card.entry)
    if card.context_length is not None:
        for name in ("context_length", "context_window", "max_model_len"):
            made[name] = card.context_length
    if card.max_output_tokens is not None:
        made["max_output_tokens"] = card.max_output_tokens
    if card.capabilities is not None:
        made["capabilities"] = sorted(card.capabilities)
    return made


def listed(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """The whole list."""
    return {"object": "list", "data": [one(card) for card in cards]}
