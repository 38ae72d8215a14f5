"""A connection to Google's OpenAI-compatible endpoint, with the few repairs that it needs."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, Final, Self

import orjson

from openai_proxy.dialects.base import Lesson, Lessons
from openai_proxy.dialects.chat.errors import error_in
from openai_proxy.dialects.chat.google.repair import StreamRepair, repair_completion, unwrap_error
from openai_proxy.dialects.chat.google.request import PREFIX, adapt
from openai_proxy.dialects.chat.google.signatures import Signatures
from openai_proxy.dialects.edits import BodyEdits
from openai_proxy.dialects.lessons import lesson_from
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse, header
from openai_proxy.protocols.json_members import LARGE, edit, parse_object
from openai_proxy.tasks import beside
from openai_proxy.upstream.answer_body import body_of, error_text, inflated
from openai_proxy.upstream.inprocess import BytesResponse, ConvertedResponse, collect, refusal_as_answer
from openai_proxy.upstream.lessons import ConnectionLessons, LessonTable, with_lesson
from openai_proxy.upstream.model_list import entries_of, listing
from openai_proxy.upstream.reconsidering import Tried, reconsidered
from openai_proxy.upstream.refusals import is_bad_key
from openai_proxy.upstream.translating import (
    MAX_BODY,
    Ask,
    DroppedLog,
    body_headers,
    dropped_header,
    parsed,
    without,
)

_BAD_SIGNATURE: Final = re.compile(r"thought.?signature", re.IGNORECASE)
_SMALL: Final = 1 << 16  # bytes of a body in which the model's prefix is searched for on other paths than chat
_IDENTITY: Final = (b"Accept-Encoding", b"identity")


class GoogleProvider:
    """See provider.Provider. `ask` sends over the pool of this connection; `keys` are the configured ones."""

    api_type: ClassVar[str] = "google"

    def __init__(
        self, name: str, ask: Ask, *, keys: Sequence[str] = (), lessons: ConnectionLessons | None = None
    ) -> None:
        self.name = name
        self._ask = ask
        self._keys = tuple(keys)
        self._lessons = lessons if lessons is not None else LessonTable().of(name)
        self._signatures = Signatures()
        self._dropped = DroppedLog(name)

    def speaks(self, dialect: str) -> bool:
        return False

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """Send a request with `key`. Only chat completions are examined; of others only the model's name and errors."""
        if request.method == "POST" and request.path.rstrip("/") == CHAT_PATH:
            return await refusal_as_answer(self._chat(request, key))
        body = request.body
        if isinstance(body, bytes) and len(body) <= _SMALL and b'"models/' in body:
            body = _without_prefix(body)
        asked = request if body is request.body else replace(request, body=body)
        response = await self._ask(asked, key)
        return response if response.status < 400 else await self._failed(response, ())

    async def list_models(self) -> list[dict[str, Any]]:
        """Its models, without the prefix `models/`, which the endpoint itself does not accept."""
        request = UpstreamRequest("GET", "/models", headers=[(b"Accept", b"application/json"), _IDENTITY])
        document = await listing(self.name, await self._ask(request, self._keys[0] if self._keys else None))
        return [{**model, "id": model["id"].removeprefix(PREFIX)} for model in entries_of(self.name, document)]

    async def aclose(self) -> None:
        """There is nothing to release."""

    async def _chat(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        data = await collect(request.body, MAX_BODY)
        chat = await parsed(data)
        model = str(chat.get("model")).removeprefix(PREFIX)
        known = self._lessons.of(model)

        async def send(body: bytes) -> UpstreamResponse:
            headers: Headers = [*without(request.headers, {b"accept-encoding"}), _IDENTITY]
            return await self._ask(replace(request, headers=headers, body=body, length=None), key)

        first = await _TriedAtGoogle.sent(_Question(data, chat, self._signatures, send), known)
        last = await reconsidered(first, self._lessons, model, known)
        dropped = last.edits.dropped
        if last.response.status >= 400:
            return self._error(last.response, await last.refusal(), dropped)
        self._dropped.note(dropped)
        return await self._repaired(last.response, dropped_header(dropped))

    async def _repaired(self, response: UpstreamResponse, dropped: Headers) -> UpstreamResponse:
        kind = header(response.headers, b"content-type") or b""
        if b"text/event-stream" in kind.lower():
            repair = StreamRepair(self._signatures)
            headers = [*without(response.headers, {b"content-length", b"content-encoding"}), *dropped]
            return ConvertedResponse(inflated(response), repair.feed, repair.end, headers=headers)
        try:
            body = await body_of(response)
            body = await beside(len(body) >= LARGE, repair_completion, body, self._signatures)
        finally:
            response.close()
        headers = [*body_headers(response.headers, kind or b"application/json"), *dropped]
        return BytesResponse(body, status=response.status, headers=headers)

    async def _failed(self, response: UpstreamResponse, dropped: Sequence[str]) -> UpstreamResponse:
        return self._error(response, await error_text(response), dropped)

    def _error(self, response: UpstreamResponse, body: bytes, dropped: Sequence[str]) -> BytesResponse:
        unwrapped, delay = unwrap_error(body)
        kind = header(response.headers, b"content-type") or b"application/json"
        headers = [*body_headers(response.headers, kind), *dropped_header(dropped)]
        if delay is not None and header(headers, b"retry-after") is None:
            headers.append((b"Retry-After", b"%d" % -(-delay // 1)))  # whole seconds, rounded up
        status = 401 if response.status == 400 and is_bad_key(body) else response.status
        return BytesResponse(unwrapped, status=status, headers=headers)


@dataclass(frozen=True, slots=True)
class _Question:
    """What stays the same however often a request is repeated: its body, and how to send another one instead."""

    data: bytes
    chat: dict[str, Any]
    signatures: Signatures
    send: Callable[[bytes], Awaitable[UpstreamResponse]]


class _TriedAtGoogle(Tried):
    """A chat request with Google's repairs. `fresh`: without the signatures that we have kept."""

    def __init__(
        self, question: _Question, known: Lessons, edits: BodyEdits, response: UpstreamResponse, *, fresh: bool
    ) -> None:
        self._question = question
        self._known = known
        self._fresh = fresh
        self._refusal: bytes | None = None
        self.edits = edits
        self.response = response

    @classmethod
    async def sent(cls, question: _Question, known: Lessons, *, fresh: bool = False) -> Self:
        """The request as sent without what is `known` to be refused."""
        large = len(question.data) >= LARGE
        shaped = partial(adapt, question.chat, known, question.signatures, fresh_signatures=fresh)
        edits = await beside(large, shaped)
        response = await question.send(await beside(large, edits.edited, question.data))
        return cls(question, known, edits, response, fresh=fresh)

    async def refusal(self) -> bytes:
        """The body of an error, whose answer is closed."""
        if self._refusal is None:
            self._refusal = await error_text(self.response)
        return self._refusal

    async def lesson(self) -> Lesson | None:
        if self.response.status != 400:
            return None
        refusal = await self.refusal()
        lesson = lesson_from(400, unwrap_error(refusal)[0], self.edits.applied(self._question.chat))
        if lesson is not None and with_lesson(self._known, lesson) != self._known:
            return lesson
        if self._fresh or "messages" not in self._question.chat or not _BAD_SIGNATURE.search(_message_of(refusal)):
            return None
        self._fresh = True
        return Lesson()  # about these signatures, not about the model

    async def again(self, known: Lessons) -> Self | None:
        return await self.sent(self._question, known, fresh=self._fresh)


def _message_of(body: bytes) -> str:
    return str(error_in(400, unwrap_error(body)[0])["message"])


def _without_prefix(body: bytes) -> bytes:
    """A JSON body whose `model` lost its prefix; any other body unchanged."""
    try:
        model = parse_object(body).get("model")
    except ProxyError:
        return body  # not JSON, so it is not ours to change
    if not isinstance(model, str) or not model.startswith(PREFIX):
        return body
    return edit(body, {"model": orjson.dumps(model.removeprefix(PREFIX))})
