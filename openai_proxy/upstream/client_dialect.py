"""A chat answer on its way to a client that speaks another API: the one carrier for all of them."""

from collections.abc import Awaitable, Callable
from typing import Any

from openai_proxy.dialects.base import AnswerReader, AnswerWriter, Chunk, ClientDialect, IncomingRequest
from openai_proxy.dialects.chat.read_answer import ChatReader
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Headers, UpstreamResponse
from openai_proxy.upstream.answers import ChunkSource, error_text, whole
from openai_proxy.upstream.inprocess import BytesResponse, rest_of
from openai_proxy.upstream.translating import answer_object, body_headers, speakable, status_of

CHAT = "/chat/completions"
_JSON = b"application/json"


async def as_dialect(
    response: UpstreamResponse,
    dialect: ClientDialect,
    request: IncomingRequest,
    model: str,
    *,
    connection: str,
    on_usage: Callable[[Any], None] = lambda usage: None,
) -> UpstreamResponse:
    """`response` to a chat request as the answer to `request`, the client's own, from which it was made.

    `model` is the name that was asked for, `connection` the name for messages of ours; `on_usage` is called with the
    usage of the chat answer, which may say more than the dialect can. A stream stays a stream and a
    whole answer whole, whatever kind the provider sent; an error has its status and the API's own shape. Raises the
    UpstreamError family; `response` is closed unless it is part of what is returned.
    """
    writer = dialect.write_answer(request, model)
    reader = ChatReader()
    if response.status >= 400:
        error = reader.error(response.status, await error_text(response))
        return _error(response, dialect, response.status, speakable(error, connection, response.status))
    if request.chat.get("stream"):
        headers = body_headers(response.headers, writer.stream_type)
        return WrittenStream(response, reader, writer, headers, connection, on_usage)
    try:
        completion = await (whole(response, reader) if request.path == CHAT else answer_object(response))
    finally:
        response.close()
    if "error" in completion:
        status = status_of(completion["error"])
        return _error(response, dialect, status, speakable(completion["error"], connection, status))
    on_usage(completion.get("usage"))
    return BytesResponse(writer.whole(completion), headers=body_headers(response.headers, _JSON))


def _error(response: UpstreamResponse, dialect: ClientDialect, status: int, error: dict[str, Any]) -> BytesResponse:
    body = dialect.error_body(status, error)
    return BytesResponse(body, status=status, headers=body_headers(response.headers, _JSON))


class WrittenStream:
    """A chat answer as the stream of another API. What one piece of the source gives goes on at once."""

    status = 200
    reason = "OK"

    def __init__(
        self,
        response: UpstreamResponse,
        reader: AnswerReader,
        writer: AnswerWriter,
        headers: Headers,
        connection: str,
        on_usage: Callable[[Any], None],
    ) -> None:
        self.headers = headers
        self._response = response
        self._source = ChunkSource(response, reader)
        self._writer = writer
        self._connection = connection
        self._on_usage = on_usage
        self._ended = False
        self._drained = False
        self.published: Callable[[], Awaitable[None]] | None = None  # waited for before the client sees the end

    async def chunk(self) -> bytes:
        """See exchange.UpstreamResponse."""
        while not self._ended:
            chunks = await self._source.read()
            made: list[bytes] = []
            for chunk in chunks:
                if "error" in chunk:
                    self._ended = True
                    made.append(self._writer.error(speakable(chunk["error"], self._connection, 502)))
                    break
                if chunk.get("usage"):
                    self._on_usage(chunk["usage"])
                piece = self._writer.chunk(chunk)
                made.append(self._writer.heartbeat() if not piece and _is_heartbeat(chunk) else piece)
            if self._source.ended and not self._ended:
                self._ended = True
                made.append(self._writer.end())
                if self.published is not None:
                    await self.published()
            if data := b"".join(made):
                return data
        if not self._drained:
            self._drained = True
            await self._source.drain()
        return b""

    async def read(self, limit: int) -> bytes:
        """See exchange.UpstreamResponse."""
        return await rest_of(self, limit)

    def close(self) -> None:
        """See exchange.UpstreamResponse."""
        self._ended = self._drained = True
        self._response.close()

    def broken(self, error: ProxyError) -> bytes:
        """See answers.EndsInWords."""
        return self._writer.error(error.payload()["error"])


def _is_heartbeat(chunk: Chunk) -> bool:
    choices = chunk.get("choices") or ()
    return bool(choices) and all(not c["delta"] and c["finish_reason"] is None for c in choices)
