"""Puts a chat request into the best order for a provider's prompt cache.

A prompt cache serves the longest unchanged beginning of a request
(https://platform.openai.com/docs/guides/prompt-caching), so what changes every turn is moved to the end: after the text
of the newest user message, so that everything the provider has seen so far (tools, system message, history, that text)
stays one unchanged beginning. Three things change:

- values from our own templates;
- Home Assistant's lines about the time and the satellite, which it writes into its system prompt. The time is in every
  request to an agent without Assist (homeassistant/helpers/llm.py, DATE_TIME_PROMPT), the room in every request to one
  with it (AssistAPI, `_async_get_api_prompt`);
- the order of a client's tools, which in Home Assistant is that of their registration.

Home Assistant also keeps its own error messages in the history as if the model had said them ("Error: …",
"(no response)"); they are removed.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from openai_proxy.dialects.tool_names import name_of
from openai_proxy.steps import join, strip

SYSTEM_ROLES: Final = frozenset({"system", "developer"})
BREAK: Final = "\n\n"

LONGEST_PROMPT: Final = 1 << 20
"""Maximum size in characters of a system message that is searched: Home Assistant's has some thousand."""

_LINES: Final = re.compile(
    r"^[ \t]*(?:"
    r"Current time is \d\d:\d\d:\d\d\. Today's date is \d{4}-\d\d-\d\d\."
    r"|You are in area [^\n]{1,200} and all generic commands like 'turn on the lights' should target this area\."
    r"|When a user asks to turn on all devices of a specific type, ask user to specify an area"
    r"(?:, unless there is only one device of that type)?\."
    r"|This device (?:is not able to start|does not support) timers\."
    r")[ \t]*$",
    re.MULTILINE,
)
_NO_RESPONSE: Final = "(no response)"
_FAILURE: Final = re.compile(r"Error: [^\n]{1,500}\Z")
_HOME_ASSISTANT: Final = "Home Assistant"


def without_volatile(text: str) -> tuple[str, list[str]]:
    """(`text` without the lines that change between turns or rooms, those lines in order)."""
    if len(text) > LONGEST_PROMPT:
        return text, []
    lines: list[str] = []
    pieces: list[str] = []
    position = 0
    for found in _LINES.finditer(text):
        lines.append(found.group().strip())
        pieces.append(text[position : max(position, found.start() - 1)])  # including the preceding line end
        position = found.end()
    return ("".join([*pieces, text[position:]]), lines) if lines else (text, lines)


def parts_without_volatile(parts: Iterable[Any]) -> tuple[list[Any], list[str]]:
    """The same for the parts of a content; those that are left empty are omitted."""
    kept: list[Any] = []
    lines: list[str] = []
    for part in parts:
        text = _text_in(part)
        left, found = without_volatile(text) if isinstance(text, str) else ("", [])
        lines += found
        if left.strip() or not found:
            kept.append({**part, "text": left.strip()} if found else part)
    return kept, lines


def _text_in(part: Any) -> Any:
    return part.get("text") if isinstance(part, dict) else None


def append(messages: list[dict[str, Any]], text: str) -> bool:
    """Append `text` to a copy of the newest user message; False if no message can take it."""
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            content = join((content, text), BREAK) if content else text
        elif isinstance(content, list):
            content = [*content, {"type": "text", "text": text}]
        else:
            return False
        messages[at] = {**message, "content": content}
        return True
    return False


def without_failures(messages: Sequence[dict[str, Any]], prompts: Sequence[str]) -> list[dict[str, Any]]:
    """`messages` without the errors that Home Assistant attributed to the model; `prompts` are the system messages'
    texts.

    The user messages around one are merged: many chat templates refuse two in a row.
    """
    theirs = any(
        len(prompt) <= LONGEST_PROMPT and (_HOME_ASSISTANT in prompt or _LINES.search(prompt)) for prompt in prompts
    )
    kept: list[dict[str, Any]] = []
    joins = False
    for message in messages:
        if _is_failure(message, theirs):
            joins = True
            continue
        if joins and kept and message.get("role") == kept[-1].get("role") == "user":
            kept[-1] = _joined(kept[-1], message)
        else:
            kept.append(message)
        joins = False
    return kept


def sorted_tools(tools: Any) -> Any:
    """`tools` sorted by name; unchanged if one has none."""
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return tools
    named = [(name_of(tool), tool) for tool in tools]
    return [tool for _, tool in sorted(named, key=lambda pair: pair[0])] if all(n for n, _ in named) else tools


def cacheable(chat: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The members to set in a plain model's request to keep its beginning unchanged, and the text now at its end."""
    changed: dict[str, Any] = {}
    tail = ""
    given = chat.get("messages")
    if isinstance(given, list) and all(isinstance(message, dict) for message in given):
        messages, lines, prompts = _without_lines(given)
        messages = without_failures(messages, prompts)
        tail = "\n".join(lines)
        if tail and not append(messages, tail):
            messages, tail = list(given), ""
        if messages != given:
            changed["messages"] = messages
    tools = chat.get("tools")
    if (ordered := sorted_tools(tools)) != tools:
        changed["tools"] = ordered
    return changed, tail


def _without_lines(given: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str], list[str]]:
    """(`given` without the volatile lines of its system messages, those lines, the system messages' texts)."""
    messages: list[dict[str, Any]] = []
    lines: list[str] = []
    prompts: list[str] = []
    for message in given:
        content = message.get("content")
        if message.get("role") not in SYSTEM_ROLES:
            messages.append(message)
        elif isinstance(content, str):
            prompts.append(content)
            text, found = without_volatile(content)
            lines += found
            if text.strip() or not found:
                messages.append({**message, "content": text.strip()} if found else message)
        elif isinstance(content, list):
            prompts += [text for part in content if isinstance(text := _text_in(part), str)]
            parts, found = parts_without_volatile(content)
            lines += found
            if parts or not content:
                messages.append({**message, "content": parts} if parts != content else message)
        else:
            messages.append(message)
    return messages, lines, prompts


def _is_failure(message: Mapping[str, Any], theirs: bool) -> bool:
    content = message.get("content")
    if message.get("role") != "assistant" or message.get("tool_calls") or not isinstance(content, str):
        return False
    text = strip(content)
    return text == _NO_RESPONSE or (theirs and _FAILURE.match(text) is not None)


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two user messages as one."""
    contents = (first.get("content"), second.get("content"))
    texts = [content for content in contents if isinstance(content, str)]
    if len(texts) == len(contents):
        return {**first, "content": join(texts, BREAK)}
    parts: list[Any] = []
    for content in contents:
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    return {**first, "content": parts}
