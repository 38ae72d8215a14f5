"""The Responses API as a dialect."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Dialect, IncomingRequest, Lesson, Lessons, OutgoingRequest
from openai_proxy.dialects.responses.memory import ReasoningMemory
from openai_proxy.dialects.responses.read_answer import ResponsesReader
from openai_proxy.dialects.responses.read_request import read_request
from openai_proxy.dialects.responses.write_answer import ResponsesWriter
from openai_proxy.dialects.responses.write_request import write_request


class ResponsesDialect:
    """See base.Dialect. With a `memory` reasoning goes back to the provider even where the client has dropped it."""

    name: ClassVar[str] = "responses"

    def __init__(self, memory: ReasoningMemory | None = None) -> None:
        self._memory = memory

    def read_request(self, path: str, document: dict[str, Any]) -> IncomingRequest:
        """See base.Dialect. Raises NotFound for an `item_reference` that nobody has resolved."""
        return read_request(document)

    def write_request(self, chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
        """See base.Dialect."""
        return write_request(chat if self._memory is None else self._memory.restored(chat), lessons)

    def read_answer(self, request: OutgoingRequest) -> ResponsesReader:
        """See base.Dialect."""
        return ResponsesReader(str(request.body.get("model")), self._memory)

    def write_answer(self, request: IncomingRequest, model: str) -> ResponsesWriter:
        """See base.Dialect."""
        return ResponsesWriter(request.details, model)

    def error_body(self, status: int, error: Mapping[str, Any]) -> bytes:
        """See base.Dialect: the same shape as the chat API's."""
        return json_text.dumps({"error": dict(error)})

    def lesson(self, request: OutgoingRequest, status: int, error: Mapping[str, Any]) -> Lesson | None:
        """See base.Teaching: wishes of ours, or of the owner, that some models refuse in words of their own."""
        message = str(error.get("message"))
        if status != 400:
            return None
        if "include" in request.body and message.startswith("Encrypted content is not supported"):
            return Lesson(refused=frozenset({"include"}))
        if "must be verified to generate reasoning summaries" in message:
            return Lesson(refused=frozenset({"reasoning.summary"}))
        return None


DIALECT: Final[Dialect] = ResponsesDialect()
