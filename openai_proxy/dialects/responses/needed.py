"""Which models must be asked by the Responses API: by their names at OpenAI, and by what they say.

https://developers.openai.com/api/docs/guides/responses-vs-chat-completions
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from openai_proxy.dialects.base import Lesson

API: Final = "responses"

_ALWAYS: Final = re.compile(r".*codex|.*-pro(-|$)|.*deep-research|computer-use")
_WITH_TOOLS: Final = re.compile(r"gpt-(5\.[6-9]|[6-9])")
_NEVER: Final = re.compile(r".*(chat-latest|search-preview|audio|realtime|transcribe|tts)")
_NOT_A_CHAT_MODEL: Final = "This is not a chat model"
_FUNCTION_TOOLS: Final = "Function tools"


@lru_cache(maxsize=256)
def known_by_name(model: str) -> Lesson | None:
    """What is known of a model of api.openai.com before it was asked: it saves the first refusal."""
    if _NEVER.match(model):
        return None
    if _ALWAYS.match(model):
        return Lesson(api=API)
    return Lesson(tools_api=API) if _WITH_TOOLS.match(model) else None


def needs_responses(error: Mapping[str, Any]) -> Lesson | None:
    """What the `error` of a refused chat request says of the API to be used; None if it says nothing of it."""
    message = str(error.get("message"))
    if "v1/responses" in message:
        return Lesson(tools_api=API) if message.startswith(_FUNCTION_TOOLS) else Lesson(api=API)
    if message.startswith(_NOT_A_CHAT_MODEL) or error.get("code") == "unsupported_api_for_model":
        return Lesson(api=API)
    return None


def needed(chat: Mapping[str, Any], known: Lesson) -> bool:
    """Whether `chat` must be asked by this API, of a model of which this is `known`."""
    if known.api == API:
        return True
    return known.tools_api == API and bool(chat.get("tools") or chat.get("functions")) and not _asks_not_to_think(chat)


def _asks_not_to_think(chat: Mapping[str, Any]) -> bool:
    reasoning = chat.get("reasoning")
    effort = chat.get("reasoning_effort") or (reasoning.get("effort") if isinstance(reasoning, dict) else None)
    return effort == "none"


def is_missing(status: int, error: Mapping[str, Any]) -> bool:
    """True if an answer says that the server does not have this API; a 404 about a model is its answer."""
    if status in (405, 501):
        return True
    # Servers without it answer in their framework's words; what OpenAI's clones do not find has a code, or is a model.
    return status == 404 and not isinstance(error.get("code"), str) and "model" not in str(error.get("message")).lower()
