"""Anthropic's list, page by page. https://docs.anthropic.com/en/api/models-list

Unknown capabilities are reported as supported: clients refuse to use what is reported as unsupported.
"""

import datetime
from collections.abc import Mapping, Sequence
from typing import Any, Final

from openai_proxy.dialects.model_lists.cards import THINKING, VISION, ModelCard

_LEVELS: Final = ("low", "medium", "high", "xhigh", "max")
_DEFAULT_PAGE: Final = 20
_LARGEST_PAGE: Final = 1000


def one(card: ModelCard) -> dict[str, Any]:
    """A model in Anthropic's format; an entry of Anthropic's own is kept as it is."""
    created = datetime.datetime.fromtimestamp(card.created, datetime.UTC)
    made: dict[str, Any] = {
        "type": "model",
        "id": card.id,
        "display_name": card.name or card.id,
        "created_at": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "max_input_tokens": card.context_length,
        "max_tokens": card.max_output_tokens,
    }
    own = card.entry.get("capabilities")
    made["capabilities"] = own if isinstance(own, dict) and "image_input" in own else _capabilities(card)
    return made


def _capabilities(card: ModelCard) -> dict[str, Any]:
    sees = {"supported": card.capabilities is None or card.can(VISION)}
    thinks = {"supported": card.capabilities is None or card.can(THINKING)}
    yes, no = {"supported": True}, {"supported": False}
    return {
        "batch": no,
        "citations": no,
        "code_execution": no,
        "context_management": no,
        "effort": {**thinks, **dict.fromkeys(_LEVELS, thinks)},
        "image_input": sees,
        "pdf_input": sees,
        "server_tools": {"supported": False, "code_execution": no, "web_search": no},
        "structured_outputs": yes,
        "thinking": {
            **thinks,
            "types": {"adaptive": thinks, "between_tools": no, "disabled": yes, "enabled": thinks},
        },
    }


def listed(cards: Sequence[ModelCard], query: Mapping[str, str]) -> dict[str, Any]:
    """One page: `limit` models after `after_id`, or before `before_id`."""
    limit = query.get("limit", "")
    size = min(max(int(limit), 1), _LARGEST_PAGE) if limit.isdecimal() else _DEFAULT_PAGE
    ids = [card.id for card in cards]
    begin, end = 0, len(cards)
    if query.get("after_id") in ids:
        begin = ids.index(query["after_id"]) + 1
    if query.get("before_id") in ids:
        end = ids.index(query["before_id"])
        begin = max(begin, end - size)
    page = cards[begin : min(end, begin + size)]
    more = begin > 0 if "before_id" in query else begin + size < end
    return {
        "data": [one(card) for card in page],
        "has_more": more,
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
    }
