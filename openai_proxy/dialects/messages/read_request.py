"""A client that speaks the Messages API, served by any model: its request as a chat request.

The answer's way back is write_answer.py. API: https://docs.anthropic.com/en/api/messages
"""

import re
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.derived import Derived
from openai_proxy.dialects.messages.cache_marks import is_attribution
from openai_proxy.dialects.messages.client_marks import CACHE_CONTROL, last_mark, with_mark
from openai_proxy.dialects.messages.tables import THINKING_FORMAT, effort_of
from openai_proxy.dialects.packed_reasoning import is_packed, unpack
from openai_proxy.dialects.tool_names import ToolNames
from openai_proxy.dialects.tool_schema import schema_for
from openai_proxy.errors import BadRequest, NotFound

_CONSUMED: Final = frozenset(
    {"model", "messages", "system", "max_tokens", "stop_sequences", "temperature", "top_p", "stream", "tools",
     "tool_choice", "thinking", "output_config", "metadata", "cache_control", "thread"}
)  # fmt: skip
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_IMPOSSIBLE: Final = ("mcp_servers", "container")
_KNOWN_EFFORTS: Final = frozenset({"minimal", "low", "medium", "high", "xhigh", "max"})


def to_chat(request: dict[str, Any], names: ToolNames | None = None) -> IncomingRequest:
    """The chat request that says what a Messages `request` says. Raises BadRequest for what cannot be said at all.

    Marks for caching stand where the chat API's gateways have them; a streamed answer is always asked for its usage,
    since the Messages API always tells it. `names` learns the tools' names.
    """
    try:
        return _translated(request, ToolNames() if names is None else names)
    except (AttributeError, KeyError, TypeError, ValueError):
        raise BadRequest("The request is not a Messages request: a member has the wrong type.") from None


def _translated(request: dict[str, Any], names: ToolNames) -> IncomingRequest:
    for name in _IMPOSSIBLE:
        if request.get(name):
            raise BadRequest(f"'{name}' is not available for this model.", param=name, code="unsupported_parameter")
    messages = request.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a list with at least one message.", param="messages")
    _thread(request.get("thread"))
    body: dict[str, Any] = {"model": request.get("model"), "messages": []}
    system = [_system(request["system"])] if request.get("system") else []
    mark = last_mark(request.get("system"))
    for index, message in enumerate(messages):
        for made in _message(message, f"messages[{index}]", names):
            if made["role"] == "system":  # many templates take one, and only at the beginning
                system.append(made["content"])
                mark = last_mark(message["content"]) or mark
            else:
                body["messages"].append(made)
    if any(system):
        text = "\n\n".join(text for text in system if text)
        body["messages"].insert(0, {"role": "system", "content": with_mark(text, mark)})
    if request.get(CACHE_CONTROL):
        body[CACHE_CONTROL] = request[CACHE_CONTROL]
    for name in ("max_tokens", "temperature", "top_p"):
        if request.get(name) is not None:
            value = request[name]
            body[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    if request.get("stop_sequences"):
        body["stop"] = request["stop_sequences"]
    _tools(request, body, names)
    _thinking(request, body)
    metadata = request.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("user_id"), str):
        body["user"] = metadata["user_id"]
    if request.get("stream"):
        body["stream"] = True
        body["stream_options"] = {"include_usage": True}
    said = _CONSUMED.union(_IMPOSSIBLE)
    dropped = [name for name, value in request.items() if name not in said and value is not None]
    # The names are the caller's text and go into a header field: only what is safe there.
    return IncomingRequest(body, tuple(name for name in dropped if _NAME.fullmatch(name)))


def _thread(thread: Any) -> None:
    """Raise NotFound for a conversation that is to go on from what a server has kept: the SDK then sends all of it."""
    if isinstance(thread, dict) and thread.get("type") == "continue":
        raise NotFound("The thread is not known here.", code="thread_not_found", param="thread")


def _system(system: Any) -> str:
    if isinstance(system, list):
        system = [block for block in system if not is_attribution(block)]  # only Anthropic has a use for it
    return _text(system, "system")


def _text(content: Any, param: str) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list) and all(isinstance(block, dict) for block in content):
        texts = [block.get("text") for block in content]
        return "\n\n".join(text for text in texts if isinstance(text, str))
    raise BadRequest("This must be a text or a list of text blocks.", param=param)


def _message(message: Any, param: str, names: ToolNames) -> list[dict[str, Any]]:
    role = message.get("role") if isinstance(message, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if role == "system":
        return [{"role": "system", "content": _text(content, f"{param}.content")}]
    if role not in ("user", "assistant"):
        raise BadRequest("A message is the user's or the assistant's.", param=f"{param}.role")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise BadRequest("A message's content must be a text or a list of blocks.", param=f"{param}.content")
    return _user(content, param) if role == "user" else _assistant(content, names)


def _user(content: list[dict[str, Any]], param: str) -> list[dict[str, Any]]:
    """Tool messages for the results, which stand first, then the rest as one user message."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for index, block in enumerate(content):
        where = f"{param}.content[{index}]"
        if block.get("type") != "tool_result":
            part = _part(block, where)
            parts.append({**part, CACHE_CONTROL: block[CACHE_CONTROL]} if block.get(CACHE_CONTROL) else part)
            continue
        inner = block.get("content")
        texts: list[str] = []
        for piece in [{"type": "text", "text": inner}] if isinstance(inner, str) else inner or ():
            if isinstance(piece, dict) and piece.get("type") == "text":
                texts.append(str(piece.get("text") or ""))
            elif isinstance(piece, dict) and piece.get("type") == "tool_reference":
                texts.append(f"The tool {piece.get('tool_name')} can be called now.")
            elif isinstance(piece, dict):
                parts.append(_part(piece, where))  # a tool message holds text only: its images follow as the user's
        text = "\n".join(texts)
        if block.get("is_error") and not text.lower().startswith("error"):
            text = f"Error: {text}"
        result = {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}
        mark = block.get(CACHE_CONTROL) or last_mark(inner)
        results.append({**result, CACHE_CONTROL: mark} if mark else result)
    if parts:
        only_text = all(part["type"] == "text" and CACHE_CONTROL not in part for part in parts)
        joined: Any = "\n\n".join(part["text"] for part in parts) if only_text else parts
        results.append({"role": "user", "content": joined})
    return results


def _part(block: dict[str, Any], param: str) -> dict[str, Any]:
    kind = block.get("type")
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    if kind == "text":
        return {"type": "text", "text": str(block.get("text") or "")}
    if kind == "image" and source.get("type") == "base64":
        url = f"data:{source.get('media_type')};base64,{source.get('data')}"
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "image" and source.get("type") == "url":
        return {"type": "image_url", "image_url": {"url": source.get("url")}}
    if kind == "document" and source.get("type") == "text":
        return {"type": "text", "text": str(source.get("data") or "")}
    if kind == "document" and source.get("type") == "base64":
        data = f"data:{source.get('media_type')};base64,{source.get('data')}"
        return {"type": "file", "file": {"filename": block.get("title") or "document.pdf", "file_data": data}}
    if kind == "search_result":
        return {"type": "text", "text": f"{block.get('title') or ''}\n{_text(block.get('content') or [], param)}"}
    raise BadRequest("This model does not take this kind of content.", param=param, code="unsupported_content")


def _assistant(content: list[dict[str, Any]], names: ToolNames) -> list[dict[str, Any]]:
    """One assistant message. Thinking that was signed is its maker's to read again; other thinking is text."""
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    details: list[dict[str, Any]] = []
    thoughts: list[str] = []
    for block in content:
        kind = block.get("type")
        if kind == "text":
            texts.append(str(block.get("text") or ""))
        elif kind == "tool_use":
            name = names.fit(str(block.get("name")))
            function = {"name": name, "arguments": json_text.text(block.get("input") or {})}
            call = {"id": block.get("id"), "type": "function", "function": function}
            calls.append({**call, CACHE_CONTROL: block[CACHE_CONTROL]} if block.get(CACHE_CONTROL) else call)
        elif isinstance(packed := block.get("signature" if kind == "thinking" else "data"), str) and is_packed(packed):
            details += unpack(packed) or ()
            thoughts.append(str(block.get("thinking") or ""))
        elif kind == "thinking" and block.get("signature"):
            detail = {"type": "reasoning.text", "text": block.get("thinking"), "signature": block["signature"]}
            details.append({**detail, "index": len(details), "format": THINKING_FORMAT})
        elif kind == "thinking":
            thoughts.append(str(block.get("thinking") or ""))
        elif kind == "redacted_thinking":
            detail = {"type": "reasoning.encrypted", "data": block.get("data")}
            details.append({**detail, "index": len(details), "format": THINKING_FORMAT})
    text = "".join(texts) if texts or not calls else None
    marked = last_mark([block for block in content if block.get("type") == "text"])
    made: dict[str, Any] = {"role": "assistant", "content": with_mark(text, marked) if text else text}
    if calls:
        made["tool_calls"] = calls
    if details:
        made["reasoning_details"] = details
    if any(thoughts):
        made["reasoning_content"] = "".join(thoughts)
    return [made]


def _tools(request: dict[str, Any], body: dict[str, Any], names: ToolNames) -> None:
    tools = request.get("tools")
    if not tools:
        return
    made = []
    found = _referenced(request["messages"])
    for index, tool in enumerate(tools if isinstance(tools, list) else [None]):
        if not isinstance(tool, dict) or tool.get("type", "custom") not in ("custom", None):
            raise BadRequest(
                "This model takes tools with an input schema only.", param=f"tools[{index}]",
                code="unsupported_parameter",
            )  # fmt: skip
        if not tool.get("defer_loading") or tool.get("name") in found:
            made.append(_tool(tool, f"tools[{index}]", names))
    if made:
        body["tools"] = made
    choice = request.get("tool_choice")
    if isinstance(choice, dict):
        kind = choice.get("type")
        if kind == "tool":
            body["tool_choice"] = {"type": "function", "function": {"name": names.fit(str(choice.get("name")))}}
        elif kind in ("auto", "none", "any"):
            body["tool_choice"] = "required" if kind == "any" else kind
        else:
            raise BadRequest("This 'tool_choice' is not understood.", param="tool_choice")
        if choice.get("disable_parallel_tool_use"):
            body["parallel_tool_calls"] = False


def _tool(tool: dict[str, Any], param: str, names: ToolNames) -> dict[str, Any]:
    """A tool as OpenAI and its likenesses take it: they know less of JSON Schema, and refuse a request for one tool."""
    if not isinstance(tool.get("name"), str):
        raise BadRequest("A tool needs a name.", param=f"{param}.name")
    given = tool.get("input_schema") or {"type": "object", "properties": {}}
    parameters, note = schema_for(given, "openai")
    function: dict[str, Any] = {"name": names.fit(tool["name"])}
    description = "\n".join(text for text in (tool.get("description"), note) if text)
    if description:
        function["description"] = description
    function["parameters"] = parameters
    if tool.get("strict") is not None and parameters == given:
        function["strict"] = tool["strict"]
    made = {"type": "function", "function": function}
    return {**made, CACHE_CONTROL: tool[CACHE_CONTROL]} if tool.get(CACHE_CONTROL) else made


def _referenced(messages: list[dict[str, Any]]) -> set[str]:
    """The names of the tools that a search has found: only then is a deferred one offered."""
    found: set[str] = set()
    for message in messages:
        content = message.get("content")
        for block in content if isinstance(content, list) else ():
            inner = block.get("content") if block.get("type") == "tool_result" else None
            for piece in inner if isinstance(inner, list) else ():
                if isinstance(piece, dict) and piece.get("type") == "tool_reference":
                    found.add(str(piece.get("tool_name")))
    return found


def _thinking(request: dict[str, Any], body: dict[str, Any]) -> None:
    config = request.get("output_config")
    config = config if isinstance(config, dict) else {}
    thinking = request.get("thinking")
    thinking = thinking if isinstance(thinking, dict) else {}
    budget = thinking.get("budget_tokens")
    if config.get("effort") in _KNOWN_EFFORTS:
        body["reasoning_effort"] = Derived(config["effort"])
    elif thinking.get("type") == "enabled" and isinstance(budget, int):
        body["reasoning_effort"] = Derived(effort_of(budget))
    wanted = config.get("format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        named = {"name": "answer", "schema": wanted.get("schema"), "strict": True}
        body["response_format"] = {"type": "json_schema", "json_schema": named}


def estimate_tokens(request: dict[str, Any]) -> int:
    """About how many tokens a Messages `request` has: a quarter of its characters, and pictures as such.

    For `/messages/count_tokens` and the start of a stream.
    """
    counted = {name: request.get(name) for name in ("system", "messages", "tools")}
    plain, media = _without_media(counted)
    return max(1, len(json_text.dumps(plain)) // 4 + media)


_PICTURE: Final = 1600
"""Tokens of a picture of the size that is not scaled down (https://docs.anthropic.com/en/docs/build-with-claude/vision)."""

_PAGE: Final = 100_000  # base64 characters of a page of a document, which counts like a picture and its text


def _without_media(value: Any) -> tuple[Any, int]:
    """`value` without base64 data, and about how many tokens that data is worth."""
    if isinstance(value, list):
        pairs = [_without_media(item) for item in value]
        return [item for item, _ in pairs], sum(tokens for _, tokens in pairs)
    if not isinstance(value, dict):
        return value, 0
    source = value.get("source")
    if value.get("type") in ("image", "document") and isinstance(source, dict) and source.get("type") != "text":
        data = source.get("data")
        pages = 1 + len(data) // _PAGE if isinstance(data, str) and value["type"] == "document" else 1
        return {"type": value["type"]}, pages * _PICTURE
    pairs_of = {name: _without_media(member) for name, member in value.items()}
    return {name: item for name, (item, _) in pairs_of.items()}, sum(tokens for _, tokens in pairs_of.values())
