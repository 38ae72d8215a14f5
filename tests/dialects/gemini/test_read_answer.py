"""Gemini's answers as chat chunks: the reader restores the chunks from which the writer made an answer."""

from typing import Any

import orjson
import pytest

from openai_proxy.dialects.base import OutgoingRequest
from openai_proxy.dialects.event_reader import folded
from openai_proxy.dialects.gemini.dialect import DIALECT
from openai_proxy.dialects.gemini.read_answer import GeminiReader
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated
from tests.dialects.gemini.test_write_answer import call, chunk, writer

USAGE = {
    "prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip
CHUNKS = [
    chunk({"role": "assistant", "reasoning_content": "hm"}),
    chunk({"content": "Pa"}),
    chunk({"content": "ris"}),
    chunk(call(0, "f", '{"x":1}', id="c")),
    chunk({}, "tool_calls"),
    {"choices": [], "usage": USAGE},
]
THOUGHTS = {"generationConfig": {"thinkingConfig": {"includeThoughts": True}}}


def reader() -> GeminiReader:
    made = DIALECT.read_answer(OutgoingRequest("", {}))
    assert isinstance(made, GeminiReader)
    return made


def written(path: str) -> bytes:
    made = writer(path, **THOUGHTS)
    return b"".join(map(made.chunk, CHUNKS)) + made.end()


def check(completion: dict[str, Any]) -> None:
    (choice,) = completion["choices"]
    message = choice["message"]
    assert (message["content"], message["reasoning_content"], choice["finish_reason"]) == ("Paris", "hm", "tool_calls")
    assert message["tool_calls"] == [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}]
    assert (completion["model"], completion["usage"]) == ("asked", USAGE)


def test_a_stream_cut_at_every_byte() -> None:
    data = written("streamGenerateContent?alt=sse")
    for cut in range(1, len(data)):
        one = reader()
        check(folded([*one.feed(data[:cut]), *one.feed(data[cut:]), *one.end()]))
    assert (one.own.finish, one.own.usage) == ("STOP", USAGE)


@pytest.mark.parametrize("path", ["streamGenerateContent?alt=sse", "streamGenerateContent"])
def test_a_stream_read_instead_of_a_whole_answer(path: str) -> None:
    check(reader().whole(written(path)))


def test_a_stream_that_breaks_off() -> None:
    data = written("streamGenerateContent?alt=sse")
    one = reader()
    one.feed(data[: data.rfind(b"data: ")])
    with pytest.raises(UpstreamTruncated):
        one.end()


def test_several_candidates_with_their_own_finish_reasons() -> None:
    candidates = [
        {"index": 1, "content": {"parts": [{"text": "b"}]}, "finishReason": "SAFETY"},
        {"content": {"parts": [{"text": "a"}]}, "finishReason": "OTHER"},
    ]
    whole = reader().whole(orjson.dumps({"candidates": candidates}))
    told = {choice["index"]: (choice["message"]["content"], choice["finish_reason"]) for choice in whole["choices"]}
    assert told == {1: ("b", "content_filter"), 0: ("a", "stop")}


def test_errors() -> None:
    error = {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED"}
    assert reader().whole(orjson.dumps({"error": error}))["error"]["message"] == "slow"
    assert reader().error(429, orjson.dumps([{"error": error}]))["code"] == "resource_exhausted"
    with pytest.raises(UpstreamInvalid):
        reader().whole(b'{"candidates": [3]}')
    with pytest.raises(UpstreamTruncated):
        reader().whole(b"{}")
