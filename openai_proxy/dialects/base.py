"""The interface of a dialect: four verbs between one API's wire format and the pivot.

    read_request    a client's document       -> a chat request, and what was left out
    write_request   a chat request            -> the provider's document
    read_answer     the provider's bytes      -> chat chunks
    write_answer    chat chunks               -> the client's bytes

The pivot is OpenAI's chat completions API: a chat request is the body of `POST /chat/completions`, a chunk is a
`chat.completion.chunk` object (https://platform.openai.com/docs/api-reference/chat-streaming). Reasoning travels in
`reasoning_content` and, with what must be returned to the provider (signatures, encrypted items), in
`reasoning_details`. Nothing here does I/O; readers accept input cut at any byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

from openai_proxy.endpoints import CHAT_PATH

MAX_ANSWER: Final = 32 * 1024 * 1024
"""Maximum bytes of a whole answer: a few inlined images."""

Chunk = dict[str, Any]
"""A `chat.completion.chunk`, as tidy as OpenAI's own. Readers guarantee, and writers may rely on:

- `choices` is a list (empty in a chunk that only has `usage`); each choice has an int `index`, a dict `delta` and a
  `finish_reason`, which is None or one of `stop`, `length`, `tool_calls`, `content_filter`, `error`;
- in a delta, `content`, `reasoning_content` and `refusal` are text; an entry of `tool_calls` has the `index` of its
  call, counted from 0 in the order in which calls begin, and a call's first entry also its `id`, `type` and `name`;
  `arguments` are pieces of text;
- `usage` may be in any chunk, and more than once: the last one counts;
- an empty delta means "still working" (`AnswerWriter.heartbeat`);
- a chunk with `error` (the chat API's error object) ends a failed answer: nothing follows it.

Other members are the provider's own and may be of any type.
"""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What refusals have taught about one model on one connection. Members are paths: `seed`, `messages[].name`."""

    refused: frozenset[str] = frozenset()  # members of a request that the model refuses
    renamed: Mapping[str, str] = field(default_factory=dict)  # members it knows under another name
    max_output_tokens: int | None = None  # the largest output that may be requested of it
    lengths: Mapping[str, int] = field(default_factory=dict)  # maximum number of characters of a text: `user`
    roles: Mapping[str, str] = field(default_factory=dict)  # roles it refuses -> the role to use instead
    unfit: frozenset[str] = frozenset()  # values it does not support, of members that we derived: see `derived`
    schema: str | None = None  # the dialect of JSON Schema that it accepts in tools; see `tool_schema`
    api: str | None = None  # the only API that works: a key of `DIALECTS`
    tools_api: str | None = None  # the only API that works with tools


@dataclass(frozen=True, slots=True)
class Lessons(Lesson):
    """What is known about one model on one connection, from its refusals and the provider's model list."""

    entry: Mapping[str, Any] | None = None  # the model's own entry in the provider's list, unchanged


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """A client's request, parsed."""

    chat: dict[str, Any]  # the chat request: `model`, `messages`, `stream`, …
    dropped: tuple[str, ...] = ()  # members without an equivalent in the pivot; named in `x-proxy-dropped`
    details: Any = None  # the dialect's own notes for `write_answer`, for example how tools were declared
    path: str = CHAT_PATH  # the endpoint that `chat` is for: "/embeddings" has another shape
    answer: bytes | None = None  # the whole answer, if no model is needed, as for a count of tokens


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A chat request in the provider's form."""

    path: str  # below the API root
    body: dict[str, Any]
    dropped: tuple[str, ...] = ()  # members of the chat request without an equivalent in this API
    headers: tuple[tuple[bytes, bytes], ...] = ()  # header fields to add
    details: Any = None  # the dialect's own notes for `read_answer`


class AnswerReader(Protocol):
    """Reads one answer of a provider. Holds the state of a stream.

    `feed` also accepts a whole answer instead of a stream, and `whole` a stream: providers do either. Content codings
    have been removed. For APIs that stream server-sent events see `event_reader.EventReader`.
    """

    ended: bool
    """True once the message has ended or failed; anything after that is ignored."""

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks completed by `data`. Raises UpstreamInvalid for bytes that do not belong to this API."""
        ...

    def end(self) -> list[Chunk]:
        """The chunks completed by the end of the stream. Raises UpstreamTruncated if the answer is incomplete."""
        ...

    def whole(self, data: bytes) -> dict[str, Any]:
        """A complete answer as a `chat.completion`, or `{"error": …}` if it says that it failed.

        Raises UpstreamInvalid and UpstreamTruncated.
        """
        ...

    def error(self, status: int, data: bytes) -> dict[str, Any]:
        """An error answer as the `error` object of the chat API: `message`, `type`, `param`, `code`.

        `message` is "" if the answer has no text for people (a page of HTML, an empty body).
        """
        ...


@dataclass(slots=True)
class ReportedValues:
    """An answer's id, finish reason and usage as the provider itself reported them, as far as received."""

    id: str | None = None
    finish: str | None = None
    usage: dict[str, Any] | None = None


@runtime_checkable
class JsonReader(AnswerReader, Protocol):
    """A reader of an API with JSON events and answers, which the records pass in parsed."""

    own: ReportedValues

    def read(self, event: Any, chunks: list[Chunk]) -> None:
        """Add to `chunks` what one event, or line, makes. Raises UpstreamInvalid."""
        ...

    def completion(self, document: Any) -> dict[str, Any]:
        """Like `whole`, for a parsed answer."""
        ...


class AnswerWriter(Protocol):
    """Writes one answer for a client. Holds the state of a stream."""

    @property
    def stream_type(self) -> bytes:
        """The Content-Type of a stream."""
        ...

    def chunk(self, chunk: Chunk) -> bytes:
        """The bytes that `chunk` becomes; may be empty. Unknown members of a chunk are ignored."""
        ...

    def heartbeat(self) -> bytes:
        """Bytes that mean "still working" and change nothing."""
        ...

    def end(self) -> bytes:
        """The end of a complete stream."""
        ...

    def error(self, error: Mapping[str, Any]) -> bytes:
        """The end of a failed stream: `error` is the chat API's error object."""
        ...

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        """A complete answer, from a `chat.completion`."""
        ...


class AnswerDialect(Protocol):
    """One API's answers."""

    @property
    def name(self) -> str:
        """Its key in `DIALECTS`."""
        ...

    def read_answer(self, request: OutgoingRequest) -> AnswerReader:
        """A reader for the answer to `request`."""
        ...


class ClientDialect(AnswerDialect, Protocol):
    """One API's wire format, client side; its answers are read for the records."""

    def read_request(self, path: str, document: dict[str, Any]) -> IncomingRequest:
        """Parse a client's request to `path` (below the API root, with `{model}` and verbs). Raises BadRequest."""
        ...

    def write_answer(self, request: IncomingRequest, model: str) -> AnswerWriter:
        """A writer for the answer to `request`, with `model`, the requested name."""
        ...

    def error_body(self, status: int, error: Mapping[str, Any]) -> bytes:
        """The body of an error answer, from the chat API's error object (`message`, `type`, `param`, `code`)."""
        ...


class ProviderDialect(AnswerDialect, Protocol):
    """One API's wire format, provider side."""

    def write_request(self, chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
        """`chat`, whose `model` is the provider's own name, for the provider. Raises BadRequest if an unsupported
        member cannot be omitted without changing the meaning.
        """
        ...


class Dialect(ClientDialect, ProviderDialect, Protocol):
    """One API's wire format, both sides."""


@runtime_checkable
class LearningDialect(Protocol):
    """A dialect whose provider reports in messages of its own what a model refuses."""

    def lesson(self, request: OutgoingRequest, status: int, error: Mapping[str, Any]) -> Lesson | None:
        """What an error answer to `request` teaches; None if the refusal is for the caller to handle."""
        ...
