"""Ollama's API as a dialect."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from openai_proxy.dialects.base import (
    AnswerReader,
    AnswerWriter,
    Dialect,
    IncomingRequest,
    Lesson,
    Lessons,
    OutgoingRequest,
)
from openai_proxy.dialects.odd_input import understood
from openai_proxy.dialects.ollama import embeddings, read_answer, read_request, write_answer, write_request
from openai_proxy.dialects.ollama.write_answer import OllamaDetails

_READERS: Final = {
    "/api/chat": read_request.read_chat,
    "/api/generate": read_request.read_generate,
    "/api/embed": embeddings.read_embed,
    "/api/embeddings": embeddings.read_embeddings,
}


class OllamaDialect:
    """See base.Dialect. Paths are those of Ollama's API, from its root."""

    name: ClassVar[str] = "ollama"

    def read_request(self, path: str, document: dict[str, Any]) -> IncomingRequest:
        """Parse a client's request to one of the four endpoints. Raises BadRequest."""
        return understood(_READERS[path], document)

    def write_request(self, chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
        """`chat` for /api/chat. Raises BadRequest."""
        return understood(lambda chat: write_request.write(chat, lessons), chat)

    def read_answer(self, request: OutgoingRequest) -> AnswerReader:
        """A reader for the answer to `request`."""
        return read_answer.OllamaReader(str(request.body["model"]))

    def write_answer(self, request: IncomingRequest, model: str) -> AnswerWriter:
        """A writer for the answer to `request`."""
        details = request.details
        if isinstance(details, OllamaDetails):
            return write_answer.OllamaWriter(details, model)
        return embeddings.OllamaEmbeddingsWriter(details, model)

    def error_body(self, status: int, error: Mapping[str, Any]) -> bytes:
        """The body of an error answer."""
        return write_answer.error_body(error)

    def lesson(self, request: OutgoingRequest, status: int, error: Mapping[str, Any]) -> Lesson | None:
        """See base.LearningDialect."""
        return write_request.lesson(status, str(error.get("message")))


DIALECT: Final[Dialect] = OllamaDialect()
