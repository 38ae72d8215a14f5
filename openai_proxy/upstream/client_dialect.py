"""Passes a chat answer to a client that uses another API; shared by all dialects."""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

from openai_proxy.dialects.base import AnswerReader, AnswerWriter, Chunk, ClientDialect, IncomingRequest
from openai_proxy.dialects.chat.chunks import size_of
from openai_proxy.dialects.chat.read_answer import ChatReader
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.errors import ProxyError, UpstreamError
from openai_proxy.exchange import Headers, UpstreamResponse
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.steps import STEP, pieces
from openai_proxy.tasks import beside
from openai_proxy.upstream.answer_body import answer_object, error_text
from openai_proxy.upstream.answers import ChunkSource, whole
from openai_proxy.upstream.inprocess import BytesResponse
from openai_proxy.upstream.translating import body_headers, speakable, status_of
from openai_proxy.upstream.wrapped import OwnResponse

_JSON = b"application/json"
_BROKEN_OFF = "The provider broke off its answer."


async def as_dialect(
    response: UpstreamResponse,
    dialect: ClientDialect,
    request: IncomingRequest,
    model: str,
    *,
    connection: str,
    on_usage: Callable[[Any], None] = lambda usage: None,
    large: bool = False,
) -> UpstreamResponse:
    """`response` to a chat request, as the answer to the client's own `request`, from which it was made.

    `model` is the requested name, `connection` the name for messages of ours; `on_usage` is called with the chat
    answer's usage, which may have more detail than the dialect's. An answer that repeats a `large` request is written
    off the event loop. A stream stays a stream and a whole answer whole, whatever the provider sent; an error keeps its
    status and gets the API's own shape. Raises the UpstreamError family; `response` is closed unless it is part of the
    result.
    """
    writer = dialect.write_answer(request, model)
    reader = ChatReader()
    if response.status >= 400:
        error = reader.error(response.status, await error_text(response))
        return _error(response, dialect, response.status, speakable(error, connection, response.status))
    if request.chat.get("stream"):
        headers = body_headers(response.headers, writer.stream_type)
        return WrittenStream(response, reader, writer, headers, connection, on_usage, large)
    try:
        completion = await (whole(response, reader) if request.path == CHAT_PATH else answer_object(response))
    finally:
        response.close()
    if "error" in completion:
        status = status_of(completion["error"])
        return _error(response, dialect, status, speakable(completion["error"], connection, status))
    on_usage(completion.get("usage"))
    if _broken_off(completion):
        raise UpstreamError(_BROKEN_OFF)
    body = await beside(large or size_of(completion) >= LARGE, writer.whole, completion)
    return BytesResponse(body, headers=body_headers(response.headers, _JSON))


def _error(response: UpstreamResponse, dialect: ClientDialect, status: int, error: dict[str, Any]) -> BytesResponse:
    body = dialect.error_body(status, error)
    return BytesResponse(body, status=status, headers=body_headers(response.headers, _JSON))


class WrittenStream(OwnResponse):
    """A chat answer as another API's stream. Each piece of the source is passed on at once."""

    hides_breaks = True  # the API has no finish reason for an answer that its provider broke off

    def __init__(
        self,
        response: UpstreamResponse,
        reader: AnswerReader,
        writer: AnswerWriter,
        headers: Headers,
        connection: str,
        on_usage: Callable[[Any], None] = lambda usage: None,
        large: bool = False,
    ) -> None:
        self.headers = headers
        self._response = response
        self._source = ChunkSource(response, reader)
        self._writer = writer
        self._connection = connection
        self._on_usage = on_usage
        self._ended = False
        self._drained = False
        self._large = large
        self._size = 0  # characters of the answer so far
        self._left: Iterator[bytes] | None = None  # of the written data
        self.published: Callable[[], Awaitable[None]] | None = None  # called before the client sees the end

    async def chunk(self) -> bytes:
        """See exchange.UpstreamResponse."""
        if self._left is not None:
            if piece := next(self._left, b""):
                return piece
            self._left = None
        while not self._ended:
            chunks = await self._source.read()
            self._size += sum(map(size_of, chunks))
            large = self._large or self._size >= LARGE  # the whole answer is written again at the end of a part
            made = await beside(large, self._write, chunks)
            if self._source.ended and not self._ended:
                self._ended = True
                made.append(await beside(large, self._writer.end))
                if self.published is not None:
                    await self.published()
            if data := await beside(large, b"".join, made):
                if len(data) <= STEP:
                    return data
                self._left = pieces(data)
                return next(self._left)
        if not self._drained:
            self._drained = True
            await self._source.drain()
        return b""

    def _write(self, chunks: Iterable[Chunk]) -> list[bytes]:
        made: list[bytes] = []
        for chunk in chunks:
            if "error" in chunk:
                self._ended = True
                made.append(self._writer.error(self._spoken(chunk["error"])))
                break
            if chunk.get("usage"):
                self._on_usage(chunk["usage"])
            if self.hides_breaks and _broken_off(chunk):
                self._ended = True
                made += self._broken_off(chunk)
                break
            piece = self._writer.chunk(chunk)
            made.append(self._writer.heartbeat() if not piece and _is_heartbeat(chunk) else piece)
        return made

    def _spoken(self, error: dict[str, Any]) -> dict[str, Any]:
        return speakable(error, self._connection, status_of(error))

    def _broken_off(self, chunk: Chunk) -> tuple[bytes, bytes]:
        """The content of `chunk`, and an error in place of its finish reason."""
        choices = [{**choice, "finish_reason": None} for choice in chunk["choices"]]
        error = UpstreamError(_BROKEN_OFF).payload()["error"]
        return self._writer.chunk({**chunk, "choices": choices}), self._writer.error(error)

    def close(self) -> None:
        """See exchange.UpstreamResponse."""
        self._ended = self._drained = True
        self._left = None
        self._response.close()

    def broken(self, error: ProxyError) -> bytes:
        """See provider.EndsWithError."""
        return self._writer.error(error.payload()["error"])


def _broken_off(answer: Mapping[str, Any]) -> bool:
    """True if the provider says that it broke off its answer."""
    return any(choice.get("finish_reason") == "error" for choice in answer.get("choices") or ())


def _is_heartbeat(chunk: Chunk) -> bool:
    choices = chunk.get("choices") or ()
    return bool(choices) and all(not c["delta"] and c["finish_reason"] is None for c in choices)
