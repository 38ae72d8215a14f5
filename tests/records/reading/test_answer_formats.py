"""Answers of the APIs other than the chat API, read for the record."""

import json
from typing import Any

import pytest

from openai_proxy.endpoints import Endpoint, at, locate
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.answer_formats import format_of
from openai_proxy.records.reading.body import BodyReader
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
    assert answer.finish_reason == "length"
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


def test_whole_answers_of_generate_and_embeddings() -> None:
    body = {"model": "m", "response": "Paris", "thinking": "hm", "done": True, "prompt_eval_count": 7}
    answer = read(GENERATE, "application/json", json.dumps(body).encode())
    assert (answer.content, answer.reasoning, answer.finish_reason) == ("Paris", "hm", "stop")
    answer = read(EMBED, "application/json", b'{"embeddings":[[1]],"prompt_eval_count":4}')
    assert read_usage(answer.usage or {})[:2] == (4, 0)
    assert not format_of(EMBED).chat


def test_errors_and_invalid_answers() -> None:
    assert read(CHAT, "application/x-ndjson", b'{"error":"no"}\n').error == "no"
    assert read(GEMINI, "text/event-stream", b'data: {"error":{"code":1}}\r\n\r\n').error == {"code": 1}
    assert read(CHAT, "application/x-ndjson", b"what\n[1]\n", json.dumps(LINES[1]).encode()).content == "Pa"
    odd = [{"candidates": [3, {"content": 3}, {"content": {"parts": [3, {"functionCall": {}}]}}], "usageMetadata": 3}]
    assert read(GEMINI, "application/json", json.dumps(odd).encode()).content == ""


BUSY = {"type": "overloaded_error", "message": "Overloaded"}
FAILED = {"code": "server_error", "message": "broke"}
ERRORS: dict[str, tuple[str, dict[str, Any], Any]] = {
    "messages": ("/messages", {"type": "error", "error": BUSY}, BUSY),
    "responses": ("/responses", {"type": "response.failed", "response": {"status": "failed", "error": FAILED}}, FAILED),
    "responses, bare": ("/responses", {"type": "error", **FAILED}, {"type": "error", **FAILED}),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_is_kept_verbatim(name: str) -> None:
    path, event, error = ERRORS[name]
    answer = read(at(path), "text/event-stream", b"data: %b\n\n" % json.dumps(event).encode())
    assert answer.error == error


def test_an_unfinished_response_is_not_an_error() -> None:
    body = {"id": "resp_1", "object": "response", "model": "m", "status": "queued", "error": None, "output": []}
    answer = read(at("/responses"), "application/json", json.dumps(body).encode())
    assert (answer.error, answer.finish_reason, answer.id) == (None, "queued", "resp_1")


def test_a_whole_message_has_its_text() -> None:
    usage = {"input_tokens": 3, "cache_read_input_tokens": 2, "output_tokens": 1}
    blocks = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Paris"}]
    body = {"id": "msg_1", "model": "m", "content": blocks, "stop_reason": "end_turn", "usage": usage}
    answer = read(at("/messages"), "application/json", json.dumps(body).encode())
    assert (answer.content, answer.reasoning, answer.model, answer.id) == ("Paris", "hm", "m", "msg_1")
    assert (answer.finish_reason, answer.usage) == ("end_turn", usage)


def test_an_aborted_answer_is_kept_as_far_as_it_came() -> None:
    called = {"type": "function_call", "call_id": "k", "name": "f", "arguments": ""}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {"id": "resp_1", "model": "m", "status": "in_progress"}},
        {"type": "response.output_text.delta", "output_index": 0, "delta": "Pa"},
        {"type": "response.output_item.added", "output_index": 1, "item": called},
        {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": '{"x":'},
    ]
    stream = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    answer = read(at("/responses"), "text/event-stream", stream)
    assert (answer.content, answer.id, answer.finish_reason) == ("Pa", "resp_1", None)
    assert answer.tool_calls[0]["function"] == {"name": "f", "arguments": '{"x":'}


@pytest.mark.parametrize("count", ["7", {"n": 7}, [7], -7, True], ids=str)
@pytest.mark.parametrize("endpoint", [CHAT, EMBED], ids=["chat", "embed"])
def test_counts_that_are_not_numbers_are_ignored(endpoint: Endpoint, count: Any) -> None:
    odd = {**LINES[-1], "prompt_eval_count": count, "total_duration": count, "prompt_eval_duration": count}
    answer = read(endpoint, "application/json", json.dumps(odd).encode())
    assert answer.usage == {"prompt_tokens": 0, "completion_tokens": 3, "total_tokens": 3}
