"""Chat answers written as Gemini's."""

from typing import Any

import orjson
import pytest

from openai_proxy.dialects.base import AnswerWriter, Chunk, IncomingRequest
from openai_proxy.dialects.gemini.dialect import DIALECT
from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.errors import UpstreamInvalid

CLAUDE = [{"type": "reasoning.text", "index": 0, "text": "hm", "signature": "s", "format": "anthropic-claude-v1"}]


def incoming(path: str = "streamGenerateContent?alt=sse", **members: Any) -> IncomingRequest:
    return DIALECT.read_request(f"/models/m:{path}", {"contents": "hi", **members})


def writer(path: str = "streamGenerateContent?alt=sse", **members: Any) -> AnswerWriter:
    return DIALECT.write_answer(incoming(path, **members), "asked")


def chunk(delta: dict[str, Any], finish: str | None = None, index: int = 0, **more: Any) -> Chunk:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}], **more}


def call(index: int, name: str | None = None, arguments: str = "", **more: Any) -> dict[str, Any]:
    function = {"arguments": arguments} if name is None else {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "function": function, **more}]}


def events(data: bytes) -> list[dict[str, Any]]:
    assert data.endswith(b"\r\n\r\n")
    return [orjson.loads(event.data) for event in EventSplitter().feed(data)]


def parts(event: dict[str, Any]) -> list[dict[str, Any]]:
    return event["candidates"][0]["content"]["parts"]


def test_a_stream_of_events() -> None:
    out = writer()
    assert out.stream_type == b"text/event-stream"
    data = out.chunk(chunk({"role": "assistant", "content": ""}))
    assert data == b""
    data += out.chunk(chunk({"content": "Par"})) + out.chunk(chunk({"content": "is"})) + out.chunk(chunk({}, "stop"))
    usage = {
        "prompt_tokens": 10, "completion_tokens": 7, "total_tokens": 17,
        "completion_tokens_details": {"reasoning_tokens": 5}, "prompt_tokens_details": {"cached_tokens": 4},
    }  # fmt: skip
    data += out.chunk({"choices": [], "usage": usage}) + out.end()
    first, second, last = events(data)
    assert parts(first) + parts(second) + parts(last) == [{"text": "Par"}, {"text": "is"}, {"text": ""}]
    assert first["modelVersion"] == "asked"
    assert first["responseId"] == last["responseId"]
    assert "finishReason" not in first["candidates"][0]
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"] == {
        "promptTokenCount": 10,
        "candidatesTokenCount": 2,
        "totalTokenCount": 17,
        "thoughtsTokenCount": 5,
        "cachedContentTokenCount": 4,
    }


def test_without_sse_the_stream_is_one_array() -> None:
    out = writer("streamGenerateContent")
    assert out.stream_type == b"application/json"
    data = out.chunk(chunk({"content": "Par"})) + out.chunk(chunk({}, "length")) + out.end()
    first, last = orjson.loads(data)
    assert (parts(first), last["candidates"][0]["finishReason"]) == ([{"text": "Par"}], "MAX_TOKENS")
    assert [e["candidates"][0]["finishReason"] for e in orjson.loads(writer("streamGenerateContent").end())] == ["STOP"]


def test_calls_are_complete_and_have_the_clients_own_names() -> None:
    tools = [{"functionDeclarations": [{"name": "h.i"}, {"name": "g"}]}]
    out = writer(tools=tools)
    signed = {"google": {"thought_signature": "c2ln"}}
    data = out.chunk(chunk(call(0, "h_i", '{"x"', id="call_a", type="function", extra_content=signed)))
    assert data == b""
    data += out.chunk(chunk(call(0, None, ":1.0}"))) + out.chunk(chunk(call(1, "g", id="call_b")))
    data += out.chunk(chunk({}, "tool_calls")) + out.end()
    first, last = events(data)
    assert parts(first) == [
        {"functionCall": {"id": "call_a", "name": "h.i", "args": {"x": 1.0}}, "thoughtSignature": "c2ln"}
    ]
    assert parts(last) == [{"functionCall": {"id": "call_b", "name": "g", "args": {}}}]
    assert last["candidates"][0]["finishReason"] == "STOP"


def test_thoughts_only_if_requested() -> None:
    delta = {"reasoning_content": "hm"}
    assert writer().chunk(chunk(delta)) == b""
    shown = writer(generationConfig={"thinkingConfig": {"includeThoughts": True}})
    assert parts(events(shown.chunk(chunk(delta)))[0]) == [{"text": "hm", "thought": True}]
    whole = {"choices": [{"message": {"content": "x", **delta}}]}
    assert len(parts(orjson.loads(writer().whole(whole)))) == 1
    assert len(parts(orjson.loads(shown.whole(whole)))) == 2


def test_reasoning_of_other_providers_is_carried_by_the_first_call() -> None:
    out = writer()
    out.chunk(chunk({"reasoning_details": [{**CLAUDE[0], "text": "h", "signature": None}]}))
    out.chunk(chunk({"reasoning_details": [{"type": "reasoning.text", "index": 0, "text": "m", "signature": "s"}]}))
    data = out.chunk(chunk(call(0, "f", "{}", id="a"))) + out.chunk(chunk(call(1, "g", "{}", id="b")))
    streamed = [part for event in events(data) for part in parts(event)]
    assert ["thoughtSignature" in part for part in streamed] == [True, False]
    back = incoming(contents=[{"role": "model", "parts": streamed}, {"parts": [{"text": "x"}]}])
    assert back.chat["messages"][0]["reasoning_details"] == CLAUDE
    assert "extra_content" not in back.chat["messages"][0]["tool_calls"][0]


def test_several_answers_keep_their_indices() -> None:
    out = writer(generationConfig={"candidateCount": 2})
    data = out.chunk(chunk({"content": "a"})) + out.chunk(chunk({"content": "b"}, index=1))
    data += out.chunk(chunk({}, "stop")) + out.chunk(chunk({}, "length", index=1)) + out.end()
    assert [(e["candidates"][0]["index"], e["candidates"][0].get("finishReason")) for e in events(data)] == [
        (0, None),
        (1, None),
        (0, "STOP"),
        (1, "MAX_TOKENS"),
    ]


def test_a_heartbeat_is_an_empty_text() -> None:
    assert parts(events(writer().chunk(chunk({})))[0]) == [{"text": ""}]
    assert parts(events(writer().heartbeat())[0]) == [{"text": ""}]


def test_a_broken_stream_ends_with_an_error() -> None:
    error = {"message": "It broke.", "type": "upstream_error", "param": None, "code": "upstream_truncated"}
    (event,) = events(writer().error(error))
    assert (event["error"]["code"], event["error"]["status"], event["error"]["message"]) == (
        500,
        "INTERNAL",
        "It broke.",
    )
    out = writer("streamGenerateContent")
    data = out.chunk(chunk({"content": "Par"})) + out.chunk({"error": {"message": "no", "code": 429}})
    assert orjson.loads(data)[1]["error"]["status"] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize(
    ("status", "name"),
    [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (429, "RESOURCE_EXHAUSTED"),
     (502, "UNAVAILABLE"), (504, "DEADLINE_EXCEEDED"), (418, "UNKNOWN")],
)  # fmt: skip
def test_errors(status: int, name: str) -> None:
    error = orjson.loads(DIALECT.error_body(status, {"message": "x", "code": "model_not_found"}))["error"]
    assert (error["code"], error["status"], error["message"]) == (status, name, "x")
    assert error["details"][0]["reason"] == "MODEL_NOT_FOUND"


def test_whole_answers() -> None:
    tool_call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    message = {"role": "assistant", "content": "t", "tool_calls": [tool_call], "reasoning_details": CLAUDE}
    logprobs = {"content": [{"token": "t", "logprob": -1, "top_logprobs": [{"token": "u", "logprob": -2}]}]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls", "logprobs": logprobs}
    made = orjson.loads(writer("generateContent").whole({"choices": [choice], "usage": {"prompt_tokens": 3}}))
    text, called = parts(made)
    assert text == {"text": "t"}
    assert called["functionCall"] == {"id": "a", "name": "f", "args": {"x": 1}}
    assert called["thoughtSignature"]
    assert made["candidates"][0]["logprobsResult"] == {
        "chosenCandidates": [{"token": "t", "logProbability": -1}],
        "topCandidates": [{"candidates": [{"token": "u", "logProbability": -2}]}],
    }
    assert made["usageMetadata"]["totalTokenCount"] == 3
    for broken in ({}, {"choices": []}, {"choices": [{}]}):
        with pytest.raises(UpstreamInvalid):
            writer().whole(broken)


def test_embeddings() -> None:
    data = {"data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": "AACAPwAAAEA="}]}
    one = DIALECT.read_request("/models/m:embedContent", {"content": {"parts": [{"text": "a"}]}})
    assert orjson.loads(DIALECT.write_answer(one, "m").whole(data)) == {"embedding": {"values": [1, 2]}}
    requests = [{"content": {"parts": [{"text": "a"}]}}] * 2
    batch = DIALECT.read_request("/models/m:batchEmbedContents", {"requests": requests})
    answer = orjson.loads(DIALECT.write_answer(batch, "m").whole(data))
    assert answer == {"embeddings": [{"values": [1, 2]}, {"values": [3, 4]}]}
