"""Answers with endlessly many numbered parts: every reader stops at a limit, or forgets old parts."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from openai_proxy.dialects.chat.collect import chat_event
from openai_proxy.dialects.chat.google.repair import _MAX_CHOICES, StreamRepair
from openai_proxy.dialects.chat.google.signatures import Signatures
from openai_proxy.dialects.event_reader import MAX_PARTS, EventReader
from openai_proxy.dialects.messages.read_answer import MessagesReader
from openai_proxy.dialects.responses.memory import ReasoningMemory
from openai_proxy.dialects.responses.read_answer import ResponsesReader
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.records.reading.answer import MAX_CALLS, RecordedAnswer


def blocks(kind: str) -> Iterable[dict[str, Any]]:
    block = {"type": kind, "thinking": "", "text": "", "data": "x", "id": "t", "name": "t", "input": {}}
    return ({"type": "content_block_start", "index": n, "content_block": block} for n in range(MAX_PARTS + 1))


def deltas(kind: str, **delta: Any) -> Iterable[dict[str, Any]]:
    return ({"type": "content_block_delta", "index": n, "delta": {"type": kind, **delta}} for n in range(MAX_PARTS + 1))


def items(kind: str, **members: Any) -> Iterable[dict[str, Any]]:
    return ({"type": kind, "output_index": n, **members} for n in range(MAX_PARTS + 1))


def responses_reader() -> EventReader:
    return ResponsesReader("m", ReasoningMemory())


STREAMS: dict[str, tuple[Callable[[], EventReader], Iterable[dict[str, Any]]]] = {
    "text blocks": (lambda: MessagesReader("m"), blocks("text")),
    "calls": (lambda: MessagesReader("m"), blocks("tool_use")),
    "unknown blocks": (lambda: MessagesReader("m"), blocks("new_kind")),
    "thoughts of blocks that never began": (lambda: MessagesReader("m"), deltas("thinking_delta", thinking="x")),
    "items": (responses_reader, items("response.output_item.added", item={"type": "new_kind"})),
    "texts of items that never began": (responses_reader, items("response.output_text.delta", delta="x")),
    "arguments of such": (responses_reader, items("response.function_call_arguments.delta", delta="x")),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_dialect_stops_at_a_limit(name: str) -> None:
    make, events = STREAMS[name]
    stream = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    reader = make()
    with pytest.raises(UpstreamInvalid) as caught:
        reader.feed(stream)
    assert caught.value.code == "upstream_too_many_parts"


def test_records_keep_a_bounded_number() -> None:
    answer, reader = RecordedAnswer(), MessagesReader("m")
    for n in range(4 * MAX_CALLS):
        entry = {"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}}
        chat_event(answer, {"choices": [{"index": n, "delta": {"tool_calls": [entry]}}]})
        reader.read({"type": "message_delta", "usage": {f"n{n}": n}}, [])
    assert len(answer.tool_calls) <= MAX_CALLS
    assert len(answer._places or ()) <= MAX_CALLS
    assert len(reader.own.usage or ()) <= 64


def test_the_calls_of_one_choice_are_kept_in_a_bounded_number() -> None:
    answer = RecordedAnswer()
    for n in range(4 * MAX_CALLS):
        entry = {"index": n, "id": f"c{n}", "function": {"name": "f", "arguments": "{}"}}
        chat_event(answer, {"choices": [{"index": 0, "delta": {"tool_calls": [entry]}}]})
    places = (answer._places or {})[0]
    assert len(places) == len(places.names) == MAX_CALLS + 1
    assert len(places._by_index) == MAX_CALLS
    assert len(places._by_id) == MAX_CALLS + 1


def test_the_repair_of_a_relayed_stream_is_bounded() -> None:
    repair = StreamRepair(Signatures())
    for n in range(4 * _MAX_CHOICES):
        call = {"id": f"c{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        event = {"choices": [{"index": n, "delta": {"tool_calls": [call]}}]}
        assert repair.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    assert len(repair._choices) == _MAX_CHOICES
