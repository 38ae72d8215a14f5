"""Chat messages as input items of a Responses request.

Reasoning comes directly before what it led to, text before calls. Items have no `id`, which OpenAI would match with
reasoning that may be missing; reasoning items are returned unchanged.
"""

import hashlib
from typing import Any, Final

from openai_proxy.dialects.chat.content import text_of
from openai_proxy.dialects.responses.content import input_content
from openai_proxy.dialects.responses.reasoning import items_of
from openai_proxy.errors import BadRequest

_MAX_CALL_ID: Final = 64  # characters, enforced by the API


def input_items(messages: Any) -> list[dict[str, Any]]:
    """The `input` for a chat request's `messages`. Raises BadRequest."""
    if not isinstance(messages, list) or not messages:
        raise BadRequest("'messages' must be a list with at least one message.", param="messages")
    made: list[dict[str, Any]] = []
    custom: set[str] = set()  # ids of custom tool calls: their results are a different kind of item
    unnamed: list[str] = []  # ids of calls in the form of 2023, which has none
    for index, message in enumerate(messages):
        param = f"messages[{index}]"
        if not isinstance(message, dict):
            raise BadRequest("A message must be an object.", param=param)
        role = message.get("role")
        if role in ("system", "developer", "user"):
            made.append(
                {"type": "message", "role": role, "content": input_content(message.get("content"), f"{param}.content")}
            )
        elif role == "assistant":
            _assistant(message, param, made, custom, unnamed)
        elif role in ("tool", "function"):
            made.append(_result(message, param, custom, unnamed))
        else:
            raise BadRequest("This role is not known.", param=f"{param}.role")
    return made


def _assistant(
    message: dict[str, Any], param: str, made: list[dict[str, Any]], custom: set[str], unnamed: list[str]
) -> None:
    calls = list(message.get("tool_calls") or ())
    legacy = message.get("function_call")
    if isinstance(legacy, dict) and not calls:
        unnamed.append(f"call_{len(made)}")
        calls = [{"id": unnamed[-1], "type": "function", "function": legacy}]
    reasoning = items_of(message)
    made += [item for after, item in reasoning if after <= 0]
    message_item = _message_item(message)
    if message_item is not None:
        made.append(message_item)
    for index, call in enumerate(calls):
        if index:
            made += [item for after, item in reasoning if after == index]
        made.append(_call(call, f"{param}.tool_calls[{index}]", custom))


def _message_item(message: dict[str, Any]) -> dict[str, Any] | None:
    text = text_of(message.get("content"))[0]
    refusal = message.get("refusal")
    content: Any = text
    if isinstance(refusal, str) and refusal:
        content = [{"type": "refusal", "refusal": refusal}]
        if text:
            content.insert(0, {"type": "output_text", "text": text})
    if not content:
        return None
    made = {"type": "message", "role": "assistant", "content": content}
    return {**made, "phase": message["phase"]} if isinstance(message.get("phase"), str) else made


def _call(call: Any, param: str, custom: set[str]) -> dict[str, Any]:
    inner = call.get("custom") if call.get("type") == "custom" else call.get("function")
    if not isinstance(inner, dict):
        raise BadRequest("A tool call needs the name of its tool.", param=param)
    call_id = _call_id(call.get("id"), f"{param}.id")
    if call.get("type") == "custom":
        custom.add(call_id)
        return {"type": "custom_tool_call", "call_id": call_id, "name": inner.get("name"),
                "input": inner.get("input") or ""}  # fmt: skip
    arguments = inner.get("arguments")
    if not isinstance(arguments, str) or not arguments.strip():
        arguments = "{}"
    return {"type": "function_call", "call_id": call_id, "name": inner.get("name"), "arguments": arguments}


def _result(message: dict[str, Any], param: str, custom: set[str], unnamed: list[str]) -> dict[str, Any]:
    given = message.get("tool_call_id")
    if given is None and unnamed:
        given = unnamed.pop(0)
    call_id = _call_id(given, f"{param}.tool_call_id")
    kind = "custom_tool_call_output" if call_id in custom else "function_call_output"
    return {"type": kind, "call_id": call_id, "output": input_content(message.get("content"), f"{param}.content")}


def _call_id(call_id: Any, param: str) -> str:
    """A valid id: the same one for a call and its result."""
    if not isinstance(call_id, str) or not call_id:
        raise BadRequest("A tool call and its result need an id.", param=param)
    if len(call_id) <= _MAX_CALL_ID:
        return call_id
    return "call_" + hashlib.sha256(call_id.encode("utf-8", "replace")).hexdigest()[:40]
