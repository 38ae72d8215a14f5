"""Ollama's lists: available models, loaded models, and one model in detail. https://docs.ollama.com/api/tags"""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from openai_proxy.dialects.model_lists.cards import COMPLETION, TOOLS, ModelCard

ARCHITECTURE: Final = "openai-proxy"
_UNKNOWN: Final = (COMPLETION, TOOLS)
"""Capabilities reported for a model about which nothing is known: clients hide models without tools."""


def listed(cards: Sequence[ModelCard]) -> dict[str, Any]:
    """The answer of /api/tags."""
    return {"models": [_entry(card) for card in cards]}


def loaded(cards: Sequence[ModelCard], expires_at: str) -> dict[str, Any]:
    """The answer of /api/ps: `cards` are presumably in memory until `expires_at` (RFC 3339)."""
    models = []
    for card in cards:
        entry = _entry(card)
        del entry["modified_at"], entry["capabilities"]
        models.append({**entry, "expires_at": expires_at, "size_vram": 0, "context_length": card.context_length or 0})
    return {"models": models}


def shown(card: ModelCard) -> dict[str, Any]:
    """The answer of /api/show."""
    details = _details(card)
    family = details["family"] or ARCHITECTURE
    info: dict[str, Any] = {"general.architecture": family, "general.basename": card.id}
    if card.context_length is not None:
        info[f"{family}.context_length"] = card.context_length
    capabilities = _capabilities(card)
    return {
        "modelfile": "",
        "parameters": "",
        # Older clients search for these words to find out what a model supports.
        "template": "{{ .Messages }}{{ .Tools }}" if TOOLS in capabilities else "{{ .Messages }}",
        "details": details,
        "model_info": info,
        "capabilities": capabilities,
        "modified_at": _modified_at(card),
    }


def _entry(card: ModelCard) -> dict[str, Any]:
    entry = card.entry
    size, digest = entry.get("size"), entry.get("digest")
    details = _details(card)
    if card.context_length is not None:
        details["context_length"] = card.context_length
    return {
        "name": card.id,
        "model": card.id,
        "modified_at": _modified_at(card),
        "size": size if isinstance(size, int) else 0,
        "digest": digest if isinstance(digest, str) else hashlib.sha256(card.id.encode()).hexdigest(),
        "details": details,
        "capabilities": _capabilities(card),
    }


def _details(card: ModelCard) -> dict[str, Any]:
    known = card.entry.get("details")
    known = known if isinstance(known, Mapping) else {}
    family = known.get("family") or ""
    return {
        "parent_model": known.get("parent_model") or "",
        "format": known.get("format") or "",
        "family": family,
        "families": known.get("families") or ([family] if family else []),
        "parameter_size": known.get("parameter_size") or "",
        "quantization_level": known.get("quantization_level") or "",
    }


def _capabilities(card: ModelCard) -> list[str]:
    return sorted(card.capabilities if card.capabilities is not None else _UNKNOWN)


def _modified_at(card: ModelCard) -> str:
    known = card.entry.get("modified_at")
    if isinstance(known, str) and known:
        return known
    return datetime.datetime.fromtimestamp(card.created, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
