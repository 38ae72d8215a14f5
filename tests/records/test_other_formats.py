"""What Ollama's API and Gemini's say, read for the record, cut at every byte."""

import json
from typing import Any

import pytest

from openai_proxy.endpoints import Endpoint, at, locate
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.body import BodyReader
from openai_proxy.records.reading.other_formats import format_of
from openai_proxy.records.reading.tokens import read_usage

CHAT, GENERATE, EMBED = at("/api/chat"), at("/api/generate"), at("/api/embed")
GEMINI = locate("POST", "/v1beta/models/m:streamGenerateContent")
CALL = {"id": "c", "function": {"name": "f", "arguments": {"x": 1}}}
LINES: list[dict[str, Any]] = [
    {"model": "m", "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
    {"model": "m", "message": {"role": "assistant", "content": "Pa"}, "done": False},
    {"model": "m", "message": {"role": "assistant", "content": "ris", "tool_calls": [CALL]}, "done": False},
    {
        "model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "length",
        "prompt_eval_count": 7, "eval_count": 3,
    },
]  # fmt: skip
EVENTS: list[dict[str, Any]] = [
    {"candidates": [{"content": {"parts": [{"text": "hm", "thought": True}, {"text": "Pa"}]}}], "modelVersion": "m"},
    {
        "candidates": [
            {"content": {"parts": [{"text": "ris"}, {"functionCall": {"id": "c", "name": "f", "args": {"x": 1}}}]}}
        ]
    },
    {
        "candidates": [{"content": {"parts": [{"text": ""}]}, "finishReason": "length"}],
        "usageMetadata": {"promptTokenCount": 7, "candidatesTokenCount": 1, "thoughtsTokenCount": 2},
    },
]


def read(endpoint: Endpoint, kind: str, *pieces: bytes) -> RecordedAnswer:
    answer = RecordedAnswer()
    reader = BodyReader(answer, format_of(endpoint), kind, "")
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return answer


def check(answer: RecordedAnswer) -> None:
    assert (answer.content, answer.reasoning, answer.model) == ("Paris", "hm", "m")
    assert (answer.finish_reason, answer.complete) == ("length", True)
    assert answer.usage is not None
    assert read_usage(answer.usage)[:2] == (7, 3)
    (call,) = answer.tool_calls
    assert (call["id"], call["function"]) == ("c", {"name": "f", "arguments": '{"x":1}'})


STREAMS = {
    "ollama": (CHAT, "application/x-ndjson", b"".join(json.dumps(line).encode() + b"\n" for line in LINES)),
    "gemini": (GEMINI, "text/event-stream", b"".join(b"data: %b\r\n\r\n" % json.dumps(e).encode() for e in EVENTS)),
    "gemini array": (GEMINI, "application/json", json.dumps(EVENTS).encode()),
}


@pytest.mark.parametrize("name", STREAMS)
def test_streams_cut_at_every_byte(name: str) -> None:
    endpoint, kind, data = STREAMS[name]
    for cut in range(len(data)):
        check(read(endpoint, kind, data[:cut], data[cut:]))
    check(read(endpoint, kind, *(data[at : at + 1] for at in range(len(data)))))


def test_generate_whole_and_embeddings() -> None:
    body = {"model": "m", "response": "Paris", "thinking": "hm", "done": True, "prompt_eval_count": 7}
    answer = read(GENERATE, "application/json", json.dumps(body).encode())
    assert (answer.content, answer.reasoning, answer.finish_reason) == ("Paris", "hm", "stop")
    answer = read(EMBED, "application/json", b'{"embeddings":[[1]],"prompt_eval_count":4}')
    assert answer.usage == {"prompt_tokens": 4, "completion_tokens": None}
    assert not format_of(EMBED).chat


def test_errors_and_nonsense() -> None:
    assert read(CHAT, "application/x-ndjson", b'{"error":"no"}\n').error == "no"
    assert read(GEMINI, "text/event-stream", b'data: {"error":{"code":1}}\r\n\r\n').error == {"code": 1}
    assert read(CHAT, "application/x-ndjson", b"what\n[1]\n", json.dumps(LINES[1]).encode()).content == "Pa"
    odd = [{"candidates": [3, {"content": 3}, {"content": {"parts": [3, {"functionCall": {}}]}}], "usageMetadata": 3}]
    assert read(GEMINI, "application/json", json.dumps(odd).encode()).content == ""
