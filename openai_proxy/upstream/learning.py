"""Plain connections whose models refuse parameters: what is known is left out, what is refused now is learnt.

A model may also refuse the chat API, as a whole or for tools; then it is asked by another one.

Nothing of a request is looked at before a model of its connection has refused something; then only the touched members
of its body change. The same question is put again before one byte of an answer has gone to the client.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Protocol, runtime_checkable

from openai_proxy.dialects.base import Lesson, Lessons
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.lessons import MAX_LESSONS, ConnectionLessons, with_lesson

CHAT: Final = "/chat/completions"
REFUSALS: Final = frozenset({400, 404, 422})
"""Statuses of answers that may name a parameter."""

Send = Callable[[UpstreamRequest, str | None], Awaitable[UpstreamResponse]]


@runtime_checkable
class Reconsiders(Protocol):
    """A provider that can say whether a refusal was worth learning from, also of a request it did not send itself."""

    async def reconsider(
        self, request: UpstreamRequest, response: UpstreamResponse, key: str | None
    ) -> UpstreamResponse:
        """`response`, a refusal of `request`, or the answer to the question without what was refused."""
        ...


class Alternative(Protocol):
    """Another API of the same server."""

    @property
    def looks(self) -> bool:
        """True if requests must be looked at before anything was refused."""
        ...

    def wanted(self, chat: dict[str, Any]) -> bool:
        """True if `chat` is to be asked by it."""
        ...

    async def ask(self, request: UpstreamRequest, key: str | None, chat: dict[str, Any]) -> UpstreamResponse:
        """The answer to `chat`, the document of `request`, as a chat answer."""
        ...

    async def instead(
        self, refused: UpstreamResponse, request: UpstreamRequest, key: str | None, chat: dict[str, Any], lesson: Lesson
    ) -> UpstreamResponse:
        """The answer where chat has `refused` it, which taught the `lesson`; the refusal where there is none."""
        ...


class Learning:
    """Asks over `send`, and learns."""

    def __init__(self, lessons: ConnectionLessons, send: Send, alternative: Alternative | None = None) -> None:
        self._lessons = lessons
        self._send = send
        self._alternative = alternative

    async def ask(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """The answer to a chat request."""
        dropped: list[str] = []
        other = self._alternative
        looks = self._lessons or (other is not None and other.looks)
        if looks and (document := _document(request)) is not None:
            if other is not None and other.wanted(document):
                return await other.ask(request, key, document)
            request, dropped = _shaped(request, document, self._lessons.of(_model(document)))
        response = await self._send(request, key)
        if response.status in REFUSALS:
            return await self.reconsider(request, response, key, dropped)
        return _told(response, dropped)

    async def reconsider(
        self, request: UpstreamRequest, response: UpstreamResponse, key: str | None, dropped: list[str] | None = None
    ) -> UpstreamResponse:
        """See Reconsiders."""
        from openai_proxy.dialects.lessons import lesson_from
        from openai_proxy.upstream.refusals import Peeked

        dropped = dropped or []
        tried = Lessons()
        for _ in range(MAX_LESSONS):
            document = _document(request)
            if response.status not in REFUSALS or document is None:
                break
            peeked = Peeked(response)
            response = peeked
            lesson = lesson_from(peeked.status, await peeked.peek(), document)
            if lesson is None:
                break
            if lesson.api is not None or lesson.tools_api is not None:
                if self._alternative is not None:  # asking again by this API is of no use
                    response = await self._alternative.instead(peeked, request, key, document, lesson)
                    if response.status < 300 and tried != Lessons():
                        self._lessons.learn(_model(document), tried)
                break
            tried = with_lesson(tried, lesson)
            again, more = _shaped(request, document, tried)
            if again is request:
                break
            peeked.close()
            request, dropped = again, [*dropped, *more]
            response = await self._send(request, key)
            if response.status < 300:
                self._lessons.learn(_model(document), tried)
        return _told(response, dropped)


def _model(document: dict[str, Any]) -> str:
    return str(document.get("model"))


def _shaped(request: UpstreamRequest, document: dict[str, Any], lessons: Lesson) -> tuple[UpstreamRequest, list[str]]:
    """`request` as a model with these `lessons` takes it, itself if it is so already; what of it was left out."""
    from openai_proxy.dialects.chat.write_request import learnt
    from openai_proxy.protocols.json_members import edit

    edits = learnt(document, lessons)
    if not edits:
        return request, []
    assert isinstance(request.body, bytes)
    body = edit(request.body, edits.as_json(), edits.remove)
    return replace(request, body=body, length=None, document=None), edits.dropped


def _document(request: UpstreamRequest) -> dict[str, Any] | None:
    """The request's body; None if it cannot be read, or not be sent again."""
    from openai_proxy.protocols.json_members import parse_object

    if not isinstance(request.body, bytes) or any(name.lower() == b"content-encoding" for name, _ in request.headers):
        return None
    if request.document is not None:
        return request.document
    try:
        return parse_object(request.body)
    except ProxyError:
        return None


def _told(response: UpstreamResponse, dropped: list[str]) -> UpstreamResponse:
    if not dropped:
        return response
    from openai_proxy.upstream.translating import WithHeaders, dropped_header

    return WithHeaders(response, [*response.headers, *dropped_header(dropped)])
