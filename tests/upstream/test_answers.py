"""A provider's answer as chunks: large pieces are processed in parts."""

import asyncio
import gzip
import json
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat import chunks as chunks_module
from openai_proxy.dialects.chat.chunks import PART, event, in_parts, size_of
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.chat.read_answer import ChatReader
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.steps import STEP
from openai_proxy.upstream import answers
from openai_proxy.upstream.answers import ChunkSource
from openai_proxy.upstream.client_dialect import WrittenStream
from tests.upstream.scripted import Scripted

DONE = b"data: [DONE]\n\n"


def delta_chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> Chunk:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def folded(chunks: list[Chunk]) -> dict[str, Any]:
    fold = MessageFold()
    for chunk in chunks:
        fold.feed(chunk)
    return fold.completion()


TEXTS = st.text("abé", max_size=20)


@given(TEXTS, TEXTS, TEXTS, st.sampled_from(["delta", "message"]))
def test_parts_add_up_to_the_whole(text: str, thought: str, arguments: str, member: str) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    delta = {"role": "assistant", "content": text, "reasoning_content": thought, "tool_calls": [call]}
    choice = {"index": 0, member: delta, "finish_reason": "stop", "logprobs": {"content": []}}
    whole: Chunk = {"id": "c", "choices": [choice], "usage": {"total_tokens": 3}}
    before, chunks_module.PART = chunks_module.PART, 4  # type: ignore[misc]  # short, so that everything is cut
    try:
        parts = in_parts(whole)
    finally:
        chunks_module.PART = before  # type: ignore[misc]
    if max(map(len, (text, thought, arguments))) > 4:
        assert len(parts) > 1
    assert [part for part in parts if "usage" in part] == parts[-1:]
    assert [part["choices"][0]["finish_reason"] for part in parts[:-1]] == [None] * (len(parts) - 1)
    left = {"id": None, "created": None}
    assert folded(parts) | left == folded([whole]) | left
    assert sum(map(size_of, parts)) == size_of(whole)


def test_calls_that_share_an_index_are_not_split() -> None:
    """Some servers give all calls the index 0: the pieces of the first would become the second's."""
    calls = [
        {"index": 0, "id": name, "type": "function", "function": {"name": name, "arguments": json.dumps(name * PART)}}
        for name in ("a", "b")
    ]
    chunk: Chunk = {"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": "tool_calls"}]}
    left = {"id": None, "created": None}
    assert folded(in_parts(chunk)) | left == folded([chunk]) | left


@pytest.mark.parametrize(
    "chunk", [{}, {"error": {}}, delta_chunk({}), delta_chunk({"content": None}), {"choices": [None]}, {"choices": []}]
)
def test_chunks_without_long_texts_are_unchanged(chunk: Chunk) -> None:
    assert in_parts(chunk) == [chunk]


async def test_other_tasks_run_while_a_compressed_stream_is_unpacked() -> None:
    """64 KB on the wire may be 32 MB of events."""
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    stream = event(delta_chunk({"content": "x" * 1000})) * 4000 + DONE
    headers = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"gzip")]
    source = ChunkSource(Scripted(200, [gzip.compress(stream)], headers), ChatReader())
    task = asyncio.ensure_future(others())
    try:
        chunks = [chunk for some in await read(source) for chunk in some]
    finally:
        task.cancel()
    assert folded(chunks)["choices"][0]["message"]["content"] == "x" * 4_000_000
    assert turns > 50


async def read(source: ChunkSource) -> list[list[Chunk]]:
    found = []
    while not source.ended:
        found.append(await source.read())
    return found


async def test_one_large_event_is_returned_in_parts() -> None:
    text = "x" * (2 * LARGE)
    data = event(delta_chunk({"content": text})) + event(delta_chunk({}, "stop")) + DONE
    source = ChunkSource(Scripted(200, [data]), ChatReader())
    found = await read(source)
    assert max(sum(map(size_of, chunks)) for chunks in found) <= PART
    assert folded([chunk for chunks in found for chunk in chunks])["choices"][0]["message"]["content"] == text


async def test_only_a_few_bytes_are_parsed_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Data for a client that does not read waits as bytes."""
    data = event(delta_chunk({"content": "word "})) * 5000
    fed: list[int] = []
    reader = ChatReader()
    feed = reader.feed
    monkeypatch.setattr(reader, "feed", lambda piece: (fed.append(len(piece)), feed(piece))[1])
    await read(ChunkSource(Scripted(200, [data, event(delta_chunk({}, "stop")) + DONE]), reader))
    assert max(fed) <= answers._AT_ONCE < len(data)


class Writer:
    """A dialect's writer that repeats everything at the end, and records the thread."""

    stream_type = b"text/plain"

    def __init__(self) -> None:
        self.size = 0
        self.threads: list[int] = []

    def chunk(self, chunk: Chunk) -> bytes:
        self.size += size_of(chunk)
        return json.dumps(chunk).encode()

    def end(self) -> bytes:
        self.threads.append(threading.get_ident())
        return b"x" * self.size

    def heartbeat(self) -> bytes:
        return b""

    def error(self, error: dict[str, Any]) -> bytes:
        return json.dumps(error).encode()


@pytest.mark.parametrize("size", [100, 6 * LARGE])
async def test_the_end_of_a_large_answer_is_written_off_the_loop(size: int) -> None:
    data = event(delta_chunk({"content": "x" * size})) + event(delta_chunk({}, "stop")) + DONE
    response, writer = Scripted(200, [data]), Writer()
    stream = WrittenStream(response, ChatReader(), writer, (), "main", lambda usage: None)  # type: ignore[arg-type]
    pieces = []
    while piece := await stream.chunk():
        pieces.append(len(piece))
    assert sum(pieces) > 2 * size
    assert max(pieces) <= STEP
    assert (writer.threads == [threading.get_ident()]) is (size < LARGE)
