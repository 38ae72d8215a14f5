"""Reads a Messages request as a chat request, so that any model can serve it.

The answer is written by write_answer.py. API: https://docs.anthropic.com/en/api/messages
"""

from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.derived import Derived
from openai_proxy.dialects.media import url_of
from openai_proxy.dialects.messages.cache_marks import is_attribution
from openai_proxy.dialects.messages.client_marks import CACHE_CONTROL, last_mark, with_mark
from openai_proxy.dialects.messages.tables import THINKING_FORMAT, effort_of
from openai_proxy.dialects.odd_input import understood
from openai_proxy.dialects.packed_reasoning import is_packed, unpack
from openai_proxy.dialects.tool_names import ToolNames
from openai_proxy.dialects.tool_schema import schema_for
from openai_proxy.errors import BadRequest, NotFound
from openai_proxy.steps import join

_CONSUMED: Final = frozenset(
    {"model", "messages", "system", "max_tokens", "stop_sequences", "temperature", "top_p", "stream", "tools",
     "tool_choice", "thinking", "output_config", "metadata", "cache_control", "thread"}
)  # fmt: skip
_IMPOSSIBLE: Final = ("mcp_servers", "container")
_ASSISTANT: Final = frozenset({"text", "tool_use", "thinking", "redacted_thinking"})
_KNOWN_EFFORTS: Final = frozenset({"minimal", "low", "medium", "high", "xhigh", "max"})


def to_chat(request: dict[str, Any], names: ToolNames | None = None) -> IncomingRequest:
    """A Messages `request` as a chat request. Raises BadRequest for what has no equivalent.

    Cache marks are placed where the chat API's gateways expect them; usage is always requested for streams, since the
    Messages API always reports it. `names` collects the tools' names.
    """
    known = ToolNames() if names is None else names
    return understood(lambda request: _translated(request, known), request)


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
            if made["role"] == "system":  # many templates accept one, and only at the beginning
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
    handled = _CONSUMED.union(_IMPOSSIBLE)
    dropped = [name for name, value in request.items() if name not in handled and value is not None]
    dropped += _left_out(messages)
    return IncomingRequest(body, tuple(dropped))


def _thread(thread: Any) -> None:
    """Raise NotFound for a conversation stored on a server: the SDK then sends all of it."""
    if isinstance(thread, dict) and thread.get("type") == "continue":
        raise NotFound("Unknown thread.", code="thread_not_found", param="thread")


def _system(system: Any) -> str:
    if isinstance(system, list):
        system = [block for block in system if not is_attribution(block)]  # only Anthropic can use it
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
        raise BadRequest("A message's role must be user or assistant.", param=f"{param}.role")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise BadRequest("A message's content must be a text or a list of blocks.", param=f"{param}.content")
    return _user(content, param) if role == "user" else _assistant(content, names)


def _user(content: list[dict[str, Any]], param: str) -> list[dict[str, Any]]:
    """Tool messages for the results, which come first, then the rest as one user message."""
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
                parts.append(_part(piece, where))  # a tool message holds only text: its images follow in a user message
        text = "\n".join(texts)
        if block.get("is_error") and not text.lower().startswith("error"):
            text = f"Error: {text}"
        result = {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": text}
        mark = block.get(CACHE_CONTROL) or last_mark(inner)
        results.append({**result, CACHE_CONTROL: mark} if mark else result)
    if parts:
        only_text = all(part["type"] == "text" and CACHE_CONTROL not in part for part in parts)
        joined: Any = join((part["text"] for part in parts), "\n\n") if only_text else parts
        results.append({"role": "user", "content": joined})
    return results


def _part(block: dict[str, Any], param: str) -> dict[str, Any]:
    kind = block.get("type")
    source = block.get("source")
    source = source if isinstance(source, dict) else {}
    if kind == "text":
        return {"type": "text", "text": str(block.get("text") or "")}
    if kind == "image" and source.get("type") == "base64":
        url = url_of(source.get("media_type"), str(source.get("data")))
        return {"type": "image_url", "image_url": {"url": url}}
    if kind == "image" and source.get("type") == "url":
        return {"type": "image_url", "image_url": {"url": source.get("url")}}
    if kind == "document" and source.get("type") == "text":
        return {"type": "text", "text": str(source.get("data") or "")}
    if kind == "document" and source.get("type") == "base64":
        data = url_of(source.get("media_type"), str(source.get("data")))
        return {"type": "file", "file": {"filename": block.get("title") or "document.pdf", "file_data": data}}
    if kind == "search_result":
        return {"type": "text", "text": f"{block.get('title') or ''}\n{_text(block.get('content') or [], param)}"}
    raise BadRequest("This model does not accept this kind of content.", param=param, code="unsupported_content")


def _assistant(content: list[dict[str, Any]], names: ToolNames) -> list[dict[str, Any]]:
    """One assistant message. Signed thinking can only be read by its provider; other thinking is text."""
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
        elif is_packed(packed := block.get("signature" if kind == "thinking" else "data")):
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


def _left_out(messages: list[dict[str, Any]]) -> dict[str, None]:
    """The traces of Anthropic's own tools in assistant messages: the text after them states the results."""
    return {
        f"messages.{block.get('type')}": None
        for message in messages
        if message["role"] == "assistant" and isinstance(message["content"], list)
        for block in message["content"]
        if block.get("type") not in _ASSISTANT
    }


def _tools(request: dict[str, Any], body: dict[str, Any], names: ToolNames) -> None:
    tools = request.get("tools")
    if not tools:
        return
    made = []
    found = _referenced(request["messages"])
    for index, tool in enumerate(tools if isinstance(tools, list) else [None]):
        if not isinstance(tool, dict) or tool.get("type", "custom") not in ("custom", None):
            raise BadRequest(
                "This model accepts only tools with an input schema.", param=f"tools[{index}]",
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
    """A tool in the form that OpenAI and compatible servers accept: one bad schema makes them refuse the request."""
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
    """The names of the tools that a search has found: deferred tools are offered only then."""
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
