"""Reads a client's request to Ollama's API as a chat request.

API: https://docs.ollama.com/api/chat and https://docs.ollama.com/api/generate. Streaming is the default. Tool results
may only name the tool, or nothing at all (Home Assistant): they are matched to the calls in order.
"""

from collections.abc import Iterable
from typing import Any, Final

from openai_proxy.dialects import json_text, media
from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.ollama import memory
from openai_proxy.dialects.ollama.options import read_options, read_think
from openai_proxy.dialects.ollama.write_answer import OllamaDetails, loaded
from openai_proxy.dialects.response_format import json_schema
from openai_proxy.dialects.tool_calls import CallIds
from openai_proxy.dialects.tool_names import ToolNames
from openai_proxy.errors import BadRequest

Message = dict[str, Any]

_COMMON: Final = frozenset(
    {"model", "stream", "format", "options", "keep_alive", "think", "logprobs", "top_logprobs"}
)  # fmt: skip
_CHAT: Final = _COMMON | {"messages", "tools"}
_GENERATE: Final = _COMMON | {"prompt", "system", "images", "context", "suffix", "raw"}
_IMPOSSIBLE: Final = {"suffix": "Text completion with a suffix", "raw": "A raw prompt"}


def read_chat(document: dict[str, Any]) -> IncomingRequest:
    """A request to /api/chat. Without messages it loads the model, and is answered at once. Raises BadRequest."""
    chat = _common(document)
    messages = document.get("messages")
    if messages is None or messages == []:
        return IncomingRequest(chat, answer=loaded("chat", chat["model"], document.get("keep_alive")))
    if not isinstance(messages, list):
        raise BadRequest("'messages' must be a list.", param="messages")
    ids, names = CallIds(), ToolNames()
    chat["messages"] = [_message(message, f"messages[{index}]", ids, names) for index, message in enumerate(messages)]
    if document.get("tools"):
        chat["tools"] = _tools(document["tools"], names)
    details = OllamaDetails("chat", thinking=document.get("think") is not False, names=names)
    return IncomingRequest(chat, dropped=_dropped(document, _CHAT), details=details)


def read_generate(document: dict[str, Any]) -> IncomingRequest:
    """A request to /api/generate. Without a prompt it loads the model, and is answered at once. Raises BadRequest."""
    chat = _common(document)
    prompt = _text(document.get("prompt"), "prompt")
    system = _text(document.get("system"), "system")
    for name, what in _IMPOSSIBLE.items():
        if document.get(name):
            raise BadRequest(f"{what} is not available for this model.", param=name, code="unsupported_parameter")
    images = _images(document.get("images"), "images")
    if not prompt and not images:
        return IncomingRequest(chat, answer=loaded("generate", chat["model"], document.get("keep_alive")))
    dropped = _dropped(document, _GENERATE)
    earlier = memory.recall(document["context"]) if document.get("context") else []
    if earlier is None:
        dropped += ("context",)  # another server's, whose tokens mean nothing here
    content: Any = [{"type": "text", "text": prompt}, *images] if images else prompt
    talk = (*(earlier or ()), {"role": "user", "content": prompt})
    chat["messages"] = [*talk[:-1], {"role": "user", "content": content}]
    if system:
        chat["messages"].insert(0, {"role": "system", "content": system})
    details = OllamaDetails("generate", thinking=document.get("think") is not False, memory=talk)
    return IncomingRequest(chat, dropped=dropped, details=details)


def model_of(document: dict[str, Any]) -> str:
    """The name of the requested model. Raises BadRequest."""
    model = document.get("model")
    if not isinstance(model, str) or not model:
        raise BadRequest("model is required", param="model")
    return model


def _common(document: dict[str, Any]) -> dict[str, Any]:
    chat: dict[str, Any] = {"model": model_of(document), "messages": []}
    stream = document.get("stream")
    if not isinstance(stream, bool | None):
        raise BadRequest("'stream' must be true or false.", param="stream")
    if stream is not False:
        chat["stream"] = True
        chat["stream_options"] = {"include_usage": True}
    members, options = read_options(document.get("options"))
    chat.update(members)
    if options:
        chat["options"] = options
    keep_alive = document.get("keep_alive")
    if keep_alive is not None:
        if isinstance(keep_alive, bool) or not isinstance(keep_alive, str | int | float):
            raise BadRequest("'keep_alive' must be a number of seconds or a duration.", param="keep_alive")
        chat["keep_alive"] = keep_alive
    chat.update(read_think(document.get("think")))
    wanted = document.get("format")
    if wanted == "json":
        chat["response_format"] = {"type": "json_object"}
    elif isinstance(wanted, dict):
        chat["response_format"] = json_schema(wanted)
    elif wanted not in (None, ""):
        raise BadRequest("'format' must be \"json\" or a JSON schema.", param="format")
    for name in ("logprobs", "top_logprobs"):
        if document.get(name):
            chat[name] = document[name]
    return chat


def _message(message: Any, param: str, ids: CallIds, names: ToolNames) -> Message:
    if not isinstance(message, dict):
        raise BadRequest("A message must be an object.", param=param)
    role = message.get("role")
    role = role.lower() if isinstance(role, str) else role
    content = _text(message.get("content"), f"{param}.content")
    if role == "tool":
        name = _text(message.get("tool_name") or message.get("name"), f"{param}.tool_name")
        call_id = ids.result(names.fit(name) if name else None, message.get("tool_call_id"))
        return {"role": "tool", "tool_call_id": call_id, "content": content}
    if role not in ("system", "user", "assistant"):
        raise BadRequest("A message's role must be system, user, assistant or tool.", param=f"{param}.role")
    made: Message = {"role": role, "content": content}
    images = _images(message.get("images"), f"{param}.images")
    if images:
        made["content"] = [*([{"type": "text", "text": content}] if content else ()), *images]
    if role == "assistant":
        thinking = _text(message.get("thinking"), f"{param}.thinking")
        if thinking:
            made["reasoning_content"] = thinking
        calls = message.get("tool_calls")
        if calls:
            made["tool_calls"] = _calls(calls, f"{param}.tool_calls", ids, names)
            made["content"] = made["content"] or None
    return made


def _calls(calls: Any, param: str, ids: CallIds, names: ToolNames) -> list[dict[str, Any]]:
    if not isinstance(calls, list):
        raise BadRequest("'tool_calls' must be a list.", param=param)
    made = []
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequest("A tool call needs a function with a name.", param=f"{param}[{index}].function.name")
        name, arguments = names.fit(function["name"]), function.get("arguments")
        if not isinstance(arguments, dict | None):
            raise BadRequest("Arguments must be an object.", param=f"{param}[{index}].function.arguments")
        text = json_text.dumps(arguments or {}).decode()
        function = {"name": name, "arguments": text}
        made.append({"id": ids.call(name, call.get("id")), "type": "function", "function": function})
    return made


def _tools(tools: Any, names: ToolNames) -> list[dict[str, Any]]:
    if not isinstance(tools, list):
        raise BadRequest("'tools' must be a list.", param="tools")
    made = []
    for index, tool in enumerate(tools):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise BadRequest("A tool needs a function with a name.", param=f"tools[{index}].function.name")
        made.append({"type": "function", "function": {**function, "name": names.fit(function["name"])}})
    return made


def _text(value: Any, param: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"'{param}' must be a string.", param=param)
    return value


def _images(images: Any, param: str) -> list[dict[str, Any]]:
    """Content parts for base64 data without a type; some models accept sound the same way."""
    if images is None:
        return []
    if not isinstance(images, list):
        raise BadRequest(f"'{param}' must be a list of base64 strings.", param=param)
    made = []
    for index, image in enumerate(images):
        where = f"{param}[{index}]"
        if not isinstance(image, str) or not image:
            raise BadRequest(f"'{where}' must be a base64 string.", param=where)
        if image.startswith("data:"):
            made.append({"type": "image_url", "image_url": {"url": image}})
            continue
        part = media.part(media.kind_of(image) or "", image)
        if part is None:
            raise BadRequest("This image format is unknown.", param=where, code="unsupported_content")
        made.append(part)
    return made


def _dropped(document: dict[str, Any], known: Iterable[str]) -> tuple[str, ...]:
    return tuple(name for name, value in document.items() if name not in known and value is not None)
