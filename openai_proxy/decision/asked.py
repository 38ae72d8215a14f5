"""What a JSON request asks for, as far as both ways through the proxy must agree on it."""

from typing import Final

from openai_proxy.errors import BadRequest

COMMANDED: Final = frozenset({"/chat/completions", "/completions", "/messages", "/responses"})
"""The endpoints a person may speak through: their messages may hold commands."""

CHAT_SHAPED: Final = frozenset({"/chat/completions", "/messages"})
"""Endpoints that `params` act on. Others hold messages too (/threads, /messages/count_tokens) and refuse the rest."""


def asked_model(document: dict[str, object]) -> str | None:
    """The `model` member. Raises BadRequest if it is there and no string."""
    model = document.get("model")
    if model is None or isinstance(model, str):
        return model or None
    raise BadRequest("The model must be a string.", param="model")
