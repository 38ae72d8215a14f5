"""Chunks for these tests, and a reader of Responses events that checks their grammar."""

from collections.abc import Sequence
from typing import Any

import orjson

from openai_proxy.dialects.responses.dialect import DIALECT
from openai_proxy.dialects.responses.write_answer import ResponsesWriter
from openai_proxy.dialects.sse import EventSplitter

USAGE = {
    "prompt_tokens": 5,
    "completion_tokens": 3,
    "total_tokens": 8,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A `chat.completion.chunk`."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "u", "choices": [choice], **more}


def text(content: str) -> dict[str, Any]:
    """A chunk with text."""
    return chunk({"content": content})


def call(index: int, arguments: str = "", call_id: str = "", name: str = "f") -> dict[str, Any]:
    """A chunk with a piece of a call; its first if it has a `call_id`."""
    entry: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if call_id:
        entry = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return chunk({"tool_calls": [entry]})


def writer(**request: Any) -> ResponsesWriter:
    """A writer for the answer to a request."""
    document = {"model": "asked", "input": "hi", "stream": True, **request}
    return DIALECT.write_answer(DIALECT.read_request("/responses", document), "asked")


def events(data: bytes) -> list[dict[str, Any]]:
    """The events in `data`, each named as its type says."""
    found = []
    for event in EventSplitter().feed(data):
        parsed = orjson.loads(event.data)
        assert parsed["type"] == event.name
        found.append(parsed)
    return found


def written(chunks: Sequence[dict[str, Any]], **request: Any) -> list[dict[str, Any]]:
    """The events for `chunks`, in order and by the grammar."""
    made = writer(**request)
    found = events(b"".join(made.chunk(each) for each in chunks) + made.end())
    check(found)
    return found


def check(found: list[dict[str, Any]]) -> None:
    """Check the grammar: one open item at a time, pieces between `added` and `done`, everything repeated at the end."""
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
    done: list[dict[str, Any]] = []
    open_at: int | None = None
    pieces: dict[tuple[str, int], str] = {}
    abandoned = 0
    for event in found[2:]:
        kind = event["type"]
        if kind == "response.output_item.added":
            assert open_at is None, "an item was added while another one was open"
            open_at = event["output_index"]
            assert open_at == len(done)
            opened = event["item"]["id"]
        elif kind == "response.output_item.done":
            assert event["output_index"] == open_at
            assert event["item"]["id"] == opened
            done.append(event["item"])
            open_at = None
        elif kind.endswith(".delta"):
            assert event["output_index"] == open_at
            assert event["item_id"] == opened
            at = (event["item_id"], event.get("content_index", event.get("summary_index", 0)))
            pieces[at] = pieces.get(at, "") + event["delta"]
        elif kind.endswith((".text.done", "_text.done", "arguments.done", "input.done", "refusal.done")):
            at = (event["item_id"], event.get("content_index", event.get("summary_index", 0)))
            said = next(event[name] for name in ("text", "arguments", "input", "refusal") if name in event)
            assert pieces[at] == said
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            if kind == "response.completed":
                assert open_at is None
            abandoned = open_at is not None
            if kind != "response.failed":
                assert event["response"]["output"] == done
            assert event["response"]["status"] == kind.removeprefix("response.")
    last = found[-1]["type"] if found[-1]["type"] != "error" else found[-2]["type"]
    assert last in ("response.completed", "response.incomplete", "response.failed")
    assert not abandoned or last != "response.completed"


def kinds(found: list[dict[str, Any]]) -> list[str]:
    """The types of events, without their common beginning."""
    return [event["type"].removeprefix("response.") for event in found]
