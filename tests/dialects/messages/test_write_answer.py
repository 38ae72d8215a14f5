"""Chat answers as Messages events, read by Anthropic's own SDK."""

import random
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import orjson
import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from openai_proxy.dialects.chat.read_answer import ChatReader
from openai_proxy.dialects.messages.dialect import DIALECT
from openai_proxy.dialects.messages.tables import messages_usage
from openai_proxy.dialects.messages.write_answer import MessagesWriter, error_object, to_message
from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated
from tests.upstream.scripted import recorded


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "c", "model": "x", "choices": [choice], **more}) + b"\n\n"


def call(index: int | None, arguments: str | None = None, **more: Any) -> dict[str, Any]:
    function = {k: v for k, v in (("name", more.pop("name", None)), ("arguments", arguments)) if v is not None}
    entry = {**more, "function": function}
    return {"tool_calls": [entry if index is None else {"index": index, **entry}]}


def vendor_reads(events: bytes) -> Any:
    """What the `anthropic` SDK reads from `events`; raises if they contain an error."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=events)
    with (
        anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(lambda request: answer)) as http,
        anthropic.Anthropic(api_key="k", base_url="http://127.0.0.1", http_client=http, max_retries=0) as client,
        client.messages.stream(model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}]) as reader,
    ):
        return reader.get_final_message()


class MessageStream:
    """A chat stream as a Messages stream, bytes to bytes."""

    def __init__(self, model: str, *, input_tokens: int = 0) -> None:
        self._reader = ChatReader()
        self._writer = MessagesWriter(model, input_tokens=input_tokens)
        self._closed = False

    def feed(self, data: bytes) -> bytes:
        return self._written(self._reader.feed(data))

    def end(self) -> bytes:
        return self._written(self._reader.end())

    def _written(self, chunks: list[Any]) -> bytes:
        made = b""
        for chunk in chunks:
            self._closed = self._closed or "error" in chunk
            made += self._writer.error(chunk["error"]) if "error" in chunk else self._writer.chunk(chunk)
        if self._reader.ended and not self._closed:
            self._closed = True
            made += self._writer.end()
        return made


def events_of(pieces: list[bytes]) -> bytes:
    stream = MessageStream("asked", input_tokens=1)
    return b"".join([stream.feed(piece) for piece in pieces]) + stream.end()


def grammar(events: bytes) -> None:
    """Check the grammar: one open block at a time, indices without gaps, every event named after its type."""
    parsed = [(event.name, orjson.loads(event.data)) for event in EventSplitter().feed(events)]
    assert all(name == payload["type"] for name, payload in parsed)
    names = [name for name, _ in parsed if name != "ping"]
    assert names[0] == "message_start"
    assert names[-2:] == ["message_delta", "message_stop"]
    index, is_open = -1, False
    for name, payload in parsed:
        if name == "content_block_start":
            assert not is_open
            index, is_open = index + 1, True
        if name.startswith("content_block"):
            assert is_open
            assert payload["index"] == index
        if name == "content_block_stop":
            is_open = False
    assert not is_open


@pytest.mark.parametrize("file", recorded("openai-chat"))
def test_recorded_chat_streams_read_the_same_for_both_sdks(file: Path):
    stream = file.read_bytes()
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    failed = finished = done = False
    for event in EventSplitter().feed(stream):
        done = done or event.data == b"[DONE]"
        if event.data == b"[DONE]" or failed:
            continue
        payload = orjson.loads(event.data)
        failed = "error" in payload
        if not failed:
            finished = finished or any(c.get("finish_reason") for c in payload["choices"])
            for choice in payload["choices"]:
                if isinstance(choice["delta"].get("content"), list):
                    pytest.skip("content in parts is not what the openai SDK reads")
                # Streams that the openai SDK itself cannot read (no index, a provider's own tier) cannot be compared.
                choice["delta"].pop("annotations", None)
            payload.pop("service_tier", None)
            state.handle_chunk(ChatCompletionChunk.model_validate(payload))
    if not failed and not finished and not done:
        with pytest.raises(UpstreamTruncated):
            events_of([stream])
        return
    made = events_of([stream])
    if failed:
        with pytest.raises(anthropic.APIError):
            vendor_reads(made)
        return
    grammar(made)
    message = vendor_reads(made)
    expected = state.current_completion_snapshot.choices[0].message
    assert "".join(b.text for b in message.content if b.type == "text") == (expected.content or expected.refusal or "")
    ours = [(b.id, b.name, b.input) for b in message.content if b.type == "tool_use"]
    assert ours == [
        (c.id, c.function.name, orjson.loads(c.function.arguments or "{}")) for c in expected.tool_calls or ()
    ]
    marks = sorted(random.Random(3).sample(range(1, len(stream)), 30))
    pieces = [stream[a:b] for a, b in zip([0, *marks], [*marks, len(stream)], strict=True)]

    def steady(events: bytes) -> list[Any]:
        return [e for e in EventSplitter().feed(events) if e.name not in ("message_start", "content_block_start")]

    assert steady(events_of(pieces)) == steady(made)


def test_thinking_text_and_calls_become_blocks_in_order():
    details = [{"type": "reasoning.text", "index": 0, "signature": "sig"}]
    usage = {"prompt_tokens": 12, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 10}}
    made = events_of([
        chunk({"role": "assistant", "content": ""}), chunk({"reasoning_content": "hm", "reasoning": "hm"}),
        chunk({"reasoning_details": details}), chunk({"content": "Let "}), chunk({"content": "me"}),
        chunk(call(0, "", id="a", name="f")), chunk(call(0, '{"x"')), chunk(call(0, ":1}")),
        chunk(call(1, "", id="b", name="g")), chunk({}, "tool_calls"),
        b'data: {"choices":[],"usage":' + orjson.dumps(usage) + b"}\n\n", b"data: [DONE]\n\n",
    ])  # fmt: skip
    grammar(made)
    message = vendor_reads(made)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert (message.content[0].thinking, message.content[0].signature) == ("hm", "sig")
    assert message.content[1].text == "Let me"
    assert [(b.id, b.name, b.input) for b in message.content[2:]] == [("a", "f", {"x": 1}), ("b", "g", {})]
    assert message.stop_reason == "tool_use"
    assert message.model == "asked"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (2, 10)
    assert message.usage.output_tokens == 4


def test_interleaved_calls_lose_nothing():
    made = events_of([
        chunk(call(0, '{"a":', id="a", name="f")), chunk(call(1, '{"b":', id="b", name="g")), chunk(call(0, "1}")),
        chunk(call(1, "2}")), chunk({}, "stop"), b"data: [DONE]\n\n",
    ])  # fmt: skip
    grammar(made)
    message = vendor_reads(made)
    assert [(b.name, b.input) for b in message.content] == [("f", {"a": 1}), ("g", {"b": 2})]
    assert message.stop_reason == "tool_use"


def test_calls_without_index_or_id_are_complete():
    made = events_of([chunk(call(None, '{"a":1}', name="f")), chunk({}, "stop"), b"data: [DONE]\n\n"])
    (block,) = vendor_reads(made).content
    assert (block.name, block.input) == ("f", {"a": 1})
    assert block.id


def test_hidden_work_is_a_ping_and_an_empty_answer_is_complete():
    stream = MessageStream("m")
    stream.feed(chunk({"role": "assistant"}))
    assert stream.feed(chunk({}, proxy_status={"type": "tool_execution"})) == b""  # this causes a heartbeat
    grammar(events_of([b"data: [DONE]\n\n"]))


def test_an_error_in_mid_stream_is_an_error_event():
    error = b'data: {"error":{"message":"busy","type":"server_error","code":503}}\n\n'
    made = events_of([chunk({"content": "a"}), error, chunk({"content": "b"})])
    last = EventSplitter().feed(made)[-1]
    assert last.name == "error"
    assert orjson.loads(last.data) == {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    with pytest.raises(anthropic.APIError):
        vendor_reads(made)


def test_a_truncated_stream_is_never_a_whole_answer():
    with pytest.raises(UpstreamTruncated):
        events_of([chunk({"content": "a"})])
    with pytest.raises(UpstreamInvalid):
        events_of([b"data: 5\n\n"])
    grammar(events_of([chunk({"content": "a"}, "stop")]))


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("content_filter", "refusal"), ("odd", "end_turn")],
)
def test_stop_reasons(finish: str, reason: str):
    assert vendor_reads(events_of([chunk({"content": "a"}, finish), b"data: [DONE]\n\n"])).stop_reason == reason


def test_a_whole_answer():
    message = {"role": "assistant", "content": "x", "reasoning_content": "r",
               "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}  # fmt: skip
    made = to_message({"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": None}, "asked")
    anthropic.types.Message.model_validate(made)
    assert [block["type"] for block in made["content"]] == ["thinking", "text", "tool_use"]
    assert made["stop_reason"] == "tool_use"
    with pytest.raises(UpstreamInvalid):
        to_message({"choices": []}, "asked")


def test_errors():
    error = ChatReader().error
    named = error(404, b'{"error":{"message":"no","type":"invalid_request_error","code":"model_not_found"}}')
    details = {"error_code": "model_not_found"}
    assert error_object(named, 404)["error"] == {"type": "not_found_error", "message": "no", "details": details}
    assert error_object(error(429, b'{"error":{"message":"slow"}}'), 429)["error"]["type"] == "rate_limit_error"
    assert error_object(error(413, b"{}"), 413)["error"]["type"] == "request_too_large"
    assert error_object(error(502, b"<html>"), 502)["error"]["type"] == "api_error"
    assert messages_usage(None)["input_tokens"] == 0


def test_omitted_thinking_keeps_its_signature():
    asked = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    request = DIALECT.read_request("/messages", {**asked, "thinking": {"type": "adaptive", "display": "omitted"}})
    detail = {"type": "reasoning.text", "text": "Hm.", "signature": "s", "index": 0, "format": "anthropic-claude-v1"}
    said = {"role": "assistant", "content": "Hi", "reasoning_content": "Hm.", "reasoning_details": [detail]}
    whole = DIALECT.write_answer(request, "m").whole({"choices": [{"message": said, "finish_reason": "stop"}]})
    assert orjson.loads(whole)["content"] == [
        {"type": "thinking", "thinking": "", "signature": "s"},
        {"type": "text", "text": "Hi"},
    ]
    writer = DIALECT.write_answer(request, "m")
    streamed = writer.chunk({"choices": [{"delta": said, "finish_reason": None}]})
    assert b"Hm." not in streamed
    assert b'"signature":"s"' in streamed
    del said["reasoning_details"]
    assert b"thinking" not in writer.whole({"choices": [{"message": said, "finish_reason": "stop"}]})
