"""The one system message: ours, then the skills, then the client's. Pure functions over parsed messages.

Why in this order, and what is moved. A provider's prompt cache serves the longest *unchanged beginning* of a request
(https://platform.openai.com/docs/guides/prompt-caching). Our prompt and the skills are the same for every client of
a model, the client's prompt is the same for a conversation, so they stand in that order. One thing is not: without an
LLM API selected, Home Assistant appends "Current time is 12:34:56. Today's date is 2026-08-22." to its system prompt
*on every turn*. There it would make the whole conversation behind it new each time; at the end of the system message
it would still stand before the history. So it moves behind the text of the newest user message: what the provider
has seen so far (tools, system, history, that text) stays one unchanged beginning. Only where there is no user message
does it stay, as the last line of the system message.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from openai_proxy.errors import BadRequest

SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_BREAK: Final = "\n\n"

# homeassistant/helpers/llm.py, DATE_TIME_PROMPT; a line of its own.
_VOLATILE_START: Final = "Current time is "
_VOLATILE: Final = re.compile(r"Current time is \d\d:\d\d:\d\d\. Today's date is \d{4}-\d\d-\d\d\.")


def assemble(messages: Sequence[Mapping[str, Any]], *, ours: str = "", skills: str = "") -> list[dict[str, Any]]:
    """`messages` as the provider gets them: one system message at the front, the rest in its order.

    Every system and developer message of the client, wherever it stands, is merged into it. Content may be text or a
    list of parts, or be missing; members we do not know travel on, but for our own `proxy_…` that some clients send
    back. The input is never changed. Raises BadRequest for a message that is no object.
    """
    client: list[Any] = []
    rest: list[dict[str, Any]] = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise BadRequest("Every message must be an object with a role.", param="messages")
        if message.get("role") in SYSTEM_ROLES:
            client.append(message.get("content"))
        else:
            rest.append(_tolerable(message))
    texts = [piece for piece in (ours.strip(), skills.strip()) if piece]
    volatile: list[str] = []
    others: list[Any] = []  # parts that are no text, which a system message hardly ever has
    for content in client:
        text, parts = _split(content)
        text, moved = _without_volatile(text)
        volatile += moved
        others += parts
        if text.strip():
            texts.append(text.strip())
    if volatile and not _append(rest, volatile[-1]):
        texts.append(volatile[-1])
    whole = _BREAK.join(texts)
    if others:
        parts = [{"type": "text", "text": whole}, *others] if whole else others
        return [{"role": "system", "content": parts}, *rest]
    return [{"role": "system", "content": whole}, *rest] if whole else rest


def text_of(content: object) -> str:
    """The text of a message's content, whatever form it has."""
    return _split(content)[0]


def newest_user_text(messages: Sequence[Any]) -> str:
    """The text of the newest user message; empty if there is none."""
    for message in reversed(messages):
        if isinstance(message, Mapping) and message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def _split(content: object) -> tuple[str, list[Any]]:
    """(the text of `content`, its parts that are no text)."""
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        return "", []
    texts: list[str] = []
    others: list[Any] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, Mapping) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(part, Mapping):
            others.append(part)
    return _BREAK.join(texts), others


def _without_volatile(text: str) -> tuple[str, list[str]]:
    """(`text` without lines that change on every turn, those lines)."""
    moved: list[str] = []
    found = text.find(_VOLATILE_START)
    while found >= 0:
        start = text.rfind("\n", 0, found) + 1
        end = text.find("\n", found)
        end = len(text) if end < 0 else end
        line = text[start:end].strip()
        if _VOLATILE.fullmatch(line):
            moved.append(line)
            text = text[: max(0, start - 1)] + text[end:]
            end = max(0, start - 1)
        found = text.find(_VOLATILE_START, end)
    return text, moved


def _append(messages: list[dict[str, Any]], line: str) -> bool:
    """Put `line` behind the text of the newest user message; False if there is none that can take it."""
    for message in reversed(messages):
        if message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            message["content"] = f"{content}{_BREAK}{line}" if content else line
        elif isinstance(content, list):
            message["content"] = [*content, {"type": "text", "text": line}]
        else:
            return False
        return True
    return False


def _tolerable(message: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of `message` that providers accept, where a client only half wrote it.

    Some clients send back every member they got (Extended OpenAI Conversation: `model_dump`), so ours are taken out;
    and the same one drops a null content, while an assistant message needs a content or calls.
    """
    copied = dict(message)
    for key in message:
        if key[:6] == "proxy_":
            del copied[key]
    if copied.get("role") == "assistant" and copied.get("content") is None:
        if not copied.get("tool_calls") and not copied.get("function_call"):
            copied["content"] = ""
    elif "content" not in message:
        copied["content"] = ""
    return copied
