"""Members of a chat request that only one kind of provider understands, taken out for all others."""

from typing import Any

from openai_proxy.dialects.messages.client_marks import fit_marks
from openai_proxy.dialects.ollama.options import without_extras


def for_connection(chat: dict[str, Any], api_type: str) -> dict[str, Any]:
    """`chat`, which names the provider's own model, as a connection of this type is asked; itself where it is so."""
    return fit_marks(without_extras(chat, api_type), api_type)
