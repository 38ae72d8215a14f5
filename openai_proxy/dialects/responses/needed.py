"""Which models require the Responses API: by their names at OpenAI, and by their error messages.

https://developers.openai.com/api/docs/guides/responses-vs-chat-completions
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from openai_proxy.dialects.base import Lesson
from openai_proxy.dialects.derived import known_unfit

API: Final = "responses"

_ALWAYS: Final = re.compile(r".*codex|.*-pro(-|$)|.*deep-research|computer-use")
_WITH_TOOLS: Final = re.compile(r"gpt-(5\.[6-9]|[6-9])")
_NEVER: Final = re.compile(r".*(chat-latest|search-preview|audio|realtime|transcribe|tts)")
_TOOLS_REFUSED: Final = re.compile(r"Function tools .{1,200} /?v1/chat/completions.{1,80} /?v1/responses")
_CHAT_REFUSED: Final = re.compile(
    r"This is not a chat model"
    r"|This model is only supported in /?v1/responses"
    r"|.{1,200} in (?:the )?/?v1/chat/completions(?: endpoint)?\. (?:Please )?use (?:the )?/?v1/responses",
    re.IGNORECASE,
)
"""The full beginning of known refusals, since a message that quotes the caller may contain any path."""


@lru_cache(maxsize=256)
def known_by_name(model: str) -> Lesson | None:
    """What is known in advance about a model of api.openai.com: it saves the first refusal."""
    if _NEVER.match(model):
        return None
    if _ALWAYS.match(model):
        return Lesson(api=API)
    return Lesson(tools_api=API) if _WITH_TOOLS.match(model) else None


def needs_responses(error: Mapping[str, Any]) -> Lesson | None:
    """What the `error` of a refused chat request says about the required API; None if nothing."""
    message = str(error.get("message"))
    if _TOOLS_REFUSED.match(message):
        return Lesson(tools_api=API)
    if _CHAT_REFUSED.match(message) or error.get("code") == "unsupported_api_for_model":
        return Lesson(api=API)
    return None


def needed(chat: Mapping[str, Any], known: Lesson) -> bool:
    """Whether `chat` must use this API, for a model with these `known` facts."""
    if known.api == API:
        return True
    if known.tools_api != API or not (chat.get("tools") or chat.get("functions")):
        return False
    refused = {name for name, _ in known_unfit(chat, known)}
    reasoning = chat.get("reasoning")
    effort = chat.get("reasoning_effort") or (reasoning.get("effort") if isinstance(reasoning, dict) else None)
    return effort != "none" or not refused.isdisjoint(("reasoning_effort", "reasoning.effort"))


def is_missing(status: int, error: Mapping[str, Any]) -> bool:
    """True if an answer says that the server lacks this API; a 404 about a model shows that it has it."""
    if status in (405, 501):
        return True
    # Servers without it answer in their framework's words; a 404 of an OpenAI clone has a code, or is about a model.
    return status == 404 and not isinstance(error.get("code"), str) and "model" not in str(error.get("message")).lower()
