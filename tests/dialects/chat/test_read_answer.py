"""The reader of chat answers: the same chunks however the bytes are cut, and tidy ones whatever is sent."""

import gzip
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.chat.errors import error_in
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.chat.read_answer import ChatReader, ChunkReader
from openai_proxy.errors import UpstreamError, UpstreamInvalid, UpstreamTruncated
from tests.dialects.test_odd_input_fuzz import ANY
from tests.upstream.scripted import cuts, recorded

FINISHES = {None, "stop", "length", "tool_calls", "content_filter", "error"}


def read(pieces: list[bytes]) -> list[dict[str, Any]]:
    reader = ChatReader()
    chunks = [chunk for piece in pieces for chunk in reader.feed(piece)]
    return [*chunks, *reader.end()]


def without_ids(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Chunks without the parts that are generated each time: ids, times."""
    text = orjson.dumps([{k: v for k, v in c.items() if k not in ("id", "created")} for c in chunks]).decode()
    for choice in (choice for c in chunks for choice in c.get("choices", ())):
        for call in choice["delta"].get("tool_calls", ()):
            if call.get("id"):
                text = text.replace(call["id"], "ID")
    return list(orjson.loads(text))


def check_tidy(chunks: list[dict[str, Any]]) -> None:
    """Check the promises of `base.Chunk`."""
    calls: dict[int, int] = {}
    for at, chunk in enumerate(chunks):
        if "error" in chunk:
            assert set(chunk["error"]) == {"message", "type", "param", "code"}
            assert isinstance(chunk["error"]["message"], str)
            assert at == len(chunks) - 1
            continue
        for choice in chunk["choices"]:
            assert type(choice["index"]) is int
            assert choice["finish_reason"] in FINISHES
            delta = choice["delta"]
            for name in ("content", "reasoning_content", "refusal"):
                assert isinstance(delta.get(name, ""), str)
            for entry in delta.get("tool_calls", ()):
                begun = calls.get(choice["index"], 0)
                assert entry["index"] <= begun
                if entry["index"] == begun:
                    calls[choice["index"]] = begun + 1
                    assert entry["id"]
                    assert entry["type"]
                    assert "function" not in entry or isinstance(entry["function"]["name"], str)
                assert isinstance(entry.get("function", {}).get("arguments", ""), str)


def event(payload: Any) -> bytes:
    return b"data: " + (payload if isinstance(payload, bytes) else orjson.dumps(payload)) + b"\n\n"


def delta(content: dict[str, Any], finish: Any = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": content, "finish_reason": finish}], **more}


def call(**more: Any) -> dict[str, Any]:
    return delta({"tool_calls": [more]})


ODD = (
    b"\xef\xbb\xbf: hello\r\n\r\n" + event(delta({"role": "assistant", "content": ""}, "")) + event({"choices": [None]})
    + b'data: {"choices":[{"delta":{"content":"a \\ud83d"}}]}\n\n' + b"data:\n\n"
    + b'data: {"choices":[{"delta":{"content":"\\ude00 b"},"index":null}]}\r\n\r\n'
    + event({"choices": [{"index": 0, "delta": {"content": "!"}}]})  # no finish_reason at all: z.ai
    + event(delta({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}))
    + event(call(function={"name": "f", "arguments": {"n": 1}}))
    + event(call(index=0, function={"name": "g"})) + event(call(index=0, id="x", function={"arguments": '{"k"'}))
    + event(call(index=0, function={"arguments": ":2}"})) + event(delta({}, "eos_token"))
    + event({"choices": [], "usage": {"prompt_tokens": 1}}) + b"data: [DONE]\n\n"
)  # fmt: skip


def test_an_odd_stream_is_the_same_tidy_chunks_at_every_cut():
    whole = without_ids(read([ODD]))
    check_tidy(read([ODD]))
    fold = MessageFold()
    for chunk in read([ODD]):
        fold.feed(chunk)
    message = fold.message()
    assert message["content"] == "a 😀 b!"
    assert message["reasoning_content"] == "hm"
    assert [(c["function"]["name"], c["function"]["arguments"]) for c in message["tool_calls"]] == [
        ("f", '{"n":1}'), ("g", '{"k":2}'),
    ]  # fmt: skip
    assert (fold.finish_reason, fold.usage) == ("stop", {"prompt_tokens": 1})
    for pieces in cuts(ODD, seed=11):
        assert without_ids(read(pieces)) == whole


@pytest.mark.parametrize("file", recorded("openai-chat"))
def test_recorded_streams_are_tidy_at_every_cut(file: Path):
    stream = file.read_bytes()
    try:
        whole = without_ids(read([stream]))
    except UpstreamTruncated:
        return  # one of those that were truncated when recorded
    check_tidy(read([stream]))
    for pieces in cuts(stream, seed=12):
        assert without_ids(read(pieces)) == whole


EVENTS = st.lists(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["choices", "usage", "error", "detail", "object"], ANY))
    | st.builds(delta, ANY, ANY) | st.builds(lambda entry: delta({"tool_calls": [entry]}), ANY) | ANY,
    max_size=6,
)  # fmt: skip


@given(EVENTS, st.booleans())
def test_whatever_is_sent_is_tidy_or_an_error_of_ours(events: list[Any], done: bool):
    stream = b"".join(map(event, events)) + (b"data: [DONE]\n\n" if done else b"")
    try:
        chunks = read([stream])
    except UpstreamError:
        return
    check_tidy(chunks)
    assert without_ids(read([stream[:7], stream[7:]])) == without_ids(chunks)


@given(st.binary(max_size=200), st.integers(0, 200))
def test_any_bytes_are_read_or_refused(data: bytes, cut: int):
    for reader in (ChatReader(), ChunkReader()):
        try:
            reader.feed(data[:cut])
            reader.feed(data[cut:])
            reader.end()
        except UpstreamError:
            continue


WHOLE = {"id": "w", "choices": [{"index": 0, "finish_reason": "stop", "message": {
    "role": "assistant", "content": "x", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"n": 1}}}],
}}]}  # fmt: skip


@pytest.mark.parametrize("space", [b"", b"\n ", b"\xef\xbb\xbf"])
def test_a_whole_answer_instead_of_a_stream_is_one_chunk(space: bytes):
    body = space + orjson.dumps(WHOLE)
    for pieces in cuts(body, seed=13):
        (chunk,) = read(pieces)
        check_tidy([chunk])
        assert chunk["choices"][0]["delta"]["content"] == "x"
        assert chunk["choices"][0]["finish_reason"] == "stop"
        assert chunk["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"] == '{"n":1}'


def test_a_stream_instead_of_a_whole_answer_is_a_completion():
    made = ChatReader().whole(ODD)
    assert made["object"] == "chat.completion"
    assert made["choices"][0]["message"]["content"] == "a 😀 b!"
    assert made["choices"][0]["finish_reason"] == "stop"
    assert made["usage"] == {"prompt_tokens": 1}
    with pytest.raises(UpstreamTruncated):
        ChatReader().whole(event(delta({"content": "half"})))
    with pytest.raises(UpstreamTruncated):
        ChatReader().whole(b"")


def test_digits_are_kept_in_arguments_sent_as_an_object():
    number = b"184467440737095516170"
    raw = b'data: {"choices":[{"delta":{"tool_calls":[{"function":{"name":"f","arguments":{"n":%b}}}]}}]}\n\n' % number
    reader = ChatReader()
    chunks = [*reader.feed(raw), *reader.feed(event(delta({}, "stop")))]
    (entry,) = chunks[0]["choices"][0]["delta"]["tool_calls"]
    assert entry["function"]["arguments"].encode() == b'{"n":%b}' % number
    whole = b'{"choices":[{"message":{"tool_calls":[{"function":{"name":"f","arguments":{"n":%b}}}]}}]}' % number
    (made,) = ChatReader().whole(whole)["choices"][0]["message"]["tool_calls"]
    assert made["function"]["arguments"].encode() == b'{"n":%b}' % number


def test_the_agent_reads_chunks_as_they_were_sent():
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    sent = delta({"content": parts, "extra": 1}, "eos_token")
    assert ChunkReader().feed(event(sent)) == [sent]


@pytest.mark.parametrize(
    ("body", "message", "code"),
    [
        (b'{"error":{"message":"m","code":"c","type":"t"}}', "m", "c"), (b'{"error":"m"}', "m", None),
        (b'{"detail":"m"}', "m", None), (b'{"detail":[{"loc":["body","x"],"msg":"m"}]}', "m (body.x)", None),
        (b'[{"error":{"code":503,"message":"m","status":"UNAVAILABLE"}}]', "m", "unavailable"),
        (b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}', "m", None),
        (b'{"object":"error","message":"m","code":40303}', "m", 40303), (b'"m"', "m", None),
        (b"<html>", "", None), (b"", "", None), (b"[]", "", None), (b'{"error":{}}', "", None), (b"{}", "", None),
    ],
)  # fmt: skip
def test_errors_of_every_shape(body: bytes, message: str, code: Any):
    error = error_in(503, body)
    assert (error["message"], error["code"]) == (message, code)
    assert set(error) == {"message", "type", "param", "code"}


def test_an_invalid_whole_answer_is_refused():
    for body in (b"{}", b"[]", b'{"choices":[]}', b'{"choices":[null]}', b"{", gzip.compress(b"{}")):
        with pytest.raises((UpstreamInvalid, UpstreamTruncated)):
            ChatReader().whole(body)
