"""The text of an answer, read from its record: it identifies a conversation without an id."""

from openai_proxy.dialects import client_dialect
from openai_proxy.dialects.base import OutgoingRequest
from openai_proxy.dialects.chat.content import text_of
from openai_proxy.dialects.chat.conversation_id import call_names
from openai_proxy.endpoints import Endpoint
from openai_proxy.errors import UpstreamError
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.answer_formats import format_of
from openai_proxy.records.reading.body import BodyReader
from openai_proxy.records.recording.entry import Entry


def text_of_answer(entry: Entry, endpoint: Endpoint) -> str:
    """The answer's text as a client would return it; without text, the names of the tools that it calls.

    Empty for an answer that cannot be read, or broke off.
    """
    body = b"".join(entry.parts)
    if not endpoint.dialect:
        return _completed(body, endpoint)
    reader = client_dialect(endpoint.dialect).read_answer(OutgoingRequest("", {"model": ""}))
    try:
        message = reader.whole(body)["choices"][0]["message"]
    except (UpstreamError, KeyError, IndexError):
        return ""
    text, _ = text_of(message.get("content"))
    return text or call_names(message.get("tool_calls"))


def _completed(body: bytes, endpoint: Endpoint) -> str:
    """The text of an answer of /completions."""
    answer = RecordedAnswer()
    reader = BodyReader(answer, format_of(endpoint), "text/event-stream" if body.startswith(b"data:") else "", "")
    reader.feed(body)
    reader.finish()
    return answer.content
