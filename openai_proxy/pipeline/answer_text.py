"""The text of an answer, read from what the record was told: with it a conversation without a name is found again."""

from openai_proxy.dialects import DIALECTS, dialect
from openai_proxy.dialects.base import OutgoingRequest
from openai_proxy.dialects.chat.content import text_of
from openai_proxy.errors import UpstreamError
from openai_proxy.records.recording.entry import Entry

MAX = 4 << 20
"""Bytes of an answer that are kept for this; a longer one cannot be matched, and its session ends with it."""


def listen(entry: Entry) -> None:
    """Keep what is recorded of the answer until it is over."""
    entry.limit = MAX


def heard(entry: Entry, language: str) -> str:
    """The answer's text as a client would quote it; without text, the names of the tools it calls.

    `language` is the dialect it is written in. An answer that cannot be read, or broke off, has none.
    """
    if language not in DIALECTS:
        return ""
    reader = dialect(language).read_answer(OutgoingRequest("", {"model": ""}))
    try:
        completion = reader.whole(b"".join(entry.parts))
        message = completion["choices"][0]["message"]
    except (UpstreamError, KeyError, IndexError):
        return ""
    text, _ = text_of(message.get("content"))
    calls = message.get("tool_calls") or ()
    return text or "\x1f".join(str(call["function"]["name"]) for call in calls if "function" in call)
