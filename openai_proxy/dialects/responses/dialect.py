"""The Responses API as a dialect."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Dialect, IncomingRequest, Lesson, Lessons, OutgoingRequest
from openai_proxy.dialects.odd_input import in_own_format
from openai_proxy.dialects.responses.memory import ReasoningMemory
from openai_proxy.dialects.responses.read_answer import ResponsesReader
from openai_proxy.dialects.responses.read_request import read_request
from openai_proxy.dialects.responses.write_answer import ResponsesWriter
from openai_proxy.dialects.responses.write_request import write_request

_NAMES: Final = {
    "messages": "input", "max_tokens": "max_output_tokens", "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format", "reasoning_effort": "reasoning.effort", "verbosity": "text.verbosity",
}  # fmt: skip
"""Chat API members that have another name here."""


class ResponsesDialect:
    """See base.Dialect. With a `memory` reasoning is returned to the provider even if the client has dropped it."""

    name: ClassVar[str] = "responses"

    def __init__(self, memory: ReasoningMemory | None = None) -> None:
        self._memory = memory

    def read_request(self, path: str, document: dict[str, Any]) -> IncomingRequest:
        """See base.Dialect. Raises NotFound for an unresolved `item_reference`."""
        return read_request(document)

    def write_request(self, chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
        return write_request(chat if self._memory is None else self._memory.restored(chat), lessons)

    def read_answer(self, request: OutgoingRequest) -> ResponsesReader:
        return ResponsesReader(str(request.body.get("model")), self._memory)

    def write_answer(self, request: IncomingRequest, model: str) -> ResponsesWriter:
        return ResponsesWriter(request.details, model)

    def error_body(self, status: int, error: Mapping[str, Any]) -> bytes:
        """See base.Dialect: the same shape as the chat API's."""
        return json_text.dumps({"error": in_own_format(error, _NAMES)})

    def lesson(self, request: OutgoingRequest, status: int, error: Mapping[str, Any]) -> Lesson | None:
        """See base.LearningDialect: settings of ours, or the owner's, that some models refuse in their own words."""
        message = str(error.get("message"))
        if status != 400:
            return None
        if "include" in request.body and message.startswith("Encrypted content is not supported"):
            return Lesson(refused=frozenset({"include"}))
        if "must be verified to generate reasoning summaries" in message:
            return Lesson(refused=frozenset({"reasoning.summary"}))
        return None


DIALECT: Final[Dialect] = ResponsesDialect()
