"""Google's list, page by page. https://ai.google.dev/api/models"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from openai_proxy.dialects.model_lists.cards import COMPLETION, EMBEDDING, THINKING, ModelCard

_DEFAULT_PAGE: Final = 50
_LARGEST_PAGE: Final = 1000


def one(card: ModelCard) -> dict[str, Any]:
    """A model in Google's format."""
    made: dict[str, Any] = {
        "name": f"models/{card.id}",
        "version": "001",
        "displayName": card.name or card.id,
        "supportedGenerationMethods": _methods(card),
    }
    if card.description:
        made["description"] = card.description
    if card.context_length is not None:
        made["inputTokenLimit"] = card.context_length
    if card.max_output_tokens is not None:
        made["outputTokenLimit"] = card.max_output_tokens
    if card.capabilities is not None:
        made["thinking"] = card.can(THINKING)
    return made


def _methods(card: ModelCard) -> list[str]:
    methods = ["embedContent", "batchEmbedContents"] if card.can(EMBEDDING) else []
    if card.capabilities is None or card.can(COMPLETION):
        methods = ["generateContent", "streamGenerateContent", "countTokens", *methods]
    return methods


def listed(cards: Sequence[ModelCard], query: Mapping[str, str]) -> dict[str, Any]:
    """One page: `pageSize` models from `pageToken` on, which is the number of the first."""
    size, token = query.get("pageSize", ""), query.get("pageToken", "")
    count = min(max(int(size), 1), _LARGEST_PAGE) if size.isdecimal() else _DEFAULT_PAGE
    begin = int(token) if token.isdecimal() else 0
    made: dict[str, Any] = {"models": [one(card) for card in cards[begin : begin + count]]}
    if begin + count < len(cards):
        made["nextPageToken"] = str(begin + count)
    return made
