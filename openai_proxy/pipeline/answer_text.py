"""The text of an answer, read from what the record was told: with it a conversation without a name is found again."""

from openai_proxy.dialects import DIALECTS, dialect
from openai_proxy.dialects.base import OutgoingRequest
from openai_proxy.dialects.chat.content import text_of
from openai_proxy.endpoints import Endpoint
from openai_proxy.errors import UpstreamError
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.body import BodyReader
from openai_proxy.records.reading.other_formats import format_of
from openai_proxy.records.recording.entry import Entry

MAX = 4 << 20
"""Bytes of an answer that are kept for this; a longer one cannot be matched, and its session ends with it."""


def listen(entry: Entry) -> None:
    """Keep what is recorded of the answer until it is over."""
    entry.limit = MAX


def heard(entry: Entry, endpoint: Endpoint) -> str:
    """The answer's text as a client would quote it; without text, the names of the tools it calls.

    An answer that cannot be read, or broke off, has none.
    """
    if endpoint.dialect not in DIALECTS:
        return _as_recorded(entry, endpoint)
    reader = dialect(endpoint.dialect).read_answer(OutgoingRequest("", {"model": ""}))
    try:
        completion = reader.whole(b"".join(entry.parts))
        message = completion["choices"][0]["message"]
    except (UpstreamError, KeyError, IndexError):
        return ""
    text, _ = text_of(message.get("content"))
    calls = message.get("tool_calls") or ()
    return text or "\x1f".join(str(call["function"]["name"]) for call in calls if "function" in call)


def _as_recorded(entry: Entry, endpoint: Endpoint) -> str:
    """The same for an API that only clients speak."""
    body = b"".join(entry.parts)
    answer = RecordedAnswer()
    reader = BodyReader(answer, format_of(endpoint), _EVENTS if body.startswith(b"data:") else _JSON, "")
    reader.feed(body)
    reader.finish()
    return answer.content or "\x1f".join(call["function"]["name"] for call in answer.tool_calls)


_EVENTS, _JSON = "text/event-stream", "application/json"
