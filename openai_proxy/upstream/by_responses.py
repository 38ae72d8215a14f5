"""Using the Responses API for a model of an `openai` connection that supports no other.

api: chat         never
api: responses    always
api: auto         if the model's error says so, or the model is known to require it at OpenAI
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from openai_proxy.dialects.base import Lesson
from openai_proxy.exchange import UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.lessons import ConnectionLessons

if TYPE_CHECKING:  # imported with the first such model
    from openai_proxy.dialects.responses.memory import ReasoningMemory
    from openai_proxy.upstream.translator import Translator

RESPONSES: Final = "responses"
RESPONSES_PATH: Final = "/responses"
_UNREADABLE: Final = "invalid_encrypted_content"
_UNPAIRED: Final = "without its required following item"

Send = Callable[[UpstreamRequest, str | None], Awaitable[UpstreamResponse]]


class ByResponses:
    """See learning.Alternative. `at_openai`: the server is OpenAI's own, whose models are known by name."""

    def __init__(self, name: str, api: str, send: Send, lessons: ConnectionLessons, *, at_openai: bool = False) -> None:
        self._name = name
        self._api = api
        self._send = send
        self._lessons = lessons
        self._by_name = at_openai and api == "auto"
        self.looks = api == RESPONSES or self._by_name
        self._made: tuple[ReasoningMemory, Translator] | None = None

    def watches(self, model: str | None) -> bool:
        """True if requests for `model` must be examined although nothing was learnt about it."""
        return self._api == RESPONSES or self._known(str(model)) is not None

    def wanted(self, chat: dict[str, Any]) -> bool:
        if self._api != "auto" or self._lessons.lacks(RESPONSES_PATH):
            return self._api == RESPONSES
        from openai_proxy.dialects.responses.needed import needed

        model = str(chat.get("model"))
        known = self._known(model)
        return needed(chat, self._lessons.of(model)) or (known is not None and needed(chat, known))

    async def ask(self, request: UpstreamRequest, key: str | None, chat: dict[str, Any]) -> UpstreamResponse:
        """See Alternative. A request without an equivalent gets an answer with status 400."""
        from openai_proxy.upstream.inprocess import refusal_as_answer

        memory, translator = self._made or self._make()

        async def send(question: UpstreamRequest) -> UpstreamResponse:
            return await self._send(question, key)

        async def ask() -> UpstreamResponse:
            answer = await translator.ask(request, chat, send)
            if answer.status == 400:
                answer, error = await _with_error(answer)
                if error.get("code") == _UNREADABLE or _UNPAIRED in str(error.get("message")):
                    from openai_proxy.dialects.responses.memory import without_reasoning

                    answer.close()
                    memory.forget(chat)  # it was encrypted for another key, or another model
                    answer = await translator.ask(request, without_reasoning(chat), send)
            return answer

        return await refusal_as_answer(ask())

    async def instead(
        self, refused: UpstreamResponse, request: UpstreamRequest, key: str | None, chat: dict[str, Any], lesson: Lesson
    ) -> UpstreamResponse:
        if self._api != "auto" or self._lessons.lacks(RESPONSES_PATH):
            return refused
        from openai_proxy.dialects.responses.needed import is_missing

        better = await self.ask(request, key, chat)
        if better.status < 400:
            self._lessons.learn(str(chat.get("model")), lesson)
        else:
            better, error = await _with_error(better)
            if is_missing(better.status, error):
                self._lessons.learn_lack(RESPONSES_PATH)
                better.close()
                return refused  # it is more specific
        refused.close()
        return better

    def _known(self, model: str) -> Lesson | None:
        if not self._by_name:
            return None
        from openai_proxy.dialects.responses.needed import known_by_name

        return known_by_name(model)

    def _make(self) -> "tuple[ReasoningMemory, Translator]":
        from openai_proxy.dialects.responses.dialect import ResponsesDialect
        from openai_proxy.dialects.responses.memory import ReasoningMemory
        from openai_proxy.upstream.translator import Translator

        memory = ReasoningMemory()
        self._made = memory, Translator(self._name, ResponsesDialect(memory), self._lessons)
        return self._made


async def _with_error(answer: UpstreamResponse) -> tuple[UpstreamResponse, dict[str, Any]]:
    """An error answer, and the chat API's error object in it."""
    from openai_proxy.dialects import json_text
    from openai_proxy.dialects.chat.errors import error_of
    from openai_proxy.upstream.refusals import PeekedResponse

    peeked = PeekedResponse(answer)
    try:
        error = error_of(json_text.loads(await peeked.peek()), answer.status)
    except ValueError:
        error = None
    return peeked, error or {}
