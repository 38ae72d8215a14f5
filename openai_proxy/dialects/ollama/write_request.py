"""A chat request as a request to Ollama's /api/chat. API: https://docs.ollama.com/api/chat"""

from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Lesson, Lessons, OutgoingRequest
from openai_proxy.dialects.chat.content import text_of
from openai_proxy.dialects.media import data_url
from openai_proxy.dialects.ollama.options import write_options, write_think
from openai_proxy.errors import BadRequest

PATH: Final = "/api/chat"

_CONSUMED: Final = frozenset(
    {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls", "response_format",
     "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "n",
     "presence_penalty", "frequency_penalty", "reasoning_effort", "reasoning", "logprobs", "top_logprobs", "options",
     "keep_alive", "think"}
)  # fmt: skip
_HARMLESS: Final = frozenset({"store", "include_reasoning", "user", "metadata", "safety_identifier"})
"""Members that can be omitted without the caller noticing."""
_THINK: Final = "think"
_LEVELS: Final = "think.level"
"""The name of a lesson about a value, not a member: some servers can only turn thinking on or off."""
_ROLES: Final = {"developer": "system", "function": "tool"}


def write(chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
    """A request equivalent to `chat`. Raises BadRequest for what has no equivalent."""
    if chat.get("n") not in (None, 1):
        raise BadRequest("This provider gives one choice per request.", param="n", code="unsupported_parameter")
    dropped = [name for name, value in chat.items() if value is not None and name not in _CONSUMED | _HARMLESS]
    body: dict[str, Any] = {
        "model": chat["model"],
        "messages": _messages(chat.get("messages")),
        "stream": chat.get("stream") is True,
    }
    tools = _tools(chat, dropped)
    if tools:
        body["tools"] = tools
    wanted = _format(chat.get("response_format"))
    if wanted is not None:
        body["format"] = wanted
    options = write_options(chat)
    if options:
        body["options"] = options
    think = write_think(chat)
    if think is not None and (think is False or _thinks(lessons)):
        body["think"] = bool(think) if _LEVELS in lessons.refused else think
    elif think is not None:
        dropped.append("reasoning_effort")
    for name in ("keep_alive", "logprobs", "top_logprobs"):
        if chat.get(name) is not None:
            body[name] = chat[name]
    return OutgoingRequest(PATH, body, dropped=tuple(dropped))


def _thinks(lessons: Lessons) -> bool:
    """Whether thinking may be requested: a server refuses it for a model that cannot think."""
    capabilities = (lessons.entry or {}).get("capabilities")
    if isinstance(capabilities, list) and capabilities:
        return "thinking" in capabilities
    return _THINK not in lessons.refused


def lesson(status: int, message: str) -> Lesson | None:
    """What an error answer teaches: that a model cannot think, or only supports turning it on or off."""
    if status != 400:
        return None
    if "does not support thinking" in message:
        return Lesson(refused=frozenset({_THINK}))
    if message.startswith("think value "):
        return Lesson(refused=frozenset({_LEVELS}))
    return None


def _messages(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list):
        raise BadRequest("'messages' must be a list.", param="messages")
    names: dict[str, str] = {}  # id of a call -> name of its tool
    return [_message(message, f"messages[{index}]", names) for index, message in enumerate(messages)]


def _message(message: Any, param: str, names: dict[str, str]) -> dict[str, Any]:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest("A message needs a role.", param=f"{param}.role")
    role = _ROLES.get(message["role"], message["role"])
    text, images = _content(message.get("content"), f"{param}.content")
    made: dict[str, Any] = {"role": role, "content": text}
    thinking = message.get("reasoning_content") or message.get("reasoning")
    if role == "assistant" and isinstance(thinking, str) and thinking:
        made["thinking"] = thinking
    if images:
        made["images"] = images
    if message.get("tool_calls"):
        made["tool_calls"] = [_call(call, index, names) for index, call in enumerate(message["tool_calls"])]
    if role == "tool":
        call_id = message.get("tool_call_id")
        name = message.get("name") or names.get(call_id or "")
        if name:
            made["tool_name"] = name
        if call_id:
            made["tool_call_id"] = call_id
    return made


def _call(call: Any, index: int, names: dict[str, str]) -> dict[str, Any]:
    function = call["function"]
    arguments = json_text.object_in(function.get("arguments"))
    if arguments is None:
        arguments = {}  # a call that had already failed: its result explains it
    names[call.get("id") or ""] = function["name"]
    made: dict[str, Any] = {"id": call["id"]} if call.get("id") else {}
    made["function"] = {
        "index": index, "name": function["name"], "arguments": arguments,
    }  # fmt: skip
    return made


def _content(content: Any, param: str) -> tuple[str, list[str]]:
    """(text, images as bare base64) of a message's content."""
    if content is None:
        return "", []
    if isinstance(content, str):
        return content, []
    if not isinstance(content, list):
        raise BadRequest("A message's content must be a text or a list of parts.", param=param)
    texts: list[str] = []
    images: list[str] = []
    for index, part in enumerate(content):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "refusal") or isinstance(part, str):
            texts.append(text_of([part])[0] or (part.get("refusal") or "" if kind == "refusal" else ""))
        elif kind == "image_url":
            images.append(_image(part.get("image_url"), f"{param}[{index}]"))
        elif kind == "input_audio" and isinstance(part.get("input_audio"), dict):
            images.append(str(part["input_audio"].get("data") or ""))  # models that understand sound get it as an image
        else:
            raise BadRequest(
                "This provider does not accept this kind of content.", param=f"{param}[{index}]",
                code="unsupported_content",
            )  # fmt: skip
    return "\n\n".join(text for text in texts if text), images


def _image(image: Any, param: str) -> str:
    url = image.get("url") if isinstance(image, dict) else image
    data = data_url(url) if isinstance(url, str) else None
    if data is None:
        raise BadRequest("This provider accepts images only as data.", param=param, code="unsupported_content")
    return data[1]


def _tools(chat: Mapping[str, Any], dropped: list[str]) -> list[Any]:
    """The tools to offer. The API cannot force a call, so if one tool is forced, only that one is offered."""
    tools = chat.get("tools") or []
    if not isinstance(tools, list):
        raise BadRequest("'tools' must be a list.", param="tools")
    choice = chat.get("tool_choice")
    if choice == "none":
        return []
    if choice not in (None, "auto"):
        dropped.append("tool_choice")
        named = choice.get("function") if isinstance(choice, dict) else None
        if isinstance(named, dict):
            return [tool for tool in tools if tool.get("function", {}).get("name") == named.get("name")]
    return tools


def _format(wanted: Any) -> Any:
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return None
    if wanted["type"] == "json_schema":
        return wanted["json_schema"].get("schema")
    return "json"
