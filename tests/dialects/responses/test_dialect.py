"""Requests and answers of the Responses API follow the published schema (openresponses-types), whatever a client sends.

Where the schema is narrower than OpenAI itself, the test says so.
"""

from typing import Any

import openresponses_types.types as types
import orjson
import pytest
from pydantic import BaseModel

from openai_proxy.dialects import client_dialect, dialect
from openai_proxy.dialects.base import Lessons
from openai_proxy.dialects.fitting import for_connection
from openai_proxy.dialects.responses.dialect import DIALECT

FIELDS: dict[str, Any] = {"type": "object", "properties": {"x": {"type": "integer"}}}
IMAGE = "data:image/png;base64,QUE="
CHAT_TOOL: dict[str, Any] = {"type": "function", "function": {"name": "f", "parameters": FIELDS}}
CALLS = [{"id": f"c{at}", "type": "function", "function": {"name": "f", "arguments": text}} for at, text in
         enumerate(("", "{}"))]  # fmt: skip
ANTHROPIC_IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUE="}}

REQUESTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "chat": ("chat", "/chat/completions", {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s", "name": "n"},
            {"role": "developer", "content": [{"type": "text", "text": "d"}]},
            {"role": "user", "name": "bob", "content": [
                {"type": "text", "text": "q"},
                {"type": "image_url", "image_url": {"url": IMAGE, "detail": "low"}},
                {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUE=", "filename": "a.pdf"}},
            ]},
            {"role": "assistant", "content": "a", "refusal": None, "audio": None, "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "c0", "content": "r"},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "r"}]},
            {"role": "assistant", "content": None, "refusal": "no"},
            {"role": "user", "content": "go"},
        ],
        "tools": [{"type": "function", "function": {"name": "g", "parameters": None}}, CHAT_TOOL],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": FIELDS}},
        "max_tokens": 5, "temperature": 0.1, "top_p": 1, "reasoning_effort": "low", "verbosity": "low",
        "metadata": {"a": "b"}, "service_tier": "auto", "parallel_tool_calls": False, "logprobs": True,
        "top_logprobs": 2, "stream": True, "stream_options": {"include_usage": True, "include_obfuscation": False},
        "store": True, "prompt_cache_key": "k", "safety_identifier": "s", "frequency_penalty": 0.1, "seed": 1,
        "stop": ["x"], "n": 1,
    }),
    "chat of 2023": ("chat", "/chat/completions", {
        "model": "m", "functions": [{"name": "f", "parameters": FIELDS}], "function_call": {"name": "f"},
        "messages": [{"role": "user", "content": "q"},
                     {"role": "assistant", "content": "", "function_call": {"name": "f", "arguments": "{}"}},
                     {"role": "function", "name": "f", "content": "r"}],
    }),
    "messages": ("messages", "/messages", {
        "model": "m", "max_tokens": 9,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": [ANTHROPIC_IMAGE, {"type": "text", "text": "q"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "redacted_thinking", "data": "d"},
                {"type": "text", "text": "x"}, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": [
                {"type": "text", "text": "r"}, ANTHROPIC_IMAGE]}]},
        ],
        "tools": [{"name": "f", "input_schema": FIELDS, "description": "d"}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True}, "temperature": 1,
        "thinking": {"type": "enabled", "budget_tokens": 2048}, "metadata": {"user_id": "u"},
        "stop_sequences": ["x"],
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": FIELDS}},
    }),
    "ollama": ("ollama", "/api/chat", {
        "model": "m",
        "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q", "images": ["iVBORw0KGgo="]},
                     {"role": "assistant", "content": "", "thinking": "t",
                      "tool_calls": [{"function": {"name": "f", "arguments": {}}}]},
                     {"role": "tool", "tool_name": "f", "content": "r"}],
        "tools": [CHAT_TOOL], "format": FIELDS, "think": "high", "keep_alive": "5m",
        "options": {"temperature": 0.1, "num_predict": 5, "num_ctx": 4096, "stop": ["x"]},
    }),
    "gemini": ("gemini", "/models/m:generateContent", {
        "systemInstruction": {"parts": [{"text": "s"}]},
        "contents": [{"role": "user", "parts": [
                         {"text": "q"}, {"inlineData": {"mimeType": "image/png", "data": "QUE="}}]},
                     {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]},
                     {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"r": 1}}}]}],
        "tools": [{"functionDeclarations": [
            {"name": "f", "parameters": {"type": "OBJECT", "properties": {"x": {"type": "STRING"}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
        "generationConfig": {"temperature": 0.1, "maxOutputTokens": 9, "thinkingConfig": {"thinkingBudget": 0},
                             "responseMimeType": "application/json", "responseJsonSchema": FIELDS},
    }),
}  # fmt: skip

MESSAGES: dict[str, type[BaseModel]] = {
    "user": types.UserMessageItemParam, "system": types.SystemMessageItemParam,
    "developer": types.DeveloperMessageItemParam, "assistant": types.AssistantMessageItemParam,
}  # fmt: skip
ITEMS: dict[str, type[BaseModel]] = {
    "function_call": types.FunctionCallItemParam, "function_call_output": types.FunctionCallOutputItemParam,
    "reasoning": types.ReasoningItemParam,
}  # fmt: skip


@pytest.mark.parametrize("name", REQUESTS)
def test_requests_upstream_follow_the_schema(name: str) -> None:
    language, path, document = REQUESTS[name]
    chat = for_connection(client_dialect(language).read_request(path, document).chat, "openai")
    body = dialect("responses").write_request(chat, Lessons()).body
    for item in body["input"]:  # one by one, because otherwise an error lists every kind of item
        (MESSAGES[item["role"]] if item["type"] == "message" else ITEMS[item["type"]]).model_validate(item)
    types.CreateResponseBody.model_validate(body)


FUNCTION: dict[str, Any] = {"type": "function", "name": "f"}
COMPLETION: dict[str, Any] = {
    "id": "c", "created": 1, "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "x", "refusal": None, "reasoning_content": "t", "tool_calls": CALLS}}],
}  # fmt: skip


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"instructions": "x", "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
        {"tools": [FUNCTION, {**FUNCTION, "name": "g", "parameters": None, "strict": None, "description": None}]},
        {"tools": [{**FUNCTION, "defer_loading": True}], "tool_choice": "required", "max_tool_calls": 4},
        {"tools": [FUNCTION], "tool_choice": {"type": "function", "name": "f"}, "parallel_tool_calls": False},
        {"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [FUNCTION]}},
        {"text": {"verbosity": "low"}, "reasoning": {"effort": "high", "summary": "auto"}},
        {"text": {"format": {"type": "json_schema", "name": "n", "schema": FIELDS}}},
        {"text": {"format": {"type": "json_object"}}, "metadata": {"a": "b"}, "truncation": "auto"},
        {"temperature": 0, "top_p": 1, "max_output_tokens": 30, "service_tier": "flex", "store": False},
        {"top_logprobs": 3, "include": ["message.output_text.logprobs"], "background": False},
        dict.fromkeys(("text", "reasoning", "metadata", "truncation", "temperature", "top_p", "parallel_tool_calls",
                       "store", "background", "presence_penalty", "frequency_penalty", "tools", "tool_choice")),
    ],
)  # fmt: skip
def test_request_members_repeated_in_answers_follow_the_schema(asked: dict[str, Any]) -> None:
    request = DIALECT.read_request("/responses", {"model": "m", "input": "hi", **asked})
    answer = orjson.loads(DIALECT.write_answer(request, "m").whole(COMPLETION))
    if answer["text"]["format"]["type"] == "json_schema":
        answer["text"]["format"]["schema"] = None  # a mistake in the schema: nothing else is allowed there
    types.ResponseResource.model_validate(answer)
