"""Event streams fold to the same answer however they are written and wherever they are cut."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.records.reading import stream
from openai_proxy.records.reading.answer import MAX_TEXT, RecordedAnswer
from openai_proxy.records.reading.answer_formats import CHAT
from openai_proxy.records.reading.stream import RecordedStreamReader
from tests.records.conftest import DONE, event

Fold = Callable[..., RecordedAnswer]

RECORDED = Path(__file__).resolve().parents[3].parent / "shared" / "recorded"


def folded(data: bytes, size: int) -> RecordedAnswer:
    answer = RecordedAnswer()
    reader = RecordedStreamReader(answer, CHAT)
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
    reader.finish()
    return answer


def facts_of(answer: RecordedAnswer) -> tuple[Any, ...]:
    return answer.content, answer.reasoning, answer.tool_calls, answer.finish_reason, answer.usage


TOOL_STREAM = (
    event(delta={"role": "assistant", "content": None})
    + event(
        delta={"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}
    )
    + b"".join(event(delta={"tool_calls": [{"index": 0, "function": {"arguments": part}}]}) for part in '{"x": "é\\n"}')
    + event(delta={"tool_calls": [{"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}}]})
    + event(finish="tool_calls", usage=None)
    + event(finish="tool_calls")
    + event(choices=[], usage={"prompt_tokens": 9})
    + DONE
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 100_000])
def test_tool_calls_are_put_together(size: int) -> None:
    answer = folded(TOOL_STREAM, size)
    assert [call["function"] for call in answer.tool_calls] == [
        {"name": "f", "arguments": '{"x": "é\\n"}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert [call["id"] for call in answer.tool_calls] == ["a", "b"]
    assert (answer.finish_reason, answer.usage) == ("tool_calls", {"prompt_tokens": 9})
    assert answer.malformed == 0


@given(
    st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=60),
    st.integers(1, 5000),
    st.sampled_from(["content", "reasoning_content", "reasoning"]),
    st.booleans(),
)
def test_texts_are_read_with_and_without_a_template(words: list[str], size: int, key: str, ascii_only: bool) -> None:
    def one(word: str) -> bytes:
        body = {"id": "i", "choices": [{"index": 0, "delta": {key: word}, "finish_reason": None}], "usage": None}
        return b"data: " + json.dumps(body, ensure_ascii=ascii_only).encode() + b"\n\n"

    answer = folded(b"".join(map(one, words)) + event(finish="stop") + DONE, size)
    expected = "".join(words)
    assert (answer.content if key == "content" else answer.reasoning) == expected
    assert (answer.finish_reason, answer.malformed) == ("stop", 0)


def test_a_steady_stream_is_folded_by_its_template(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[int] = []
    loads = orjson.loads

    def counting(data: bytes) -> Any:
        parsed.append(data.count(b'"choices"'))
        return loads(data)

    monkeypatch.setattr(stream.orjson, "loads", counting)
    words = [f'w{n}\\" ' for n in range(1000)]
    assert folded(b"".join(map(event, words)), 8000).content == "".join(words)
    assert sum(parsed) < 300  # of a thousand events


def test_events_that_change_midway_are_not_lost() -> None:
    data = b""
    for block in range(20):
        data += b"".join(event(f"{block}.{n} ", created=block) for n in range(30))
        data += event(delta={"reasoning": "hm"}) + b": a comment\n\n" + event("", usage={"prompt_tokens": block})
    answer = folded(data, 4096)
    assert answer.content == "".join(f"{block}.{n} " for block in range(20) for n in range(30))
    assert answer.reasoning == "hm" * 20
    assert answer.usage == {"prompt_tokens": 19}


@pytest.mark.parametrize(
    "stream_bytes",
    [
        b'data:{"choices":[{"delta":{"content":"hi"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"hi"}}]}\r\n\r\n',
        b'data: {"choices":[{"delta":{"content":"hi"}}]}\r\r',
        b'\r\ndata: {"choices":[{"delta":{"content":"hi"}}]}\n\n\n\n',
        b': comment\nevent: message\nid: 7\ndata: {"choices":[{"delta":{"content":"hi"}}]}\n\n',
        b'data: {"choices":[{"delta":\ndata: {"content":"hi"}}]}\n\n',
        b'data: {"choices":[{"delta":{"content":"hi"}}]}',
    ],
)
def test_every_way_to_write_an_event(stream_bytes: bytes) -> None:
    for size in range(1, len(stream_bytes) + 1):
        answer = folded(stream_bytes, size)
        assert (answer.content, answer.malformed) == ("hi", 0)


def test_invalid_bytes_are_kept_escaped_and_counted() -> None:
    data = b'data: {"choices":[{"delta":{"content":"a\xff\xfe\xc3b"}}]}\n\n' + event("c")
    answer = folded(data, 10_000)
    assert answer.content == r"a\xff\xfe\xc3bc"
    assert answer.malformed == 1


def test_invalid_json_is_kept_and_counted() -> None:
    answer = folded(event("a") + b"data: {oops\x1b[2J\n\n" + event("b"), 10_000)
    assert (answer.content, answer.malformed, answer.unread) == ("ab", 1, "{oops\x1b[2J")


def test_halves_of_a_surrogate_pair_are_joined() -> None:
    half = b'data: {"choices":[{"delta":{"content":"%s"}}]}\n\n'
    answer = folded(half % rb"\ud83d" + half % rb"\ude00", 10_000)
    assert answer.content == "\N{GRINNING FACE}"
    assert folded(half % rb"\ud83d", 10_000).content == r"\ud83d"


def test_events_of_unknown_shapes_fold_to_nothing() -> None:
    shapes: list[Any] = [None, 7, "x", [], {}, {"choices": 3}, {"choices": [None]}, {"choices": [{"delta": 4}]}]
    shapes += [{"choices": [{"delta": {"tool_calls": [None]}}]}, {"choices": [{"delta": {"content": 5}}]}]
    shapes += [{"choices": [{"delta": {"tool_calls": [{"function": {"arguments": {"a": 1}}}]}}]}]
    data = b"".join(b"data: " + orjson.dumps(shape) + b"\n\n" for shape in shapes)
    assert folded(data + event("ok"), 10_000).content == "ok"


def test_an_error_event_is_the_error() -> None:
    answer = folded(event("a") + b'data: {"error": {"message": "broke", "code": 502}}\n\n', 10_000)
    assert answer.error == {"message": "broke", "code": 502}


def test_an_endless_event_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "MAX_EVENT", 100_000)
    data = event("a") + b"data: " + b"x" * 1_000_000 + b"\n\n" + event("b")
    for size in (999, 8192, 2_000_000):
        answer = folded(data, size)
        assert answer.content == "ab"
        assert answer.malformed == 1


def test_text_is_bounded() -> None:
    answer = folded(event("x" * 600_000) * 3, 1 << 30)
    assert len(answer.content) < MAX_TEXT + 100
    assert answer.content.endswith("characters left out]")
    assert answer.size == 1_800_000


def test_other_dialects(fold: Fold) -> None:
    tool = {"type": "tool_use", "id": "t", "name": "f"}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "m1", "model": "c", "usage": {"input_tokens": 5}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}},
        {"type": "content_block_start", "index": 1, "content_block": tool},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    anthropic = b"".join(b"event: x\ndata: " + orjson.dumps(e) + b"\n\n" for e in events)
    answer = fold(anthropic, path="/messages")
    assert (answer.content, answer.finish_reason) == ("hi", "tool_use")
    assert answer.usage == {"input_tokens": 5, "output_tokens": 9}
    assert answer.tool_calls[0]["function"] == {"name": "f", "arguments": "{}"}

    answer = fold(
        b'{"choices":[{"text":"abc","finish_reason":"length"}]}', path="/completions", kind="application/json"
    )
    assert (answer.content, answer.finish_reason) == ("abc", "length")

    body = {
        "id": "resp_1",
        "status": "completed",
        "output": [
            {"type": "message", "content": [{"type": "output_text", "text": "hello"}]},
            {"type": "function_call", "call_id": "k", "name": "f", "arguments": "{}"},
        ],
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    answer = fold(orjson.dumps(body), path="/responses", kind="application/json")
    assert (answer.content, answer.tool_calls[0]["id"]) == ("hello", "k")
    done = (
        b"event: response.completed\ndata: " + orjson.dumps({"type": "response.completed", "response": body}) + b"\n\n"
    )
    assert fold(done, path="/responses").usage == {"input_tokens": 1, "output_tokens": 2}


def test_the_usage_of_a_large_embedding_is_found(fold: Fold) -> None:
    body = b'{"data":[' + b"0.123," * 100_000 + b'0],"usage":{"prompt_tokens":11,"d":{"x":1}}}'
    answer = fold(body, path="/embeddings", kind="application/json", cuts=tuple(range(0, len(body), 8192)))
    assert answer.usage == {"prompt_tokens": 11, "d": {"x": 1}}


def test_an_event_stream_under_another_name_is_read(fold: Fold) -> None:
    assert fold(event("hi") + DONE, kind="application/json").content == "hi"


def _recorded() -> list[Path]:
    return sorted(RECORDED.glob("openai-chat/*.sse"))


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded streams are not in this checkout")
@pytest.mark.parametrize("path", _recorded(), ids=lambda p: p.stem[:60])
def test_recorded_streams_fold_alike_in_any_cut(path: Path) -> None:
    data = path.read_bytes()
    slow = RecordedAnswer()
    one_by_one = RecordedStreamReader(slow, CHAT)
    one_by_one._each(data.replace(b"\r\n", b"\n"))
    assert slow.content or slow.tool_calls or slow.reasoning or slow.usage or slow.error
    assert slow.malformed == 0
    for size in (len(data), 8192, 997, 61):
        assert facts_of(folded(data, size)) == facts_of(slow)
