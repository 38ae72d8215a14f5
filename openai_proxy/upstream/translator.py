"""Asking a provider through a dialect: the one carrier for every API that is not the chat API.

A chat request goes through the dialect to the provider, its answer comes back as chat chunks. What the model is known
to refuse is left out; what it refuses now is learnt, and the same question is put again before anything was answered.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import AnswerReader, Chunk, Lesson, Lessons, OutgoingRequest, ProviderDialect, Teaching
from openai_proxy.dialects.chat.dialect import asks_for_usage
from openai_proxy.dialects.chat.write_answer import ChatWriter
from openai_proxy.dialects.chat.write_request import learnt
from openai_proxy.dialects.lessons import lesson_from
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.answers import ChunkSource, error_text, whole
from openai_proxy.upstream.inprocess import SSE_HEADERS, BytesResponse, rest_of
from openai_proxy.upstream.lessons import MAX_LESSONS, ConnectionLessons, with_lesson
from openai_proxy.upstream.translating import (
    DroppedLog,
    body_headers,
    dropped_header,
    speakable,
    status_of,
    without,
)

Send = Callable[[UpstreamRequest], Awaitable[UpstreamResponse]]
"""Sends a request with the connection's own credentials and header fields."""


class Translator:
    """Asks the provider of one connection through `dialect`."""

    def __init__(self, connection: str, dialect: ProviderDialect, lessons: ConnectionLessons) -> None:
        self._connection = connection
        self._dialect = dialect
        self._lessons = lessons
        self._dropped = DroppedLog(connection)

    async def ask(
        self, request: UpstreamRequest, chat: dict[str, Any], send: Send, entry: dict[str, Any] | None = None
    ) -> UpstreamResponse:
        """The answer to `chat`, the document of `request`, as a chat answer: a stream or whole, as was asked.

        `request.headers` go up as they are, but for the body's own; `entry` is the model's in the provider's list.
        Raises BadRequest for what cannot be said, and the UpstreamError family.
        """
        model = str(chat.get("model"))
        known = tried = self._lessons.of(model)
        left = MAX_LESSONS
        while True:
            question = self._question(chat, tried, entry)
            response = await send(_as_request(request, question))
            if response.status < 300:
                break
            body = await error_text(response)
            error = self._dialect.read_answer(question).error(response.status, body)
            left -= 1
            lesson = self._lesson(question, response.status, body, error)
            more = with_lesson(tried, lesson) if lesson is not None else tried
            if left < 0 or more == tried:
                return self._refused(response, error, question)
            tried = more
        if tried is not known:
            self._lessons.learn(model, tried)
        self._dropped.note(question.dropped)
        return await self._answer(response, question, chat)

    def _question(self, chat: dict[str, Any], known: Lessons, entry: dict[str, Any] | None) -> OutgoingRequest:
        question = self._dialect.write_request(chat, replace(known, entry=entry) if entry is not None else known)
        edits = learnt(question.body, known)  # what the dialect derives may be refused as well
        if edits:
            dropped = (*question.dropped, *(name for name in edits.dropped if name not in question.dropped))
            question = replace(question, body=edits.applied(question.body), dropped=dropped)
        return question

    def _lesson(self, question: OutgoingRequest, status: int, body: bytes, error: dict[str, Any]) -> Lesson | None:
        """What the refusal teaches, so that asking again makes sense."""
        lesson = self._dialect.lesson(question, status, error) if isinstance(self._dialect, Teaching) else None
        return lesson or lesson_from(status, body, question.body)

    def _refused(self, response: UpstreamResponse, error: dict[str, Any], question: OutgoingRequest) -> BytesResponse:
        headers = [*body_headers(response.headers, _JSON), *dropped_header(question.dropped)]
        spoken = speakable(error, self._connection, response.status)
        return BytesResponse(json_text.dumps({"error": spoken}), status=response.status, headers=headers)

    async def _answer(
        self, response: UpstreamResponse, question: OutgoingRequest, chat: dict[str, Any]
    ) -> UpstreamResponse:
        reader = self._dialect.read_answer(question)
        dropped = dropped_header(question.dropped)
        if chat.get("stream"):
            headers = [*body_headers(response.headers, SSE_HEADERS[0][1]), *dropped]
            return TranslatedStream(response, reader, self._connection, headers, include_usage=asks_for_usage(chat))
        headers = [*body_headers(response.headers, _JSON), *dropped]
        try:
            completion = await whole(response, reader)
        finally:
            response.close()
        if "error" in completion:
            status = status_of(completion["error"])
            completion = {"error": speakable(completion["error"], self._connection, status)}
            return BytesResponse(json_text.dumps(completion), status=status, headers=headers)
        return BytesResponse(json_text.dumps(completion), headers=headers)


class TranslatedStream:
    """A stream in another API's words as chat chunks: as bytes, or as they are (`answers.HasChunks`)."""

    status = 200
    reason = "OK"

    def __init__(
        self,
        response: UpstreamResponse,
        reader: AnswerReader,
        connection: str,
        headers: Headers,
        *,
        include_usage: bool,
    ) -> None:
        self.headers = headers
        self._response = response
        self._source = ChunkSource(response, reader)
        self._connection = connection
        self._writer = ChatWriter(include_usage=include_usage)
        self._failed = False  # the provider said so: nothing comes after that
        self._written = False
        self._drained = False

    async def chunks(self) -> list[Chunk]:
        """See answers.HasChunks."""
        while not self._source.ended and not self._failed:
            chunks = await self._source.read()
            for at, chunk in enumerate(chunks):
                if "error" in chunk:
                    self._failed = True
                    spoken = speakable(chunk["error"], self._connection, status_of(chunk["error"]))
                    return [*chunks[:at], {"error": spoken}]
            if chunks:
                return chunks
        return []

    async def chunk(self) -> bytes:
        """See exchange.UpstreamResponse."""
        while not self._written:
            chunks = await self.chunks()
            made = [self._writer.error(c["error"]) if "error" in c else self._writer.chunk(c) for c in chunks]
            if self._failed or self._source.ended:
                self._written = True
                if not self._failed:
                    made.append(self._writer.end())
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
        self._written = self._failed = self._drained = True
        self._response.close()


_JSON: Final = b"application/json"
_OF_THE_BODY: Final = frozenset(
    {b"content-type", b"content-length", b"content-encoding", b"accept", b"accept-encoding"}
)


def _as_request(request: UpstreamRequest, question: OutgoingRequest) -> UpstreamRequest:
    path, _, query = question.path.partition("?")
    headers = [*without(request.headers, _OF_THE_BODY), (b"Content-Type", _JSON), *question.headers]
    headers.append((b"Accept-Encoding", b"identity"))
    return UpstreamRequest(
        "POST", path, query, headers, json_text.dumps(question.body), client_authorization=request.client_authorization
    )
