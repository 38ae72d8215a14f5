"""Interactive mode's text before an answer: as ordinary content, so that every client shows (or speaks) it."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson

from openai_proxy.dialects.sse import EventSplitter, RawEvents
from openai_proxy.exchange import Headers, UpstreamResponse, header
from openai_proxy.fastpath.stream_end import is_event_stream
from openai_proxy.upstream.wrapped import WrappedResponse

MAX_WHOLE = 16 << 20  # maximum bytes of a whole answer that gets a notice


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
    """A chunk of the same stream as `event`, with `text` as its content; the `first` one also has the role."""
    head = {name: event[name] for name in ("id", "object", "created", "model") if name in event}
    delta = {"role": "assistant"} if first else {}
    delta["content"] = f"{text}\n\n"
    choices = [{"index": 0, "delta": delta, "finish_reason": None}]
    return b"data: " + orjson.dumps({**head, "choices": choices}) + b"\n\n"


class _Opening:
    """Finds the place in a stream: before the first content, and after the chunk that only has the role."""

    def __init__(self, text: str) -> None:
        self._text: str | None = text
        self._events = RawEvents()

    def feed(self, data: bytes) -> bytes:
        """The part of `data` to pass on, with the notice once its place is reached."""
        if self._text is None:
            return data
        out: list[bytes] = []
        for raw in self._events.feed(data):
            out += (raw,) if self._text is None else self._with_text(raw, self._text)
        if self._text is None:
            out.append(self._events.rest())
        return b"".join(out)

    def flush(self) -> bytes:
        """What is still held back at the end."""
        return self._events.rest()

    def _with_text(self, raw: bytes, text: str) -> tuple[bytes, ...]:
        """One event and, if its place is here, the notice, in order."""
        event = next((event for event in _parsed(raw) if event.get("choices")), None)
        if event is None:  # a comment, or an error: not the place yet
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


def _text_block(raw: bytes) -> Any:
    """The index of the block to which an event of the Messages API adds text, or None."""
    event = next((event for event in _parsed(raw) if event.get("type") == "content_block_delta"), {})
    delta = event.get("delta")
    return event.get("index", 0) if isinstance(delta, dict) and delta.get("type") == "text_delta" else None


def _parsed(raw: bytes) -> Iterator[dict[str, Any]]:
    for found in EventSplitter().feed(raw):
        try:
            value = orjson.loads(found.data)
        except orjson.JSONDecodeError:
            continue
        if isinstance(value, dict):
            yield value


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


class Prefaced(WrappedResponse):
    """An upstream's answer with a notice; only 2xx answers get one."""

    def __init__(self, response: UpstreamResponse, text: str, dialect: str = "chat") -> None:
        super().__init__(response)
        self._text = text
        self._into = into_message if dialect == "messages" else into_completion
        opening = _MessagesOpening if dialect == "messages" else _Opening
        self._opening = opening(text) if is_event_stream(response.headers) else None
        self._over = False

    @property
    def headers(self) -> Headers:
        """All header fields except the length."""
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


def prefaced(response: UpstreamResponse, text: str, dialect: str = "chat") -> UpstreamResponse:
    """`response`, in this `dialect` (chat or messages), with `text` before its content, if possible."""
    if not 200 <= response.status < 300 or header(response.headers, b"content-encoding") is not None:
        return response
    return Prefaced(response, text, dialect)
