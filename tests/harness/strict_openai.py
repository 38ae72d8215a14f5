"""OpenAI with all its strictness: the refusals of its two APIs in their original words, and answers in their grammar.

A question with the word `call` is answered by a call of the first tool, in as many rounds as the word occurs; any other
by a sentence. A model of the kind `ONLY` supports only Responses, one of the kind `NEW` supports tools only in that
API. The refusals were collected from issues of other gateways, where each message is quoted.
"""

import json
import re
from typing import TYPE_CHECKING, Any, Final

from openresponses_types.types import CreateResponseBody
from pydantic import ValidationError

from tests.harness.plays import DONE, completion, delta, plain, stream

if TYPE_CHECKING:
    from tests.harness.scripts import Seen

CHAT_MEMBERS: Final = frozenset(
    {"model", "messages", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls", "store",
     "max_completion_tokens", "reasoning_effort", "response_format", "user", "metadata", "prompt_cache_key", "n",
     "service_tier", "verbosity", "logprobs", "top_logprobs", "seed", "stop", "safety_identifier"}
)  # fmt: skip
RESPONSES_MEMBERS: Final = frozenset(
    {"model", "input", "instructions", "stream", "stream_options", "tools", "tool_choice", "parallel_tool_calls",
     "store", "max_output_tokens", "reasoning", "text", "user", "metadata", "prompt_cache_key", "include",
     "service_tier", "top_logprobs", "safety_identifier", "truncation", "previous_response_id"}
)  # fmt: skip
USAGE: Final = {"input_tokens": 7, "input_tokens_details": {"cached_tokens": 2}, "output_tokens": 5,
                "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 12}  # fmt: skip
_KEYED: Final = re.compile(r"enc-(?P<number>\d+)")


class Refusal(Exception):
    """A 400 in OpenAI's words."""

    def __init__(self, message: str, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


ONLY: Final = "only"
NEW: Final = "new"


def answer(seen: "Seen", kind: str = NEW) -> bytes:
    """OpenAI's answer for a model of this kind."""
    path = seen.target.partition("?")[0].removeprefix("/v1")
    try:
        if path == "/chat/completions":
            return _chat(seen.json(), kind)
        if path == "/responses" and seen.method == "POST":
            return _responses(seen.json())
    except Refusal as refusal:
        return plain(json.dumps(refusal.body).encode(), f"{refusal.status} Refused")
    return plain(b'{"error":{"message":"Not found","type":"invalid_request_error","param":null,"code":null}}', "404 No")


def _chat(body: dict[str, Any], kind: str) -> bytes:
    model = body["model"]
    if kind == ONLY:
        raise Refusal(
            "This model is only supported in v1/responses and not in v1/chat/completions.", "model", status=404
        )
    if "max_tokens" in body:
        raise Refusal(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.",
            "max_tokens", "unsupported_parameter",
        )  # fmt: skip
    if "temperature" in body:
        raise Refusal(
            "Unsupported parameter: 'temperature' is not supported with this model.", "temperature",
            "unsupported_parameter",
        )  # fmt: skip
    for name in body.keys() - CHAT_MEMBERS:
        raise Refusal(f"Unrecognized request argument supplied: {name}")
    if body.get("tools") and body.get("reasoning_effort") != "none":
        raise Refusal(
            f"Function tools with reasoning_effort are not supported for {model} in /v1/chat/completions. To use "
            "function tools, use /v1/responses or set reasoning_effort to 'none'.",
            "reasoning_effort",
        )
    if body.get("stream"):
        return stream(delta("by chat", model=model), delta("", finish="stop", model=model), DONE)
    return plain(completion("by chat", model=model))


def _responses(body: dict[str, Any]) -> bytes:
    if "messages" in body:
        raise Refusal("Unsupported parameter: 'messages'. In the Responses API, this parameter has moved to 'input'.")
    for name in body.keys() - RESPONSES_MEMBERS:
        raise Refusal(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if body.get("max_output_tokens", 16) < 16:
        raise Refusal("Invalid 'max_output_tokens': integer below minimum value.", "max_output_tokens")
    for index, tool in enumerate(body.get("tools", ())):
        if tool["type"] == "function" and not isinstance(tool.get("strict"), bool):
            raise Refusal(f"Missing required parameter: 'tools[{index}].strict'.", f"tools[{index}].strict")
    _check_schema(body)
    items = body["input"]
    items = [{"role": "user", "content": items}] if isinstance(items, str) else items
    _check_items(items)
    asked = " ".join(json.dumps(item["content"]) for item in items if item.get("role") == "user")
    rounds = sum(item.get("type") == "function_call_output" for item in items)
    output: list[dict[str, Any]] = [
        {"id": f"rs_{rounds}", "type": "reasoning", "summary": [], "encrypted_content": f"enc-{rounds}"}
    ]
    if body.get("tools") and rounds < asked.count("call"):
        name = body["tools"][0]["name"]
        arguments = '{"number":21}' if name == "double" else "{}"
        output.append({"id": f"fc_{rounds}", "type": "function_call", "status": "completed", "name": name,
                       "call_id": f"call_{rounds:020}", "arguments": arguments})  # fmt: skip
    else:
        text = '{"city":"Paris"}' if "format" in body.get("text", {}) else f"by items after {rounds} calls"
        part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
        output.append({"id": f"msg_{rounds}", "type": "message", "status": "completed", "role": "assistant",
                       "content": [part], "phase": "final_answer"})  # fmt: skip
    response = {"id": f"resp_{rounds}", "object": "response", "created_at": 1, "model": body["model"] + "-2026",
                "status": "completed", "output": output, "usage": USAGE, "error": None, "incomplete_details": None,
                "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}  # fmt: skip
    if body.get("stream"):
        return stream(*_events(response))
    return plain(json.dumps(response).encode())


def _check_schema(body: dict[str, Any]) -> None:
    """Check everything else against the published schema, which has no `json_object`."""
    if (body.get("text") or {}).get("format") == {"type": "json_object"}:
        body = {**body, "text": {}}
    tools = [
        tool for tool in body.get("tools") or () if tool["type"] == "function"
    ]  # the schema has no other kind of tool, either
    try:
        CreateResponseBody.model_validate({**body, "tools": tools} if tools else body)
    except ValidationError as error:
        raise Refusal(f"Invalid request: {error}"[:2000]) from None


def _check_items(items: list[dict[str, Any]]) -> None:
    called: dict[str, int] = {}
    answered: set[str] = set()
    for index, item in enumerate(items):
        kind = item.get("type", "message")
        if kind == "function_call":
            called[item["call_id"]] = index
            if not item.get("id", "fc_").startswith("fc"):
                raise Refusal(f"Invalid 'input[{index}].id': expected an ID that begins with 'fc'.")
        elif kind == "function_call_output":
            if item.get("call_id") not in called:
                raise Refusal(f"No tool call found for function call output with call_id {item.get('call_id')}.")
            answered.add(item["call_id"])
        elif kind == "reasoning":
            if not _KEYED.fullmatch(item.get("encrypted_content") or "") or "summary" not in item:
                raise Refusal(f"Item with id '{item.get('id')}' not found.", f"input[{index}]", None, 404)
            if item["encrypted_content"].removeprefix("enc-") != str(item["id"]).removeprefix("rs_"):
                raise Refusal("The encrypted content could not be verified.", None, "invalid_encrypted_content")
            after = items[index + 1] if index + 1 < len(items) else {}
            if after.get("role") != "assistant" and after.get("type") not in ("function_call", "reasoning"):
                raise Refusal(
                    f"Item '{item['id']}' of type 'reasoning' was provided without its required following item."
                )
        elif item.get("role") == "assistant":
            parts = item["content"] if isinstance(item["content"], list) else ()
            if any(part["type"] not in ("output_text", "refusal") for part in parts):
                raise Refusal("Invalid value: 'input_text'. Supported values are: 'output_text' and 'refusal'.")
    for call_id in called.keys() - answered:
        raise Refusal(f"No tool output found for function call {call_id}.", "input")


def _events(response: dict[str, Any]) -> list[bytes]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    found: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun}, {"type": "response.in_progress", "response": begun},
    ]  # fmt: skip
    for index, item in enumerate(response["output"]):
        at = {"item_id": item["id"], "output_index": index}
        if item["type"] == "message":
            text = item["content"][0]["text"]
            empty = {**item, "content": [], "status": "in_progress"}
            found.append({"type": "response.output_item.added", "output_index": index, "item": empty})
            found += [
                {"type": "response.output_text.delta", **at, "content_index": 0, "delta": piece}
                for piece in (text[:4], text[4:])
            ]
            found.append({"type": "response.output_text.done", **at, "content_index": 0, "text": text})
        elif item["type"] == "function_call":
            empty = {**item, "arguments": "", "status": "in_progress"}
            found.append({"type": "response.output_item.added", "output_index": index, "item": empty})
            found.append({"type": "response.function_call_arguments.delta", **at, "delta": item["arguments"]})
            found.append({"type": "response.function_call_arguments.done", **at, "arguments": item["arguments"]})
        else:
            half = {**item, "encrypted_content": "enc-half"}
            found.append({"type": "response.output_item.added", "output_index": index, "item": half})
        found.append({"type": "response.output_item.done", "output_index": index, "item": item})
    found.append({"type": "response.completed", "response": response})
    lines = [{**event, "sequence_number": number} for number, event in enumerate(found)]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in lines]
