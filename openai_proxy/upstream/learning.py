"""Plain connections whose models refuse parameters: known refusals are avoided, new ones are learnt.

A model may also refuse the chat API, in general or for tools; then another API is used.

Requests are not examined until a model of their connection has refused something; then only the affected members of the
body change. The retry happens before any byte of an answer has been sent to the client.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, Protocol, Self, runtime_checkable

from openai_proxy.dialects.base import Lesson, Lessons
from openai_proxy.errors import ProxyError
from openai_proxy.exchange import UpstreamRequest, UpstreamResponse
from openai_proxy.tasks import beside
from openai_proxy.upstream.lessons import ConnectionLessons
from openai_proxy.upstream.reconsidering import Tried, reconsidered

REFUSALS: Final = frozenset({400, 404, 422})
"""Statuses of answers that may name a parameter."""

Send = Callable[[UpstreamRequest, str | None], Awaitable[UpstreamResponse]]


@runtime_checkable
class LearnsFromRefusals(Protocol):
    """A provider that can learn from a refusal, even of a request that it did not send itself."""

    async def reconsider(
        self, request: UpstreamRequest, response: UpstreamResponse, key: str | None
    ) -> UpstreamResponse:
        """`response`, a refusal of `request`, or the answer to a retry without what was refused."""
        ...


class Alternative(Protocol):
    """Another API of the same server."""

    @property
    def looks(self) -> bool:
        """True if requests must be examined before anything was refused."""
        ...

    def wanted(self, chat: dict[str, Any]) -> bool:
        """True if `chat` must be sent by this API."""
        ...

    async def ask(self, request: UpstreamRequest, key: str | None, chat: dict[str, Any]) -> UpstreamResponse:
        """The answer to `chat`, the document of `request`, as a chat answer."""
        ...

    async def instead(
        self, refused: UpstreamResponse, request: UpstreamRequest, key: str | None, chat: dict[str, Any], lesson: Lesson
    ) -> UpstreamResponse:
        """The answer by this API, after chat `refused` the request, which taught the `lesson`; else the refusal."""
        ...


class Learning:
    """Sends requests over `send`, and learns."""

    def __init__(self, lessons: ConnectionLessons, send: Send, alternative: Alternative | None = None) -> None:
        self._lessons = lessons
        self._send = send
        self._alternative = alternative

    async def ask(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """The answer to a chat request."""
        dropped: list[str] = []
        other = self._alternative
        looks = self._lessons or (other is not None and other.looks)
        if looks and (document := await _document(request)) is not None:
            if other is not None and other.wanted(document):
                return await other.ask(request, key, document)
            request, dropped = await beside(
                request.large, _shaped, request, document, self._lessons.of(_model(document))
            )
        response = await self._send(request, key)
        if response.status in REFUSALS:
            return await self.reconsider(request, response, key, dropped)
        return _with_dropped(response, dropped)

    async def reconsider(
        self, request: UpstreamRequest, response: UpstreamResponse, key: str | None, dropped: list[str] | None = None
    ) -> UpstreamResponse:
        """See LearnsFromRefusals."""
        document = await _document(request)
        if document is None:
            return _with_dropped(response, dropped or [])
        first = _TriedChat(self._send, self._alternative, request, key, response, dropped or [])
        last = await reconsidered(first, self._lessons, _model(document), Lessons())
        return _with_dropped(last.response, last.dropped)


class _TriedChat(Tried):
    """A chat request sent as it is, but for the members that were refused."""

    def __init__(
        self,
        send: Send,
        alternative: Alternative | None,
        request: UpstreamRequest,
        key: str | None,
        response: UpstreamResponse,
        dropped: list[str],
    ) -> None:
        self._send = send
        self._alternative = alternative
        self._request = request
        self._key = key
        self.response = response
        self.dropped = dropped

    async def lesson(self) -> Lesson | None:
        from openai_proxy.dialects.lessons import lesson_from
        from openai_proxy.upstream.refusals import PeekedResponse

        document = await _document(self._request)
        if self.response.status not in REFUSALS or document is None:
            return None
        self.response = peeked = PeekedResponse(self.response)
        lesson = lesson_from(peeked.status, await peeked.peek(), document)
        if lesson is None or (lesson.api is None and lesson.tools_api is None):
            return lesson
        if self._alternative is not None:  # retrying by this API is pointless
            self.response = await self._alternative.instead(peeked, self._request, self._key, document, lesson)
        return None

    async def again(self, known: Lessons) -> Self | None:
        document = await _document(self._request)
        assert document is not None  # it taught a lesson
        request, dropped = await beside(self._request.large, _shaped, self._request, document, known)
        if request is self._request:
            return None
        self.response.close()
        response = await self._send(request, self._key)
        return type(self)(self._send, self._alternative, request, self._key, response, [*self.dropped, *dropped])


def _model(document: dict[str, Any]) -> str:
    return str(document.get("model"))


def _shaped(request: UpstreamRequest, document: dict[str, Any], lessons: Lesson) -> tuple[UpstreamRequest, list[str]]:
    """`request` adapted to a model with these `lessons`, itself if nothing changes; and what was left out."""
    from openai_proxy.dialects.chat.write_request import learnt

    edits = learnt(document, lessons)
    if not edits:
        return request, []
    assert isinstance(request.body, bytes)
    return replace(request, body=edits.edited(request.body), length=None, document=None), edits.dropped


async def _document(request: UpstreamRequest) -> dict[str, Any] | None:
    """The request's body; None if it cannot be read, or not be sent again."""
    from openai_proxy.upstream.translating import parsed

    if not isinstance(request.body, bytes) or any(name.lower() == b"content-encoding" for name, _ in request.headers):
        return None
    if request.document is not None:
        return request.document
    try:
        return await parsed(request.body)
    except ProxyError:
        return None


def _with_dropped(response: UpstreamResponse, dropped: list[str]) -> UpstreamResponse:
    if not dropped:
        return response
    from openai_proxy.upstream.translating import ResponseWithHeaders, dropped_header

    return ResponseWithHeaders(response, [*response.headers, *dropped_header(dropped)])
