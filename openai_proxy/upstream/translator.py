"""Sends requests to a provider through a dialect; shared by every API that is not the chat API.

The dialect translates a chat request for the provider, and its answer to chat chunks. What the model is known to refuse
is left out; a new refusal is learnt, and the request repeated before anything has been answered.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Chunk, LearningDialect, Lesson, Lessons, OutgoingRequest, ProviderDialect
from openai_proxy.dialects.chat.chunks import size_of
from openai_proxy.dialects.chat.dialect import asks_for_usage
from openai_proxy.dialects.chat.write_answer import ChatWriter
from openai_proxy.dialects.chat.write_request import learnt
from openai_proxy.dialects.lessons import lesson_from
from openai_proxy.exchange import UpstreamRequest, UpstreamResponse
from openai_proxy.protocols.json_members import LARGE
from openai_proxy.tasks import beside
from openai_proxy.upstream.answer_body import error_text
from openai_proxy.upstream.answers import whole
from openai_proxy.upstream.client_dialect import WrittenStream
from openai_proxy.upstream.inprocess import SSE_HEADERS, BytesResponse
from openai_proxy.upstream.lessons import MAX_LESSONS, ConnectionLessons, with_lesson
from openai_proxy.upstream.translating import (
    OF_THE_BODY,
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
    """Sends requests to one connection's provider through `dialect`."""

    def __init__(self, connection: str, dialect: ProviderDialect, lessons: ConnectionLessons) -> None:
        self._connection = connection
        self._dialect = dialect
        self._lessons = lessons
        self._dropped = DroppedLog(connection)

    async def ask(
        self, request: UpstreamRequest, chat: dict[str, Any], send: Send, entry: dict[str, Any] | None = None
    ) -> UpstreamResponse:
        """The answer to `chat`, the document of `request`, as a chat answer: a stream or whole, as requested.

        `request.headers` are sent unchanged, except the body's own; `entry` is the model's in the provider's list.
        Raises BadRequest for what has no equivalent, and the UpstreamError family.
        """
        model = str(chat.get("model"))
        known = tried = self._lessons.of(model)
        left, large = MAX_LESSONS, request.large
        while True:
            question = await beside(large, self._question, chat, tried, entry)
            response = await send(await beside(large, _as_request, request, question, large))
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
        edits = learnt(question.body, known)  # values derived by the dialect may be refused, too
        if edits:
            dropped = (*question.dropped, *(name for name in edits.dropped if name not in question.dropped))
            question = replace(question, body=edits.applied(question.body), dropped=dropped)
        return question

    def _lesson(self, question: OutgoingRequest, status: int, body: bytes, error: dict[str, Any]) -> Lesson | None:
        """What the refusal teaches, if a retry makes sense."""
        lesson = self._dialect.lesson(question, status, error) if isinstance(self._dialect, LearningDialect) else None
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
            writer = ChatWriter(include_usage=asks_for_usage(chat))
            return TranslatedStream(response, reader, writer, headers, self._connection)
        headers = [*body_headers(response.headers, _JSON), *dropped]
        try:
            completion = await whole(response, reader)
        finally:
            response.close()
        if "error" in completion:
            status = status_of(completion["error"])
            completion = {"error": speakable(completion["error"], self._connection, status)}
            return BytesResponse(json_text.dumps(completion), status=status, headers=headers)
        body = await beside(size_of(completion) >= LARGE, json_text.dumps, completion)
        return BytesResponse(body, headers=headers)


class TranslatedStream(WrittenStream):
    """Another API's stream as chat chunks: as bytes, or directly (`answers.HasChunks`)."""

    hides_breaks = False

    async def chunks(self) -> list[Chunk]:
        while not self._source.ended and not self._ended:
            chunks = await self._source.read()
            for at, chunk in enumerate(chunks):
                if "error" in chunk:
                    self._ended = True  # nothing follows
                    return [*chunks[:at], {"error": self._spoken(chunk["error"])}]
            if chunks:
                return chunks
        return []


_JSON: Final = b"application/json"


def _as_request(request: UpstreamRequest, question: OutgoingRequest, large: bool) -> UpstreamRequest:
    path, _, query = question.path.partition("?")
    headers = [*without(request.headers, OF_THE_BODY), (b"Content-Type", _JSON), *question.headers]
    headers.append((b"Accept-Encoding", b"identity"))
    body = json_text.dumps(question.body, large=large)
    return UpstreamRequest("POST", path, query, headers, body, client_authorization=request.client_authorization)
