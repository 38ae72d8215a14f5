"""Messages streams as chunks: the `openai` client must read what Anthropic's SDK reads, however the bytes are cut."""

from pathlib import Path
from typing import Any

import orjson
import pytest

from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated
from tests.upstream.anthropic_oracle import TOOLS_STREAM, ChunkStream, client_reads, translate, vendor_reads
from tests.upstream.scripted import cuts, recorded, sse

START: dict[str, Any] = {"type": "message_start", "message": {"id": "m1", "model": "c", "usage": {"input_tokens": 3}}}
STOP = {"type": "message_stop"}


def text(piece: str, index: int = 0) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": "text_delta", "text": piece}}


def chunks_of(made: bytes) -> list[Any]:
    return [orjson.loads(e.data) for e in EventSplitter().feed(made) if e.data != b"[DONE]"]


@pytest.mark.parametrize("file", recorded("anthropic-messages"))
def test_recorded_streams_read_the_same_for_both_sdks(file: Path):
    stream = file.read_bytes()
    whole = translate([stream])
    words, thinking, calls, message = vendor_reads(stream)
    ours = client_reads(whole)
    assert ours[:3] == (words, thinking, calls)
    usage = ours[3].usage
    assert usage.completion_tokens == message.usage.output_tokens
    assert usage.prompt_tokens == message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) + (
        message.usage.cache_creation_input_tokens or 0
    )
    for pieces in cuts(stream, seed=1):
        assert translate(pieces) == whole


def test_our_fixture_with_tools_and_thinking_reads_the_same_for_both_sdks():
    whole = translate([TOOLS_STREAM])
    words, thinking, calls, _ = vendor_reads(TOOLS_STREAM)
    ours = client_reads(whole)
    assert ours[:3] == (words, thinking, calls)
    assert [call[2] for call in calls] == [{"room": "Küche", "on": True}, {}]
    choice = ours[3].choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.reasoning_content == "Two lamps, both on."
    usage = ours[3].usage
    assert (usage.prompt_tokens, usage.completion_tokens) == (117, 42)
    assert usage.prompt_tokens_details.cached_tokens == 100
    assert usage.completion_tokens_details.reasoning_tokens == 9
    for pieces in cuts(TOOLS_STREAM, seed=2):
        assert translate(pieces) == whole


def test_tool_indices_count_from_zero_and_empty_arguments_are_an_object():
    calls = [
        call
        for chunk in chunks_of(translate([TOOLS_STREAM]))
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls", ())
    ]
    assert [call["index"] for call in calls] == [0, 0, 0, 1, 1]
    assert calls[-1]["function"] == {"arguments": "{}"}
    assert [call["id"] for call in calls if "id" in call] == ["toolu_1", "toolu_2"]


def test_the_signature_and_the_hidden_thinking_can_be_restored():
    from openai_proxy.dialects.messages.content import thinking_blocks

    message = client_reads(translate([TOOLS_STREAM]))[3].choices[0].message.model_dump()
    assert thinking_blocks(message) == [
        {"type": "thinking", "thinking": "Two lamps, both on.", "signature": "c2lnbmVk"},
        {"type": "redacted_thinking", "data": "aGlkZGVu"},
    ]


def test_a_tool_loop_returns_signed_thinking():
    from openai_proxy.dialects.chat.fold import MessageFold
    from openai_proxy.dialects.messages.write_request import to_messages

    fold = MessageFold()
    for chunk in chunks_of(translate([TOOLS_STREAM])):
        fold.feed(chunk)
    turns = [{"role": "user", "content": "x"}, fold.turn()]
    blocks = to_messages({"model": "m", "messages": turns}).body["messages"][1]["content"]
    assert [block["type"] for block in blocks] == ["thinking", "redacted_thinking", "text", "tool_use", "tool_use"]
    assert blocks[0] == {"type": "thinking", "thinking": "Two lamps, both on.", "signature": "c2lnbmVk"}
    assert blocks[1] == {"type": "redacted_thinking", "data": "aGlkZGVu"}
    assert blocks[3]["input"] == {"room": "Küche", "on": True}


def test_every_delta_is_passed_on_at_once():
    stream = ChunkStream("m")
    assert b'"role":"assistant"' in stream.feed(sse(START))
    for word in ("a", "b"):
        assert chunks_of(stream.feed(sse(text(word))))[0]["choices"][0]["delta"] == {"content": word}
    # An empty delta: clients such as Home Assistant's read every line of a stream as JSON, comments too.
    assert chunks_of(stream.feed(sse({"type": "ping"})))[0]["choices"][0]["delta"] == {}
    assert stream.feed(sse({"type": "some_new_event", "x": 1})) == b""
    assert stream.feed(sse(STOP)).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"), ("max_tokens", "length"),
     ("model_context_window_exceeded", "length"), ("tool_use", "tool_calls"), ("refusal", "content_filter"),
     ("something_new", "stop")],
)  # fmt: skip
def test_stop_reasons(reason: str, finish: str):
    delta = {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 1}}
    made = chunks_of(translate([sse(START, text("x"), delta, STOP)]))
    assert made[-2]["choices"][0]["finish_reason"] == finish
    assert made[-1]["choices"] == []


def test_usage_is_reported_only_if_requested():
    made = translate([sse(START, text("x"), STOP)], include_usage=False)
    assert b"usage" not in made


def test_a_second_message_start_is_not_a_second_answer():
    again = {"type": "message_start", "message": {"id": "m2", "model": "d", "usage": {"input_tokens": 5}}}
    made = chunks_of(translate([sse(START, text("a"), again, text("b"), STOP)]))
    assert {chunk["id"] for chunk in made} == {"m1"}
    assert sum("role" in chunk["choices"][0]["delta"] for chunk in made if chunk["choices"]) == 1
    assert made[-1]["usage"]["prompt_tokens"] == 5


def test_text_in_a_start_event_is_not_lost():
    start = {
        "type": "message_start",
        "message": {"id": "m", "model": "c", "content": [{"type": "text", "text": "pre"}]},
    }
    block = {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": "fix"}}
    made = chunks_of(translate([sse(start, block, STOP)]))
    assert "".join(c["choices"][0]["delta"].get("content", "") for c in made if c["choices"]) == "prefix"


def test_an_error_in_mid_stream_is_an_error_without_choices_and_without_done():
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    stream = ChunkStream("m", include_usage=True)
    made = stream.feed(sse(START, text("a"), error, text("b"))) + stream.end()
    assert b"[DONE]" not in made
    last = chunks_of(made)[-1]
    assert last == {
        "error": {"message": "Overloaded", "type": "overloaded_error", "param": None, "code": "overloaded_error"}
    }


def test_a_truncated_stream_is_never_a_whole_answer():
    stream = ChunkStream("m")
    stream.feed(sse(START, text("a")))
    with pytest.raises(UpstreamTruncated):
        stream.end()


@pytest.mark.parametrize("junk", [b"data: {nope\n\n", b"data: []\n\n", b'data: {"type":"content_block_delta"}\n\n'])
def test_an_invalid_stream_is_an_error(junk: bytes):
    with pytest.raises(UpstreamInvalid):
        ChunkStream("m").feed(junk)
