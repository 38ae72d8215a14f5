"""What Anthropic's own SDK reads from a Messages stream, and a fixture with everything that a stream may contain."""

import re
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import orjson
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk

from openai_proxy.dialects.chat.write_answer import ChatWriter
from openai_proxy.dialects.messages.read_answer import MessagesReader
from openai_proxy.dialects.sse import EventSplitter

TOOLS_STREAM = (Path(__file__).parent / "fixtures" / "anthropic_tools.sse").read_bytes()


def vendor_reads(stream: bytes) -> tuple[str, str, list[tuple[str, str, Any]], Any]:
    """(text, thinking, [(id, tool, input)], message) as the `anthropic` SDK assembles them."""
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)
    with (
        anthropic.DefaultHttpxClient(transport=httpx2.MockTransport(lambda request: answer)) as http,
        anthropic.Anthropic(api_key="k", base_url="http://127.0.0.1", http_client=http, max_retries=0) as client,
        client.beta.messages.stream(model="m", max_tokens=5, messages=[{"role": "user", "content": "x"}]) as reader,
    ):
        message = reader.get_final_message()
    text = "".join(block.text for block in message.content if block.type == "text")
    thinking = "".join(block.thinking for block in message.content if block.type == "thinking")
    calls = [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"]
    return text, thinking, calls, message


def client_reads(chunks: bytes) -> tuple[str, str, list[tuple[str, str, Any]], Any]:
    """The same from our chunks, as the `openai` SDK's accumulator assembles them."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    events = [event.data for event in EventSplitter().feed(chunks)]
    assert events.pop() == b"[DONE]"
    for event in events:
        state.handle_chunk(ChatCompletionChunk.model_validate(orjson.loads(event)))
    completion = state.current_completion_snapshot
    message = completion.choices[0].message
    calls = [(c.id, c.function.name, orjson.loads(c.function.arguments)) for c in message.tool_calls or ()]
    return message.content or "", getattr(message, "reasoning", ""), calls, completion


class ChunkStream:
    """A Messages stream as a chat stream, bytes to bytes."""

    def __init__(self, model: str, *, include_usage: bool = False) -> None:
        self._reader = MessagesReader(model)
        self._writer = ChatWriter(include_usage=include_usage)
        self._closed = False

    def feed(self, data: bytes) -> bytes:
        return self._written(self._reader.feed(data))

    def end(self) -> bytes:
        return self._written(self._reader.end())

    def _written(self, chunks: list[Any]) -> bytes:
        made = b"".join(self._writer.error(c["error"]) if "error" in c else self._writer.chunk(c) for c in chunks)
        self._closed = self._closed or any("error" in chunk for chunk in chunks)
        if self._reader.ended and not self._closed:
            self._closed = True
            made += self._writer.end()
        return made


def translate(pieces: list[bytes], *, include_usage: bool = True) -> bytes:
    stream = ChunkStream("asked", include_usage=include_usage)
    made = b"".join([stream.feed(piece) for piece in pieces]) + stream.end()
    return re.sub(rb'"created":\d+', b'"created":0', made)
