"""Removes members of a chat request that only one kind of provider understands, for all others."""

from typing import Any

from openai_proxy.dialects.messages.client_marks import fit_marks
from openai_proxy.dialects.ollama.options import without_extras


def for_connection(chat: dict[str, Any], api_type: str) -> dict[str, Any]:
    """`chat`, with the provider's own model name, adapted to a connection of this type; itself if nothing changes."""
    return fit_marks(without_extras(chat, api_type), api_type)
