"""Ollama's answers, written for its own client library, and read from a server, cut at every byte."""

import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ollama import ChatResponse, EmbeddingsResponse, EmbedResponse, GenerateResponse

from openai_proxy.dialects.base import AnswerReader, AnswerWriter, Chunk, Lessons
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.ollama.dialect import DIALECT
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated

USER = {"role": "user", "content": "hi"}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> Chunk:
    return {"id": "c", "model": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def usage(prompt: int, answer: int, **more: Any) -> Chunk:
    return {"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": answer}, **more}


def writer(path: str = "/api/chat", **members: Any) -> AnswerWriter:
    asked = {"messages": [USER]} if path == "/api/chat" else {"prompt": "hi"}
    return DIALECT.write_answer(DIALECT.read_request(path, {"model": "m", **asked, **members}), "asked")


def lines(data: bytes, kind: type[ChatResponse] | type[GenerateResponse] = ChatResponse) -> list[Any]:
    """What the `ollama` library reads from each line; a blank line is an error there, too."""
    assert data.endswith(b"\n")
    return [kind(**orjson.loads(line)) for line in data[:-1].split(b"\n")]


def test_a_stream_as_ollama_writes_it() -> None:
    out = writer()
    data = out.chunk(chunk({"role": "assistant", "content": ""})) + out.chunk(chunk({"content": "Par"}))
    data += out.chunk(chunk({"content": "is"})) + out.chunk(chunk({}, "stop")) + out.chunk(usage(7, 2)) + out.end()
    assert out.stream_type == b"application/x-ndjson"
    first, second, last = lines(data)
    assert data.startswith(b'{"model":"asked","created_at":"2')
    assert (first.model, first.message.role, first.message.content, first.done) == ("asked", "assistant", "Par", False)
    assert second.message.content == "is"
    assert (last.done, last.done_reason, last.message.content) == (True, "stop", "")
    assert (last.prompt_eval_count, last.eval_count) == (7, 2)
    assert last.total_duration > 0
    assert last.total_duration == last.prompt_eval_duration + last.eval_duration


def test_the_servers_own_durations_are_used() -> None:
    out = writer()
    timings = {"total_ms": 5.5, "load_ms": 1.25, "prompt_ms": 2, "predicted_ms": 3}
    out.chunk(chunk({}, "length"))
    out.chunk(usage(1, 1, timings=timings))
    (last,) = lines(out.end())
    assert last.done_reason == "length"
    assert (last.total_duration, last.load_duration) == (5_500_000, 1_250_000)
    assert (last.prompt_eval_duration, last.eval_duration) == (2_000_000, 3_000_000)


def test_calls_are_complete_with_arguments_as_an_object() -> None:
    out = writer()
    pieces = [
        {"index": 0, "id": "call_a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"x":'}},
        {"index": 0, "function": {"arguments": "1}"}},
        {"index": 1, "id": "call_b", "type": "function", "function": {"name": "g", "arguments": ""}},
    ]
    data = b"".join(out.chunk(chunk({"tool_calls": [piece]})) for piece in pieces)
    (first,) = lines(data)
    assert [(c.function.name, c.function.arguments) for c in first.message.tool_calls] == [("f", {"x": 1})]
    assert orjson.loads(data)["message"]["tool_calls"][0] == {
        "id": "call_a",
        "function": {"index": 0, "name": "f", "arguments": {"x": 1}},
    }
    out.chunk(chunk({}, "tool_calls"))
    second, last = lines(out.end())
    assert second.message.tool_calls[0].function.name == "g"
    assert last.done_reason == "stop"


def test_tools_keep_the_clients_own_names() -> None:
    asked = {"tools": [{"type": "function", "function": {"name": "light.turn on"}}], "messages": [USER]}
    request = DIALECT.read_request("/api/chat", {"model": "m", **asked})
    assert request.chat["tools"][0]["function"]["name"] == "light_turn_on"
    out = DIALECT.write_answer(request, "m")
    called = {"index": 0, "id": "a", "function": {"name": "light_turn_on", "arguments": "{}"}}
    (line,) = lines(out.chunk(chunk({"tool_calls": [called]})))
    assert line.message.tool_calls[0].function.name == "light.turn on"


def test_thinking_is_shown_by_default() -> None:
    for think, shown in ((None, True), (True, True), (False, False)):
        out = writer(think=think)
        data = out.chunk(chunk({"reasoning_content": "hm"}))
        assert (b'"thinking":"hm"' in data) is shown
        whole = out.whole({"choices": [{"message": {"content": "x", "reasoning_content": "hm"}}]})
        assert (b'"thinking":"hm"' in whole) is shown


def test_generate_writes_response() -> None:
    out = writer("/api/generate")
    data = out.chunk(chunk({"reasoning_content": "hm"})) + out.chunk(chunk({"content": "x"}))
    data += out.chunk(chunk({}, "stop")) + out.end()
    thought, text, last = lines(data, GenerateResponse)
    assert (thought.thinking, thought.response, text.response, last.response) == ("hm", "", "x", "")
    assert last.context


def test_a_context_too_large_to_be_read_back_is_omitted() -> None:
    """As numbers it would be three times as large, and ignored when the client sends it back."""
    for text in ("x" * (8 << 20), "é" * (5 << 20)):
        whole = orjson.loads(writer("/api/generate", prompt=text).whole({"choices": [{"message": {"content": "x"}}]}))
        assert (whole["response"], "context" in whole) == ("x", False)


def test_a_heartbeat_is_an_empty_piece() -> None:
    for path in ("/api/chat", "/api/generate"):
        out = writer(path)
        assert out.chunk(chunk({})).count(b"\n") == 1
        assert orjson.loads(out.heartbeat())["done"] is False
    (beat,) = lines(writer().heartbeat())
    assert beat.message.content == ""


def test_a_broken_stream_ends_with_an_error() -> None:
    error = {"message": "It broke.", "type": "upstream_error", "param": None, "code": "x"}
    assert writer().error(error) == b'{"error":"It broke."}\n'
    assert writer().chunk({"error": error}) == b'{"error":"It broke."}\n'
    assert DIALECT.error_body(502, {"message": ""}) == b'{"error":"The provider reported an error."}'


def test_log_probabilities_are_included() -> None:
    out = writer(logprobs=True)
    entry = {"token": "x", "logprob": -0.5, "top_logprobs": []}
    made = chunk({"content": "x"})
    made["choices"][0]["logprobs"] = {"content": [entry]}
    (line,) = lines(out.chunk(made))
    assert line.logprobs[0].logprob == -0.5
    assert orjson.loads(out.chunk(made))["logprobs"] == [entry]


def test_whole_answers() -> None:
    call = {"id": "call_a", "type": "function", "function": {"name": "f", "arguments": '{"x":1.0}'}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    completion = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": {"prompt_tokens": 3}}
    made = writer(stream=False).whole(completion)
    answer = ChatResponse(**orjson.loads(made))
    assert (answer.done, answer.done_reason, answer.prompt_eval_count) == (True, "stop", 3)
    assert b'"arguments":{"x":1.0}' in made
    with pytest.raises(UpstreamInvalid):
        writer().whole({"choices": []})


def test_embeddings_come_in_order_and_from_base64() -> None:
    packed = "AACAPwAAAEA="  # 1.0 and 2.0 as 32-bit floats
    data = {
        "data": [{"index": 1, "embedding": [3, 4]}, {"index": 0, "embedding": packed}],
        "usage": {"prompt_tokens": 5},
    }
    out = DIALECT.write_answer(DIALECT.read_request("/api/embed", {"model": "m", "input": ["a", "b"]}), "asked")
    answer = EmbedResponse(**orjson.loads(out.whole(data)))
    assert (answer.model, answer.embeddings, answer.prompt_eval_count) == ("asked", [[1.0, 2.0], [3.0, 4.0]], 5)
    out = DIALECT.write_answer(DIALECT.read_request("/api/embeddings", {"model": "m", "prompt": "a"}), "asked")
    assert EmbeddingsResponse(**orjson.loads(out.whole(data))).embedding == [1.0, 2.0]
    with pytest.raises(UpstreamInvalid):
        out.whole({"data": "x"})


# Reading a server's answers

LINES: list[dict[str, Any]] = [
    {"message": {"role": "assistant", "content": "", "thinking": "hm "}, "done": False},
    {"message": {"role": "assistant", "content": "Pa"}, "done": False},
    {"message": {"role": "assistant", "content": "ris ☺"}, "done": False},
    {
        "message": {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"function": {"index": 0, "name": "f", "arguments": {"x": 1}}}],
        },
        "done": False,
    },
    {
        "message": {"role": "assistant", "content": "", "tool_calls": [{"id": "b", "function": {"name": "g"}}]},
        "done": False,
    },
    {
        "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop",
        "total_duration": 5_000_000_000, "load_duration": 1_000_000, "prompt_eval_count": 26,
        "prompt_eval_duration": 130_000_000, "eval_count": 10, "eval_duration": 500_000_000,
    },
]  # fmt: skip


def stream(entries: list[dict[str, Any]] = LINES) -> bytes:
    head = {"model": "llama3.2", "created_at": "2026-11-29T10:00:00.1Z"}
    return b"".join(orjson.dumps({**head, **entry}) + b"\n" for entry in entries)


def reader() -> AnswerReader:
    return DIALECT.read_answer(DIALECT.write_request({"model": "m", "messages": [USER]}, Lessons()))


def folded(chunks: list[Chunk]) -> tuple[dict[str, Any], MessageFold]:
    fold = MessageFold()
    for made in chunks:
        fold.feed(made)
    return fold.message(), fold


def check(chunks: list[Chunk]) -> None:
    message, fold = folded(chunks)
    assert (message["content"], message["reasoning_content"]) == ("Paris ☺", "hm ")
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "f", "arguments": '{"x":1}'},
        {"name": "g", "arguments": "{}"},
    ]
    assert message["tool_calls"][1]["id"] == "b"
    assert message["tool_calls"][0]["id"].startswith("call_")
    assert fold.finish_reason == "tool_calls"
    assert fold.usage == {"prompt_tokens": 26, "completion_tokens": 10, "total_tokens": 36}
    timings = chunks[-1]["timings"]
    assert (timings["total_ms"], timings["prompt_n"], timings["predicted_per_second"]) == (5000, 26, 20)
    assert [entry["index"] for made in chunks for entry in _calls(made)] == [0, 1]
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"


def _calls(made: Chunk) -> list[Any]:
    return made["choices"][0]["delta"].get("tool_calls", []) if made["choices"] else []


def test_a_stream_is_read_cut_at_every_byte() -> None:
    data = stream()
    for cut in range(len(data)):
        source = reader()
        check([*source.feed(data[:cut]), *source.feed(data[cut:]), *source.end()])
    source = reader()
    check([made for at in range(len(data)) for made in source.feed(data[at : at + 1])])


def test_the_last_line_needs_no_end_and_blank_lines_are_ignored() -> None:
    source = reader()
    check([*source.feed(stream().replace(b"\n", b"\r\n\n \n")[:-5]), *source.end()])


def test_read_and_written_again() -> None:
    source, out = reader(), writer()
    data = b"".join(out.chunk(made) for made in source.feed(stream())) + out.end()
    last = lines(data)[-1]
    assert (last.prompt_eval_count, last.total_duration, last.eval_duration) == (26, 5_000_000_000, 500_000_000)
    assert "".join(line.message.content for line in lines(data)) == "Paris ☺"


def test_an_error_in_mid_stream_is_an_error_cut_anywhere() -> None:
    data = stream(LINES[:2]) + b'{"error":"out of memory"}\n' + stream()
    for cut in range(len(data)):
        source = reader()
        chunks = [*source.feed(data[:cut]), *source.feed(data[cut:]), *source.end()]
        assert chunks[-1] == {"error": {"message": "out of memory", "type": "api_error", "param": None, "code": None}}
        assert folded(chunks[:-1])[0]["content"] == "Pa"


def test_a_truncated_stream_is_an_error() -> None:
    data = stream()
    end = data.rindex(b'{"model"')
    for cut in range(end):
        source = reader()
        source.feed(data[:cut])
        with pytest.raises(UpstreamTruncated):
            source.end()


def test_an_invalid_line_is_refused() -> None:
    for line in (b"data: {}\n", b"[]\n", b'"error"\n', b'{"done":false}\n', b'{"message":3}\n', b"\xff\n"):
        with pytest.raises(UpstreamInvalid):
            reader().feed(line)


def test_an_endless_line_is_refused() -> None:
    source = reader()
    for _ in range(32):
        source.feed(b" " * (1 << 20))
    with pytest.raises(UpstreamInvalid) as caught:
        source.feed(b" ")
    assert caught.value.code == "upstream_event_too_large"


def test_whole_answers_are_read_even_if_streamed() -> None:
    whole = {"model": "x", "message": {"role": "assistant", "content": "Paris"}, "done": True, "done_reason": "length"}
    made = reader().whole(orjson.dumps({**whole, "eval_count": 3}))
    assert made["choices"][0]["message"] == {"role": "assistant", "content": "Paris"}
    assert made["choices"][0]["finish_reason"] == "length"
    assert made["usage"]["completion_tokens"] == 3
    assert reader().whole(stream())["choices"][0]["message"]["content"] == "Paris ☺"
    assert reader().whole(b'{"error":"no"}')["error"]["message"] == "no"
    assert reader().whole(stream(LINES[:1]) + b'{"error":"no"}\n')["error"]["message"] == "no"
    for data in (b"[]", b"{}", b"<html>"):
        with pytest.raises(UpstreamInvalid):
            reader().whole(data)


def test_error_answers() -> None:
    missing = reader().error(404, b'{"error":"model \'x\' not found"}')
    assert (missing["message"], missing["code"]) == ("model 'x' not found", "model_not_found")
    assert reader().error(404, b"404 page not found")["code"] == 404
    assert reader().error(500, b"<html>")["message"] == ""
    assert reader().error(400, b'{"error":{"message":"no"}}')["message"] == "no"


@given(st.binary(max_size=80), st.integers(0, 2**32))
def test_any_bytes_are_read_or_refused(noise: bytes, seed: int) -> None:
    data = bytearray(stream())
    at = random.Random(seed).randrange(len(data))
    data[at:at] = noise
    source = reader()
    try:
        chunks = [*source.feed(bytes(data)), *source.end()]
    except (UpstreamInvalid, UpstreamTruncated):
        return
    out = writer()
    for made in chunks:
        out.chunk(made)
