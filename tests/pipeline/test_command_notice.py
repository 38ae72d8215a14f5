"""The text that interactive mode puts before an answer, wherever the bytes are cut."""

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.pipeline.command_notice import Prefaced, into_stream, prefaced
from tests.agent.support import Response, chunk, completion, events, says


async def streamed(body: bytes, cuts: list[int]) -> bytes:
    edges = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    response = prefaced(Response([body[a:b] for a, b in itertools.pairwise(edges)]), "Well.")
    return await response.read(1 << 20)


def content(body: bytes) -> str:
    chunks = [json.loads(line[6:]) for line in body.decode().split("\n\n") if line.startswith("data: {")]
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c.get("choices"))


@given(st.lists(st.integers(0, 5000), max_size=6))
async def test_the_notice_precedes_a_stream_wherever_it_is_cut(cuts: list[int]) -> None:
    body = says("Hello world")
    result = await streamed(body, cuts)
    assert content(result) == "Well.\n\nHello world"
    ours = next(part for part in result.split(b"\n\n") if b"Well." in part) + b"\n\n"
    assert result.replace(ours, b"") == body  # every other byte is unchanged
    assert result.index(b'"role"') < result.index(b"Well.")
    assert result.count(b'"role"') == 1  # contract §4: only the first chunk has the role


async def test_the_notice_precedes_content_in_the_first_chunk() -> None:
    body = events(chunk({"content": "Hello"}), chunk({}, "stop"))
    assert content(await streamed(body, [])) == "Well.\n\nHello"


async def test_comments_and_other_line_ends_are_skipped() -> None:
    body = b": hello\r\n\r\n" + says("Hi").replace(b"\n", b"\r\n")
    response = prefaced(Response([body]), "Well.")
    result = (await response.read(1 << 20)).replace(b"\r\n", b"\n")
    assert content(result.removeprefix(b": hello\n\n")) == "Well.\n\nHi"


async def test_errors_get_no_notice() -> None:
    body = b'data: {"error":{"message":"no"}}\n\n'
    assert await streamed(body, [3]) == body


async def test_the_notice_precedes_a_whole_answer() -> None:
    response = Prefaced(Response([completion({"content": "Hi"})], kind=b"application/json"), "Well.")
    answer = json.loads(await response.read(1 << 20))
    assert answer["choices"][0]["message"]["content"] == "Well.\n\nHi"
    calls: dict[str, Any] = {"content": None, "tool_calls": [{"id": "c"}]}
    response = Prefaced(Response([completion(calls, "tool_calls")], kind=b"application/json"), "Well.")
    assert json.loads(await response.read(1 << 20))["choices"][0]["message"]["content"] == "Well."
    broken = Prefaced(Response([b"<html>"], kind=b"application/json"), "Well.")
    assert await broken.read(100) == b"<html>"


async def test_errors_and_compressed_answers_are_unchanged() -> None:
    refused = Response([b"{}"], status=429)
    assert prefaced(refused, "Well.") is refused
    packed = Response([b"\x1f\x8b"])
    packed.headers.append((b"Content-Encoding", b"gzip"))
    assert prefaced(packed, "Well.") is packed


async def test_the_notice_precedes_answers_of_the_agent() -> None:
    async def pieces() -> Any:
        yield events(chunk({"role": "assistant", "content": ""}), done=False)
        yield events(chunk({"content": "Hi"}))

    result = b"".join([piece async for piece in into_stream(pieces(), "Well.")])
    assert content(result) == "Well.\n\nHi"


def events_of(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)


THOUGHT = {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm"}}
TEXTS = [{"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": t}} for t in ("He", "llo")]
MESSAGE = events_of({"type": "message_start", "message": {}}, THOUGHT, *TEXTS, {"type": "message_stop"})


@given(st.lists(st.integers(0, 5000), max_size=6))
async def test_the_notice_precedes_the_first_text_of_a_messages_stream(cuts: list[int]) -> None:
    edges = sorted({0, len(MESSAGE), *(cut % (len(MESSAGE) + 1) for cut in cuts)})
    pieces = [MESSAGE[a:b] for a, b in itertools.pairwise(edges)]
    result = await prefaced(Response(pieces), "Well.", "messages").read(1 << 20)
    lines = [json.loads(line[6:]) for line in result.decode().split("\n") if line.startswith("data: ")]
    deltas = [line.get("delta", {}) for line in lines]
    assert [delta["text"] for delta in deltas if "text" in delta] == ["Well.\n\n", "He", "llo"]
    ours = next(part for part in result.split(b"\n\n") if b"Well." in part) + b"\n\n"
    assert b'"index":1' in ours
    assert result.replace(ours, b"") == MESSAGE


async def test_the_notice_precedes_a_whole_messages_answer() -> None:
    async def texts(*content: dict[str, str]) -> list[str]:
        body = json.dumps({"type": "message", "content": content}).encode()
        answer = await Prefaced(Response([body], kind=b"application/json"), "Well.", "messages").read(1 << 20)
        return [block.get("text", "") for block in json.loads(answer)["content"]]

    assert await texts({"type": "thinking"}, {"type": "text", "text": "Hi"}) == ["", "Well.\n\nHi"]
    assert await texts({"type": "tool_use"}) == ["", "Well."]
