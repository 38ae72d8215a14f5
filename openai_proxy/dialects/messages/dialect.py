"""The Messages API as a dialect."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.base import Dialect, IncomingRequest, Lesson, Lessons, OutgoingRequest
from openai_proxy.dialects.estimate import estimate_tokens
from openai_proxy.dialects.messages.capabilities import UNKNOWN, learn_limit, learn_refused, read_capabilities
from openai_proxy.dialects.messages.read_answer import MessagesReader
from openai_proxy.dialects.messages.read_request import to_chat
from openai_proxy.dialects.messages.write_answer import MessagesWriter, error_object
from openai_proxy.dialects.messages.write_request import to_messages
from openai_proxy.dialects.tool_names import ToolNames

STREAM_ABOVE: Final = 21_333
"""With this many max_tokens or more, an answer may take ten minutes, so it is streamed even for a non-streaming client.

The vendor's SDK uses the same threshold (128,000 tokens are assumed to need an hour).
"""


@dataclass(frozen=True, slots=True)
class MessagesDetails:
    """What the answer's writer needs to know of the request."""

    input_tokens: int  # an estimate
    thoughts: bool = True  # whether thinking is shown
    names: ToolNames = field(default_factory=ToolNames)  # of the client's tools


class MessagesDialect:
    """See base.Dialect."""

    name: ClassVar[str] = "messages"

    def read_request(self, path: str, document: dict[str, Any]) -> IncomingRequest:
        thinking = document.get("thinking")
        omits = isinstance(thinking, dict) and thinking.get("display") == "omitted"
        names = ToolNames()
        details = MessagesDetails(estimate_tokens(document), thoughts=not omits, names=names)
        return replace(to_chat(document, names), details=details)

    def write_request(self, chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
        capabilities = UNKNOWN if lessons.entry is None else read_capabilities(lessons.entry)
        if lessons.max_output_tokens is not None:
            capabilities = replace(capabilities, max_tokens=lessons.max_output_tokens)
        made = to_messages(chat, capabilities, lessons.refused)
        if made.body["max_tokens"] > STREAM_ABOVE:
            made.body["stream"] = True
        betas = made.body.pop("betas", None)
        headers = ((b"anthropic-beta", ",".join(map(str, betas)).encode()),) if betas else ()
        return OutgoingRequest("/messages", made.body, made.dropped, headers, details=limited(chat))

    def read_answer(self, request: OutgoingRequest) -> MessagesReader:
        return MessagesReader(request.body["model"])

    def write_answer(self, request: IncomingRequest, model: str) -> MessagesWriter:
        details = request.details or MessagesDetails(0)
        return MessagesWriter(model, input_tokens=details.input_tokens, thoughts=details.thoughts, names=details.names)

    def error_body(self, status: int, error: Mapping[str, Any]) -> bytes:
        return json_text.dumps(error_object(error, status))

    def lesson(self, request: OutgoingRequest, status: int, error: Mapping[str, Any]) -> Lesson | None:
        """See base.LearningDialect."""
        message = str(error.get("message"))
        if status != 400:
            return None
        refused = learn_refused(message, request.body)
        limit = None if request.details else learn_limit(message)
        return Lesson(refused=refused, max_output_tokens=limit) if refused or limit is not None else None


def limited(chat: Mapping[str, Any]) -> bool:
    """Whether the caller itself limits the output."""
    return chat.get("max_tokens") is not None or chat.get("max_completion_tokens") is not None


DIALECT: Final[Dialect] = MessagesDialect()
