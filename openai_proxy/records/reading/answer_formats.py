"""Reads each API's answers, one event of a stream or a whole body, into a `RecordedAnswer`.

Nothing is required: an event of another shape adds nothing. Chat answers are read here, since a stream's events are
folded in bulk and the text that is kept is bounded; those of other APIs become chat answers by the readers of their
dialects. https://platform.openai.com/docs/api-reference/chat/streaming, …/completions
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from openai_proxy.dialects import CLIENT_DIALECTS, client_dialect
from openai_proxy.dialects.base import Chunk, JsonReader, OutgoingRequest, ReportedValues
from openai_proxy.dialects.chat.call_places import argument_text
from openai_proxy.dialects.chat.content import text_of
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


def _common(answer: RecordedAnswer, event: dict[str, Any]) -> None:
    usage = event.get("usage")
    if not usage and isinstance(event.get("x_groq"), dict):
        usage = event["x_groq"].get("usage")  # Groq's streams: https://console.groq.com/docs/text-chat
    if usage and isinstance(usage, dict):
        answer.usage = usage
    error = event.get("error")
    if error:
        answer.error = error
    model = event.get("model")
    if model and answer.model is None and isinstance(model, str):
        answer.model = model
        if isinstance(event.get("id"), str):
            answer.id = event["id"]


# --- /chat/completions ------------------------------------------------------------------------------------------


def chat_event(answer: RecordedAnswer, event: Any) -> None:
    """One chat.completion.chunk. Any of them may carry usage (null or not), and a finish may come twice."""
    try:
        choices = event["choices"]
        if event.get("usage") or answer.model is None or not choices:
            _common(answer, event)
        for choice in choices:
            delta = choice.get("delta")
            if delta:
                text = delta.get("content")
                if text:
                    _add_content(answer, text)
                if len(delta) > 1 or not text:
                    _rest_of_delta(answer, choice.get("index") or 0, delta)
            finish = choice.get("finish_reason")
            if finish:
                answer.finish_reason = str(finish)
                _common(answer, event)
    except (KeyError, TypeError, AttributeError):
        # Not a chunk: an error event, or something unknown.
        if isinstance(event, dict):
            _common(answer, event)


def _add_content(answer: RecordedAnswer, content: Any) -> None:
    if isinstance(content, str):
        answer.add_text(content)
    else:
        text, thought = text_of(content)  # a list of parts, as Mistral's thinking models send it
        answer.add_text(text)
        answer.add_reasoning(thought)


def _rest_of_delta(answer: RecordedAnswer, choice: int, delta: dict[str, Any]) -> None:
    thought = delta.get("reasoning_content") or delta.get("reasoning")
    if thought and isinstance(thought, str):
        answer.add_reasoning(thought)
    refusal = delta.get("refusal")
    if refusal and isinstance(refusal, str):
        answer.add_text(refusal)
    for call in delta.get("tool_calls") or ():
        _call_delta(answer, choice, call)
    legacy = delta.get("function_call")
    if legacy:
        _call_delta(answer, choice, {"index": 0, "function": legacy})


def _call_delta(answer: RecordedAnswer, choice: int, call: dict[str, Any]) -> None:
    known = answer.chat_call(choice, call)
    function = call.get("function") or call.get("custom") or {}
    text = argument_text(function.get("arguments") or function.get("input"))
    if text and (text != "null" or known["arguments"]):
        answer.add_arguments(known, text)


def chat_whole(answer: RecordedAnswer, body: Any) -> None:
    """A chat.completion, whose messages are treated as deltas."""
    if not isinstance(body, dict):
        return
    _common(answer, body)
    choices = body.get("choices")
    for place, choice in enumerate(choices if isinstance(choices, list) else ()):
        try:
            message = choice["message"]
            text = message.get("content")
            if text:
                _add_content(answer, text)
            calls = message.get("tool_calls")
            if calls:
                message = {**message, "tool_calls": [{**call, "index": n} for n, call in enumerate(calls)]}
            _rest_of_delta(answer, place, message)
            if choice.get("finish_reason"):
                answer.finish_reason = str(choice["finish_reason"])
        except (KeyError, TypeError, AttributeError):
            answer.malformed += 1


# --- /completions -----------------------------------------------------------------------------------------------


def completion_event(answer: RecordedAnswer, event: Any) -> None:
    """One text_completion, whole or partial: both have the text in the same place."""
    if not isinstance(event, dict):
        return
    _common(answer, event)
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            if isinstance(choice.get("text"), str):
                answer.add_text(choice["text"])
            if choice.get("finish_reason"):
                answer.finish_reason = str(choice["finish_reason"])


# --- every other API, by its dialect ----------------------------------------------------------------------------


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
        _common(answer, body)


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
