"""Gemini's API as a client dialect."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar, Final

from openai_proxy.dialects.base import AnswerWriter, ClientDialect, IncomingRequest, OutgoingRequest
from openai_proxy.dialects.gemini import embeddings, paths, read_request, write_answer
from openai_proxy.dialects.gemini.errors import error_body
from openai_proxy.dialects.gemini.read_answer import GeminiReader
from openai_proxy.dialects.odd_input import understood
from openai_proxy.errors import NotFound


class GeminiDialect:
    """See base.ClientDialect. Paths are `/models/{model}:{verb}` with a query: `alt=sse` selects the stream's form."""

    name: ClassVar[str] = "gemini"

    def read_request(self, path: str, document: dict[str, Any]) -> IncomingRequest:
        """Parse a client's request. Raises BadRequest, and NotFound for a path that is not one of its calls."""
        call = paths.parse(path)
        if call is None:
            raise NotFound("There is nothing at this path.")
        return understood(partial(self._read, call), document)

    @staticmethod
    def _read(call: paths.GeminiPath, document: dict[str, Any]) -> IncomingRequest:
        if call.verb == "countTokens":
            return read_request.read_count(call.model, document)
        if call.verb == "embedContent":
            return embeddings.read_embed(call.model, document)
        if call.verb == "batchEmbedContents":
            return embeddings.read_batch(call.model, document)
        stream = call.verb == "streamGenerateContent"
        return read_request.read_generate(call.model, document, stream=stream, sse=call.sse)

    def read_answer(self, request: OutgoingRequest) -> GeminiReader:
        """A reader for the answer to `request`."""
        return GeminiReader()

    def write_answer(self, request: IncomingRequest, model: str) -> AnswerWriter:
        """A writer for the answer to `request`."""
        details = request.details
        if isinstance(details, embeddings.GeminiEmbeddingDetails):
            return embeddings.GeminiEmbeddingsWriter(details)
        return write_answer.GeminiWriter(details, model)

    def error_body(self, status: int, error: Mapping[str, Any]) -> bytes:
        """The body of an error answer."""
        return error_body(status, error)


DIALECT: Final[ClientDialect] = GeminiDialect()
