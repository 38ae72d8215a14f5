"""Sends requests to a provider through a dialect; shared by every API that is not the chat API.

The dialect translates a chat request for the provider, and its answer to chat chunks. What the model is known to refuse
is left out; a new refusal is learnt, and the request repeated before anything has been answered.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Self

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
from openai_proxy.upstream.lessons import ConnectionLessons
from openai_proxy.upstream.reconsidering import Tried, reconsidered
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
        known = self._lessons.of(model)
        first = await _TriedTranslation.sent(_Asking(self._dialect, request, chat, send, entry), known)
        last = await reconsidered(first, self._lessons, model, known)
        if last.response.status >= 300:
            return self._refused(last.response, await last.error(), last.question)
        self._dropped.note(last.question.dropped)
        return await self._answer(last.response, last.question, chat)

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


@dataclass(frozen=True, slots=True)
class _Asking:
    """What stays the same however often a request is repeated; see Translator.ask."""

    dialect: ProviderDialect
    request: UpstreamRequest
    chat: dict[str, Any]
    send: Send
    entry: dict[str, Any] | None

    def question(self, known: Lessons) -> OutgoingRequest:
        entry = self.entry
        question = self.dialect.write_request(self.chat, replace(known, entry=entry) if entry is not None else known)
        edits = learnt(question.body, known)  # values derived by the dialect may be refused, too
        if edits:
            dropped = (*question.dropped, *(name for name in edits.dropped if name not in question.dropped))
            question = replace(question, body=edits.applied(question.body), dropped=dropped)
        return question


class _TriedTranslation(Tried):
    """A chat request in the provider's own form."""

    def __init__(self, asking: _Asking, known: Lessons, question: OutgoingRequest, response: UpstreamResponse) -> None:
        self._asking = asking
        self._known = known
        self.question = question
        self.response = response
        self._body: bytes | None = None

    @classmethod
    async def sent(cls, asking: _Asking, known: Lessons) -> Self:
        """The request as sent without what is `known` to be refused."""
        large = asking.request.large
        question = await beside(large, asking.question, known)
        response = await asking.send(await beside(large, _as_request, asking.request, question, large))
        return cls(asking, known, question, response)

    async def error(self) -> dict[str, Any]:
        """The error object of an answer that is none, which is closed."""
        if self._body is None:
            self._body = await error_text(self.response)
        return self._asking.dialect.read_answer(self.question).error(self.response.status, self._body)

    async def lesson(self) -> Lesson | None:
        status, dialect, error = self.response.status, self._asking.dialect, await self.error()
        lesson = dialect.lesson(self.question, status, error) if isinstance(dialect, LearningDialect) else None
        return lesson or lesson_from(status, self._body or b"", self.question.body)

    async def again(self, known: Lessons) -> Self | None:
        return None if known == self._known else await self.sent(self._asking, known)


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
