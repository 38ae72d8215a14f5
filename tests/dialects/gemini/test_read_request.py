"""Gemini's requests as chat requests."""

from typing import Any

import orjson
import pytest
from hypothesis import given

from openai_proxy.dialects.base import IncomingRequest
from openai_proxy.dialects.gemini.dialect import DIALECT
from openai_proxy.dialects.gemini.paths import parse
from openai_proxy.errors import BadRequest, NotFound
from tests.dialects.odd import documents

USER = {"role": "user", "parts": [{"text": "hi"}]}
PNG = "iVBORw0KGgoAAAANSUhEUg=="


def read(verb: str = "generateContent", **members: Any) -> IncomingRequest:
    return DIALECT.read_request(f"/models/m:{verb}", {"contents": [USER], **members})


def chat(**members: Any) -> dict[str, Any]:
    return read(**members).chat


def test_a_plain_request() -> None:
    assert chat() == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    assert chat(contents="hi") == chat(contents=USER) == chat(contents={"parts": [{"text": "hi"}]}) == chat()
    streamed = read("streamGenerateContent").chat
    assert (streamed["stream"], streamed["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/models/gemini-3-flash:generateContent", ("gemini-3-flash", "generateContent", False)),
        ("/models/augmented/home:streamGenerateContent?alt=sse", ("augmented/home", "streamGenerateContent", True)),
        ("/models/augmented%2Fhome:countTokens?key=x&alt=json", ("augmented/home", "countTokens", False)),
        ("/models/llama3:8b:embedContent", ("llama3:8b", "embedContent", False)),
        ("/models/m:batchEmbedContents", ("m", "batchEmbedContents", False)),
        ("/models/m:predict", None),
        ("/models/:generateContent", None),
        ("/models/m", None),
        ("/files/m:generateContent", None),
    ],
)
def test_paths(path: str, expected: Any) -> None:
    assert parse(path) == expected
    if expected is None:
        with pytest.raises(NotFound):
            DIALECT.read_request(path, {})


def test_settings() -> None:
    made = chat(
        generationConfig={
            "temperature": 0.5, "topP": 0.9, "topK": 40.0, "maxOutputTokens": 99, "stopSequences": ["a"],
            "presencePenalty": 1, "frequencyPenalty": 2, "seed": 3, "candidateCount": 2, "logprobs": 2,
            "responseLogprobs": True, "responseModalities": ["TEXT"],
        },
        systemInstruction={"parts": [{"text": "be short"}, {"text": "be kind"}]},
    )  # fmt: skip
    assert made["messages"][0] == {"role": "system", "content": "be short\n\nbe kind"}
    assert (made["temperature"], made["top_p"], made["top_k"], made["max_tokens"]) == (0.5, 0.9, 40, 99)
    assert (made["stop"], made["presence_penalty"], made["frequency_penalty"], made["seed"]) == (["a"], 1, 2, 3)
    assert (made["n"], made["logprobs"], made["top_logprobs"]) == (2, True, 2)
    snake = chat(generation_config={"max_output_tokens": 5, "top_k": 3}, system_instruction="s")
    assert (snake["max_tokens"], snake["top_k"], snake["messages"][0]["content"]) == (5, 3, "s")


def test_formats() -> None:
    json = {"responseMimeType": "application/json"}
    assert chat(generationConfig=json)["response_format"] == {"type": "json_object"}
    schema = {
        "type": "OBJECT",
        "properties": {
            "a": {"type": "STRING", "nullable": True},
            "b": {"type": "ARRAY", "items": {"type": "INTEGER"}, "minItems": "1"},
            "c": {"type": "STRING", "enum": ["x"], "nullable": True, "format": "enum"},
        },
        "required": ["a"],
        "propertyOrdering": ["a", "b"],
    }
    made = chat(generationConfig={**json, "responseSchema": schema})["response_format"]["json_schema"]
    assert made["schema"] == {
        "type": "object",
        "properties": {
            "a": {"type": ["string", "null"]},
            "b": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
            "c": {"anyOf": [{"type": "string", "enum": ["x"], "format": "enum"}, {"type": "null"}]},
        },
        "required": ["a"],
    }
    assert made["strict"] is False
    own = {"type": "object", "additionalProperties": False, "properties": {}, "required": []}
    made = chat(generationConfig={**json, "responseJsonSchema": own})["response_format"]["json_schema"]
    assert (made["schema"], made["strict"]) == (own, True)


@pytest.mark.parametrize(
    ("thinking", "effort", "thoughts"),
    [
        ({"thinkingBudget": 0}, "none", False),
        ({"thinkingBudget": -1, "includeThoughts": True}, None, True),
        ({"thinkingBudget": 1024}, "low", False),
        ({"thinkingBudget": 8192}, "medium", False),
        ({"thinkingBudget": 32768}, "high", False),
        ({"thinkingLevel": "LOW"}, "low", False),
        ({"thinking_level": "high", "include_thoughts": True}, "high", True),
    ],
)
def test_thinking(thinking: dict[str, Any], effort: str | None, thoughts: bool) -> None:
    made = read(generationConfig={"thinkingConfig": thinking})
    assert made.chat.get("reasoning_effort") == effort
    assert made.details.thoughts is thoughts


def test_tools_and_modes() -> None:
    declared = [
        {"name": "f", "description": "d", "parameters": {"type": "OBJECT", "properties": {"x": {"type": "NUMBER"}}}},
        {"name": "g", "parametersJsonSchema": {"type": "object"}},
        {"name": "h.i"},
    ]
    tools = [{"functionDeclarations": declared}, {"googleSearch": {}}, {"code_execution": {}}]
    made = read(tools=tools)
    assert made.dropped == ("tools.googleSearch", "tools.codeExecution")
    assert [tool["function"] for tool in made.chat["tools"]] == [
        {
            "name": "f",
            "description": "d",
            "parameters": {"type": "object", "properties": {"x": {"type": "number"}}},
        },
        {"name": "g", "parameters": {"type": "object"}},
        {"name": "h_i", "parameters": {"type": "object", "properties": {}}},
    ]

    def choice(mode: str, *allowed: str) -> tuple[Any, list[str]]:
        config = {"functionCallingConfig": {"mode": mode, "allowedFunctionNames": list(allowed)}}
        made = chat(tools=tools, toolConfig=config)
        return made.get("tool_choice"), [tool["function"]["name"] for tool in made["tools"]]

    every = ["f", "g", "h_i"]
    assert choice("AUTO") == (None, every)
    assert choice("NONE") == ("none", every)
    assert choice("ANY") == ("required", every)
    assert choice("ANY", "f", "h.i") == ("required", ["f", "h_i"])
    assert choice("ANY", "h.i") == ({"type": "function", "function": {"name": "h_i"}}, ["h_i"])
    assert choice("VALIDATED", "g") == (None, ["g"])


def test_calls_and_results() -> None:
    contents = [
        USER,
        {
            "role": "model",
            "parts": [
                {"text": "hm", "thought": True},
                {"text": "Let me look."},
                {"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "c2ln"},
                {"function_call": {"id": "g1", "name": "g.h"}},
            ],
        },
        {
            "role": "user",
            "parts": [
                {"functionResponse": {"id": "g1", "name": "g.h", "response": {"output": "two"}}},
                {"functionResponse": {"name": "f", "response": {"a": 1}}},
                {"text": "and?"},
            ],
        },
    ]
    _, model, second, first, user = chat(contents=contents)["messages"]
    assert (model["content"], model["reasoning_content"]) == ("Let me look.", "hm")
    assert [call["function"] for call in model["tool_calls"]] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g_h", "arguments": "{}"},
    ]
    assert model["tool_calls"][0]["extra_content"] == {"google": {"thought_signature": "c2ln"}}
    assert second == {"role": "tool", "tool_call_id": "g1", "content": "two"}
    assert first == {"role": "tool", "tool_call_id": model["tool_calls"][0]["id"], "content": '{"a":1}'}
    assert user == {"role": "user", "content": "and?"}


@pytest.mark.parametrize(
    ("response", "text"),
    [
        ({"result": "x"}, "x"),
        ({"error": "x"}, "Error: x"),
        ({"result": {"a": 1}}, '{"result":{"a":1}}'),
        ({"other": "x"}, '{"other":"x"}'),
        (None, "null"),
    ],
)
def test_results_are_text(response: Any, text: str) -> None:
    parts = [{"functionResponse": {"name": "f", "response": response}}]
    assert chat(contents=[{"role": "user", "parts": parts}])["messages"][0]["content"] == text


def test_media() -> None:
    parts = [
        {"inlineData": {"mimeType": "image/png", "data": PNG}},
        {"inline_data": {"mime_type": "audio/wav", "data": "_-8"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "AAAA"}},
        {"fileData": {"fileUri": "https://example.com/a.png", "mimeType": "image/png"}},
    ]
    made = chat(contents=[{"parts": parts}])["messages"][0]["content"]
    assert [part["type"] for part in made] == ["image_url", "input_audio", "file", "image_url"]
    assert made[0]["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    assert made[1]["input_audio"] == {"data": "/+8=", "format": "wav"}


def test_members_without_an_equivalent_are_named() -> None:
    made = read(
        safetySettings=[], labels={}, generationConfig={"speechConfig": {}, "responseModalities": ["TEXT", "IMAGE"]}
    )
    assert made.dropped == (
        "safetySettings",
        "labels",
        "generationConfig.speechConfig",
        "generationConfig.responseModalities",
    )


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"contents": None}, "contents"),
        ({"contents": []}, "contents"),
        ({"contents": [1]}, "contents[0]"),
        ({"contents": [{"role": "robot", "parts": []}]}, "contents[0].role"),
        ({"contents": [{"parts": 3}]}, "contents[0].parts"),
        ({"contents": [{"parts": [{"odd": 1}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"inlineData": {"data": 1}}]}]}, "contents[0].parts[0].inlineData"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "video/mp4", "data": ""}}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"parts": [{"fileData": {"fileUri": "gs://x"}}]}]}, "contents[0].parts[0]"),
        ({"contents": [{"role": "model", "parts": [{"functionCall": {}}]}]}, "contents[0].parts[0].functionCall.name"),
        ({"tools": 3}, "tools"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0].functionDeclarations[0].name"),
        ({"generationConfig": []}, "generationConfig"),
        ({"generationConfig": {"maxOutputTokens": "x"}}, "generationConfig.maxOutputTokens"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        ({"generationConfig": {"responseModalities": ["AUDIO"]}}, "generationConfig.responseModalities"),
        ({"cachedContent": "cachedContents/x"}, "cachedContent"),
    ],
)
def test_a_member_of_a_wrong_type_is_named(members: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(**members)
    assert caught.value.param == param
    error = orjson.loads(DIALECT.error_body(400, caught.value.payload()["error"]))["error"]
    assert (error["code"], error["status"], error["message"]) == (400, "INVALID_ARGUMENT", caught.value.message)
    assert error["details"][-1]["fieldViolations"][0]["field"] == param


def test_tokens_are_estimated_without_a_provider() -> None:
    small = orjson.loads(read("countTokens").answer or b"")["totalTokens"]
    text = orjson.loads(read("countTokens", contents="x" * 4000).answer or b"")["totalTokens"]
    assert 0 < small < 20
    assert 900 < text < 1100
    image = {"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG * 50_000}}]}
    assert orjson.loads(read("countTokens", contents=[image]).answer or b"")["totalTokens"] < 3000
    inner = read("countTokens", contents=None, generateContentRequest={"contents": [image]})
    assert orjson.loads(inner.answer or b"")["totalTokens"] > 500


def test_embeddings() -> None:
    one = read("embedContent", content={"parts": [{"text": "a"}]}, taskType="X", outputDimensionality=3)
    assert one.path == "/embeddings"
    assert one.chat == {"model": "m", "input": ["a"], "encoding_format": "float", "dimensions": 3}
    assert one.dropped == ("taskType",)
    requests = [{"model": "models/m", "content": {"parts": [{"text": text}]}} for text in "ab"]
    assert read("batchEmbedContents", requests=requests).chat["input"] == ["a", "b"]
    for verb, members, param in (
        ("embedContent", {}, "content"),
        ("batchEmbedContents", {"requests": []}, "requests"),
        ("batchEmbedContents", {"requests": [{"content": {}}]}, "requests[0].content"),
    ):
        with pytest.raises(BadRequest) as caught:
            read(verb, **members)
        assert caught.value.param == param


@given(
    documents("contents", "tools", "toolConfig", "generationConfig", "systemInstruction", "content", "requests"),
)
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    for verb in ("generateContent", "countTokens", "embedContent", "batchEmbedContents"):
        try:
            made = DIALECT.read_request(f"/models/m:{verb}", document)
        except BadRequest:
            continue
        orjson.dumps(made.chat)
