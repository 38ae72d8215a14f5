"""What interactive mode says before an answer: as ordinary content, so that every client shows (or speaks) it."""

from collections.abc import AsyncIterator
from typing import Any

import orjson

from openai_proxy.dialects.sse import EventSplitter, RawEvents
from openai_proxy.exchange import Headers, UpstreamResponse, header
from openai_proxy.fastpath.stream_end import is_event_stream

CHAT = "/chat/completions"
PATHS = frozenset({CHAT, "/messages"})
"""The endpoints whose answers may have a preface."""

MAX_WHOLE = 16 << 20  # bytes of a whole answer that is read to be prefaced


def into_completion(completion: Any, text: str) -> None:
    """Put `text` before the content of each choice of a chat completion."""
    for choice in completion.get("choices") or () if isinstance(completion, dict) else ():
        message = choice.get("message") if isinstance(choice, dict) else None
        if isinstance(message, dict) and (message.get("content") is None or isinstance(message["content"], str)):
            message["content"] = f"{text}\n\n{message['content']}" if message.get("content") else text


def into_message(message: Any, text: str) -> None:
    """Put `text` before the content of an answer of the Messages API."""
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return
    first = next((block for block in content if isinstance(block, dict) and block.get("type") == "text"), None)
    if first is not None:
        first["text"] = f"{text}\n\n{first.get('text') or ''}"
    else:
        content.append({"type": "text", "text": text})


def chunk_like(event: dict[str, Any], text: str, *, first: bool) -> bytes:
    """A chunk of the same stream as `event`, with `text` as its content; the `first` one also says who speaks."""
    head = {name: event[name] for name in ("id", "object", "created", "model") if name in event}
    delta = {"role": "assistant"} if first else {}
    delta["content"] = f"{text}\n\n"
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    return b"data: " + orjson.dumps({**head, "choices": choices}) + b"\n\n"


class _Opening:
    """Finds the place in a stream: before the first content, and behind the chunk that only says who speaks."""

    def __init__(self, text: str) -> None:
        self._text: str | None = text
        self._events = RawEvents()

    def feed(self, data: bytes) -> bytes:
        """`data` as it goes on, with the preface once its place has come."""
        if self._text is None:
            return data
        out: list[bytes] = []
        for raw in self._events.feed(data):
            out += (raw,) if self._text is None else self._with_text(raw, self._text)
        if self._text is None:
            out.append(self._events.rest())
        return b"".join(out)

    def flush(self) -> bytes:
        """What is still held at the end."""
        return self._events.rest()

    def _with_text(self, raw: bytes, text: str) -> tuple[bytes, ...]:
        """One event and, if its place is here, the preface, in order."""
        event = _parsed(raw)
        if event is None:  # a comment, or an error: no place for it yet
            return (raw,)
        ahead = _says_something(event)
        ours = chunk_like(event, text, first=ahead)
        self._text = None
        return (ours, raw) if ahead else (raw, ours)


class _MessagesOpening(_Opening):
    """The same for a stream of the Messages API: before the first text, in its block."""

    def _with_text(self, raw: bytes, text: str) -> tuple[bytes, ...]:
        index = _text_block(raw)
        if index is None:
            return (raw,)
        delta = {"type": "text_delta", "text": f"{text}\n\n"}
        ours = orjson.dumps({"type": "content_block_delta", "index": index, "delta": delta})
        self._text = None
        return b"event: content_block_delta\ndata: %b\n\n" % ours, raw


def _text_block(event: bytes) -> Any:
    """The index of the block an event of the Messages API adds text to, or None."""
    for found in EventSplitter().feed(event):
        try:
            value = orjson.loads(found.data)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict) and value.get("type") == "content_block_delta":
            delta = value.get("delta")
            return value.get("index", 0) if isinstance(delta, dict) and delta.get("type") == "text_delta" else None
    return None


def _parsed(event: bytes) -> dict[str, Any] | None:
    for found in EventSplitter().feed(event):
        try:
            value = orjson.loads(found.data)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict) and value.get("choices"):
            return value
    return None


def _says_something(event: dict[str, Any]) -> bool:
    choice = event["choices"][0] if isinstance(event["choices"], list) else None
    delta = choice.get("delta") if isinstance(choice, dict) else None
    return isinstance(choice, dict) and (
        bool(choice.get("finish_reason"))
        or (isinstance(delta, dict) and any(delta.get(name) for name in ("content", "tool_calls", "reasoning_content")))
    )


async def into_stream(pieces: AsyncIterator[bytes], text: str) -> AsyncIterator[bytes]:
    """`pieces` of a chat stream with `text` where its content begins."""
    opening = _Opening(text)
    async for piece in pieces:
        if data := opening.feed(piece):
            yield data
    if rest := opening.flush():
        yield rest


class Prefaced:
    """An upstream's answer (exchange.UpstreamResponse) with a preface; only 2xx answers get one."""

    def __init__(self, response: UpstreamResponse, text: str, path: str = CHAT) -> None:
        self._response = response
        self._text = text
        self._into = into_completion if path == CHAT else into_message
        opening = _Opening if path == CHAT else _MessagesOpening
        self._opening = opening(text) if is_event_stream(response.headers) else None
        self._over = False

    @property
    def status(self) -> int:
        """The status code."""
        return self._response.status

    @property
    def reason(self) -> str:
        """The reason phrase."""
        return self._response.reason

    @property
    def headers(self) -> Headers:
        """All header fields but the length."""
        return [item for item in self._response.headers if item[0].lower() != b"content-length"]

    async def chunk(self) -> bytes:
        """The next bytes."""
        if self._over:
            return b""
        if self._opening is None:
            self._over = True
            return self._whole(await self._response.read(MAX_WHOLE))
        while True:
            piece = await self._response.chunk()
            if not piece:
                self._over = True
                return self._opening.flush()
            if data := self._opening.feed(piece):
                return data

    def _whole(self, body: bytes) -> bytes:
        try:
            completion = orjson.loads(body)
        except orjson.JSONDecodeError:
            return body
        self._into(completion, self._text)
        return orjson.dumps(completion)

    async def read(self, limit: int) -> bytes:
        """The whole rest."""
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Let go of it."""
        self._response.close()


def prefaced(response: UpstreamResponse, text: str, path: str = CHAT) -> UpstreamResponse:
    """`response` of the endpoint `path` (one of PATHS) with `text` before its content, where it can have one."""
    if not 200 <= response.status < 300 or header(response.headers, b"content-encoding") is not None:
        return response
    return Prefaced(response, text, path)
