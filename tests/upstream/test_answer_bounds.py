"""Answers that are read here are bounded in size, depth and number of calls."""

import json
from typing import Any

import pytest

from openai_proxy.dialects.base import MAX_ANSWER
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.upstream.answer_bounds import MAX_CALLS, MAX_NESTING, AnswerBounds, check_nesting


def nested(levels: int) -> Any:
    found: Any = "x"
    for number in range(levels):
        found = [found] if number % 2 else {"x": found}
    return found


@pytest.mark.parametrize("document", [None, "x", 1, {}, [], nested(MAX_NESTING)])
def test_normal_nesting_is_accepted(document: Any) -> None:
    check_nesting(document)


@pytest.mark.parametrize("levels", [MAX_NESTING + 1, 900])
def test_deeper_nesting_is_refused_without_recursion(levels: int) -> None:
    chunk = {"choices": [], "z": nested(levels)}
    with pytest.raises(UpstreamInvalid) as caught:
        check_nesting(chunk)
    assert caught.value.code == "upstream_too_deep"
    bounds = AnswerBounds()
    for byte in json.dumps(chunk).encode():  # fed byte by byte
        bounds.received(bytes((byte,)))
    with pytest.raises(UpstreamInvalid):
        bounds.read([chunk])


def test_a_long_answer_of_shallow_chunks_is_accepted() -> None:
    bounds = AnswerBounds()
    for _ in range(1000):
        bounds.received(b'{"choices":[{"delta":{}}]}')
        bounds.read([{"choices": [{"delta": {}}]}])


def test_too_many_bytes_are_refused() -> None:
    bounds = AnswerBounds()
    bounds.received(b"x" * MAX_ANSWER)
    with pytest.raises(UpstreamInvalid) as caught:
        bounds.received(b"x")
    assert caught.value.code == "upstream_too_large"


def test_calls_are_counted_not_their_fragments() -> None:
    def chunk(index: int) -> dict[str, Any]:
        return {"choices": [{"delta": {"tool_calls": [{"index": index, "function": {"arguments": "1"}}]}}]}

    bounds = AnswerBounds()
    bounds.read([chunk(0) for _ in range(5 * MAX_CALLS)])
    bounds.read([{"choices": None}, {"choices": [None]}, {"choices": [{"delta": None}]}])
    with pytest.raises(UpstreamInvalid) as caught:
        bounds.read([chunk(index) for index in range(MAX_CALLS + 1)])
    assert caught.value.code == "upstream_too_many_calls"
