"""The chat API as a dialect: the pivot itself, so requests need no translation."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Dialect, IncomingRequest, Lessons, OutgoingRequest
from openai_proxy.dialects.chat.read_answer import ChatReader
from openai_proxy.dialects.chat.write_answer import ChatWriter
from openai_proxy.dialects.chat.write_request import learnt
from openai_proxy.endpoints import CHAT_PATH


class ChatDialect:
    """See base.Dialect."""

    name: ClassVar[str] = "chat"

    def read_request(self, path: str, document: dict[str, Any]) -> IncomingRequest:
        return IncomingRequest(document)

    def write_request(self, chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
        edits = learnt(chat, lessons)
        return OutgoingRequest(CHAT_PATH, edits.applied(chat) if edits else chat, tuple(edits.dropped))

    def read_answer(self, request: OutgoingRequest) -> ChatReader:
        return ChatReader()

    def write_answer(self, request: IncomingRequest, model: str) -> ChatWriter:
        return ChatWriter(model, include_usage=asks_for_usage(request.chat))

    def error_body(self, status: int, error: Mapping[str, Any]) -> bytes:
        return json_text.dumps({"error": error})


def asks_for_usage(chat: Mapping[str, Any]) -> bool:
    """True if a stream for `chat` should report its usage."""
    options = chat.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


DIALECT: Final[Dialect] = ChatDialect()
