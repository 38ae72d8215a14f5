"""A chat request in the order that a provider's prompt cache likes best.

A prompt cache serves the longest unchanged beginning of a request
(https://platform.openai.com/docs/guides/prompt-caching), so what changes from turn to turn stands last: behind the text
of the newest user message, where what the provider has seen so far (tools, system message, history, that text) stays
one unchanged beginning. Three things change in a house:

- values that our own templates give;
- Home Assistant's lines about the clock and the satellite, which it writes into its system prompt. The clock comes
  with every request to an agent without Assist (homeassistant/helpers/llm.py, DATE_TIME_PROMPT), the room with every
  request to one that has it (AssistAPI, `_async_get_api_prompt`);
- the order of a client's tools, which in Home Assistant is that of their registration.

Home Assistant also keeps its own error messages in the history, as if the model had said them ("Error: …",
"(no response)"); they are taken out.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

SYSTEM_ROLES: Final = frozenset({"system", "developer"})
BREAK: Final = "\n\n"

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
    """(`text` without the lines that change from turn to turn or from room to room, those lines in order)."""
    lines: list[str] = []
    pieces: list[str] = []
    position = 0
    for found in _LINES.finditer(text):
        lines.append(found.group().strip())
        pieces.append(text[position : max(position, found.start() - 1)])  # with the line end before it
        position = found.end()
    return ("".join([*pieces, text[position:]]), lines) if lines else (text, lines)


def append(messages: list[dict[str, Any]], text: str) -> bool:
    """Put `text` behind that of the newest user message, a copy of it; False if there is none that can take it."""
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        if not isinstance(message, dict) or message.get("role") != "user":
            continue
        content = message.get("content")
        if isinstance(content, str):
            content = f"{content}{BREAK}{text}" if content else text
        elif isinstance(content, list):
            content = [*content, {"type": "text", "text": text}]
        else:
            return False
        messages[at] = {**message, "content": content}
        return True
    return False


def without_failures(messages: Sequence[dict[str, Any]], prompts: Sequence[str]) -> list[dict[str, Any]]:
    """`messages` without what Home Assistant put in the model's mouth; `prompts` are the system messages' texts.

    The user's messages around it become one: many chat templates refuse two in a row.
    """
    theirs = any(_HOME_ASSISTANT in prompt or _LINES.search(prompt) for prompt in prompts)
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
    """`tools` in order of their names; as they are where one has none."""
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        return tools
    named = [(_name(tool), tool) for tool in tools]
    return [tool for _, tool in sorted(named, key=lambda pair: pair[0])] if all(n for n, _ in named) else tools


def cacheable(chat: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What to set in a plain model's request so that its beginning stays the same, and what now stands last in it."""
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
            parts: list[Any] = []
            for part in content:
                own = part.get("text") if isinstance(part, dict) else None
                prompts.append(own if isinstance(own, str) else "")
                left, found = without_volatile(prompts[-1])
                lines += found
                if left.strip() or not found:
                    parts.append({**part, "text": left.strip()} if found else part)
            if parts or not content:
                messages.append({**message, "content": parts} if parts != content else message)
        else:
            messages.append(message)
    return messages, lines, prompts


def _is_failure(message: Mapping[str, Any], theirs: bool) -> bool:
    content = message.get("content")
    if message.get("role") != "assistant" or message.get("tool_calls") or not isinstance(content, str):
        return False
    text = content.strip()
    return text == _NO_RESPONSE or (theirs and _FAILURE.match(text) is not None)


def _joined(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Two messages of the user as one."""
    contents = (first.get("content"), second.get("content"))
    if isinstance(contents[0], str) and isinstance(contents[1], str):
        return {**first, "content": f"{contents[0]}{BREAK}{contents[1]}"}
    parts: list[Any] = []
    for content in contents:
        parts += [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    return {**first, "content": parts}


def _name(tool: Mapping[str, Any]) -> str:
    inner = tool.get("function") or tool.get("custom")
    name = inner.get("name") if isinstance(inner, dict) else tool.get("name")
    return name if isinstance(name, str) else ""
