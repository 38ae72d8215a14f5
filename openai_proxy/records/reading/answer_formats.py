"""Reads each API's answers, one event of a stream or a whole body, into a `RecordedAnswer`.

Nothing is required: an event of another shape adds nothing. Chat answers are collected without becoming chunks; those
of other APIs become chat answers by the readers of their dialects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from openai_proxy.dialects import CLIENT_DIALECTS, client_dialect
from openai_proxy.dialects.base import Chunk, JsonReader, OutgoingRequest, ReportedValues
from openai_proxy.dialects.chat.collect import chat_event, chat_whole, collect_common, completion_event
from openai_proxy.endpoints import Endpoint
from openai_proxy.errors import UpstreamError, UpstreamInvalid
from openai_proxy.records.reading.answer import RecordedAnswer


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """One API. `event` folds one event of its stream, `whole` its JSON body. `chat`: it gets a conversation file."""

    event: Callable[[RecordedAnswer, Any], None]
    whole: Callable[[RecordedAnswer, Any], None]
    chat: bool = True
    bulk: bool = False  # events of the chat shape, which the stream reader may fold by template


# --- APIs other than chat, by their dialect ---------------------------------------------------------------------------


def dialect_event(name: str, answer: RecordedAnswer, event: Any) -> None:
    """One event, or line, as chunks from the reader of the dialect `name`."""
    reader = answer.reader or _reader(name, answer)
    chunks: list[Chunk] = []
    try:
        reader.read(event, chunks)
    except UpstreamInvalid:
        pass
    for chunk in chunks:
        if "error" in chunk:
            answer.error = _own_error(event)
        else:
            chat_event(answer, chunk)
    _reported_values(answer, reader.own)


def dialect_whole(name: str, answer: RecordedAnswer, body: Any) -> None:
    """A whole answer, as read by the reader of the dialect `name`."""
    reader = answer.reader or _reader(name, answer)
    try:
        completion = reader.completion(body)
    except UpstreamError:
        return
    if "error" in completion:
        answer.error = _own_error(body)
    else:
        chat_whole(answer, completion)
    _reported_values(answer, reader.own)


def _reader(name: str, answer: RecordedAnswer) -> JsonReader:
    reader = client_dialect(name).read_answer(OutgoingRequest("", {"model": ""}))
    assert isinstance(reader, JsonReader)
    answer.reader = reader
    return reader


def _reported_values(answer: RecordedAnswer, own: ReportedValues) -> None:
    """A record has the id, the finish and the counts in the API's own terms, not in the chat API's."""
    answer.id = own.id if isinstance(own.id, str) else None
    answer.finish_reason = str(own.finish) if own.finish else None
    answer.usage = own.usage if own.usage and isinstance(own.usage, dict) else None


def _own_error(document: Any) -> Any:
    """The error as the API reports it; None if it reports none, as for a response that is still being generated."""
    if isinstance(document, list):
        return next((error for entry in document if (error := _own_error(entry)) is not None), None)
    if not isinstance(document, dict):
        return None
    response = document.get("response")  # in the last event of the Responses API
    error = document.get("error") or (response.get("error") if isinstance(response, dict) else None)
    return error or (document if document.get("type") == "error" else None)


def ollama_usage(answer: RecordedAnswer, body: Any) -> None:
    """Embeddings of Ollama's API: their counts."""
    from openai_proxy.dialects.ollama.read_answer import counts_in

    answer.usage = counts_in(body)


# --- everything else that reports usage -------------------------------------------------------------------------


def usage_only(answer: RecordedAnswer, body: Any) -> None:
    """Embeddings, images, transcriptions: only their usage is read."""
    if isinstance(body, dict):
        collect_common(answer, body)


CHAT: Final = AnswerFormat(chat_event, chat_whole, bulk=True)
METERED: Final = AnswerFormat(usage_only, usage_only, chat=False)
"""Any other path: no conversation, and only the usage of its answer."""
_OLLAMA_EMBEDDINGS: Final = AnswerFormat(ollama_usage, ollama_usage, chat=False)
_COMPLETIONS: Final = AnswerFormat(completion_event, completion_event)
_TALK: Final = {
    name: AnswerFormat(partial(dialect_event, name), partial(dialect_whole, name)) for name in CLIENT_DIALECTS
} | {"chat": CHAT}


def format_of(endpoint: Endpoint) -> AnswerFormat:
    """How the answers of `endpoint` are read; METERED if only their usage is."""
    if endpoint.generates and endpoint.dialect:
        return _TALK[endpoint.dialect]
    if endpoint.path == "/completions":
        return _COMPLETIONS
    return _OLLAMA_EMBEDDINGS if endpoint.dialect == "ollama" else METERED
