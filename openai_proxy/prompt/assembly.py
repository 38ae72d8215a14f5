"""The single system message: ours, then the skills, then the client's. Pure functions over parsed messages.

Our prompt and the skills are the same for every client of a model, and the client's prompt for a whole conversation, so
they are in that order. What changes every turn (values of templates, Home Assistant's time and room) follows the newest
user message, see dialects.chat.prompt_cache. Only without a user message does it stay, at the end of the system
message.

Home Assistant's instructions may identify the satellite as `[[ha device_id=…]]`, written with the template
`[[ha device_id={{ llm_context.device_id }}]]`. That is for its MCP server, not for the model.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openai_proxy.dialects.chat.prompt_cache import (
    BREAK,
    LONGEST_PROMPT,
    SYSTEM_ROLES,
    append,
    without_failures,
    without_volatile,
)
from openai_proxy.dialects.messages.client_marks import last_mark, with_mark
from openai_proxy.errors import BadRequest
from openai_proxy.steps import join, strip

_MARKER: Final = r"\[\[ha(?=[ \t\]])([^\[\]\n]{0,500})\]\]"
_DEVICE: Final = re.compile(rf"^[ \t]*{_MARKER}[ \t]*\n|[ \t]*{_MARKER}", re.MULTILINE)  # with its own line
_DEVICE_ID: Final = re.compile(r"(?:^|\s)device_id=([A-Za-z0-9_.:-]{1,128})(?=\s|$)")
_NOBODY: Final = frozenset({"none", "null", "unknown", "undefined"})
"""What Home Assistant writes if a request comes from no satellite."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """Messages for the provider; `tail` is what now ends the newest user message, `device` the satellite.

    `device` is Home Assistant's id of a satellite, "" if unknown.
    """

    messages: list[dict[str, Any]]
    tail: str = ""
    device: str = ""


def assemble(
    messages: Sequence[Mapping[str, Any]],
    *,
    ours: str = "",
    skills: str = "",
    servers: Sequence[str] = (),
    changing: str = "",
) -> Assembled:
    """`messages` with one system message at the front, the rest in order, and `changing` after the newest user message.

    The system message is `ours`, `skills`, the prompts of MCP `servers`, then the client's.

    All of the client's system and developer messages, wherever they are, are merged into it. Content may be text or a
    list of parts, or be missing; unknown members are kept, except our own `proxy_…` that some clients return. The input
    is never modified. Raises BadRequest for a message that is not an object.
    """
    client, rest = _parted(messages)
    texts = [piece for piece in (ours.strip(), skills.strip()) if piece]
    last = [changing] if changing else []
    prompts: list[str] = []
    others: list[Any] = []  # parts that are not text, rare in system messages
    mark: Any = None  # the client's own cache mark: its prompt is last here
    device = ""
    for text in servers:
        text, moved = without_volatile(text)
        last += [line for line in moved if line not in last]
        texts += [text.strip()] if text.strip() else []
    for content in client:
        mark = last_mark(content) or mark
        text, parts = _split(content)
        prompts.append(text)
        text, named_device = _without_device(text)
        device = named_device or device
        text, moved = without_volatile(text)
        last += [line for line in moved if line not in last]
        others += parts
        if text := strip(text):
            texts.append(text)
    rest = without_failures(rest, prompts)
    tail = "\n".join(last)
    if tail and not append(rest, tail):
        texts.append(tail)
        tail = ""
    whole = join(texts, BREAK)
    if whole and mark:
        others = [*with_mark(whole, mark), *others]
        whole = ""
    if others:
        parts = [{"type": "text", "text": whole}, *others] if whole else others
        rest.insert(0, {"role": "system", "content": parts})
    elif whole:
        rest.insert(0, {"role": "system", "content": whole})
    return Assembled(rest, tail, device)


def _parted(messages: Sequence[Mapping[str, Any]]) -> tuple[list[Any], list[dict[str, Any]]]:
    """(the contents of the system messages, the other messages). Raises BadRequest."""
    client: list[Any] = []
    rest: list[dict[str, Any]] = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise BadRequest("Every message must be an object with a role.", param="messages")
        if message.get("role") in SYSTEM_ROLES:
            client.append(message.get("content"))
        else:
            rest.append(_tolerable(message))
    return client, rest


def device_of(messages: object) -> str:
    """Home Assistant's id of the satellite according to a request's system messages, "" if there is none."""
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, Mapping) and message.get("role") in SYSTEM_ROLES:
            device = _without_device(text_of(message.get("content")))[1]
            if device:
                return device
    return ""


def _without_device(text: str) -> tuple[str, str]:
    """(`text` without the satellite's marker, the satellite's id or "")."""
    if len(text) > LONGEST_PROMPT or "[[ha" not in text:
        return text, ""
    device = ""
    for marker in _DEVICE.finditer(text):
        found = _DEVICE_ID.search(marker.group(1) or marker.group(2) or "")
        if found is not None and found.group(1).lower() not in _NOBODY:
            device = found.group(1)
    return _DEVICE.sub("", text), device


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
    """(the text of `content`, its parts that are not text)."""
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
    return join(texts, BREAK), others


def _tolerable(message: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of an incomplete `message` in a form that providers accept.

    Some clients return every member that they received (Extended OpenAI Conversation: `model_dump`), so ours are
    removed; the same one drops a null content, but an assistant message needs a content or calls.
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
