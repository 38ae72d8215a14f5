"""What a dialect is: four verbs between one API's wire format and the pivot.

    read_request    a client's document       -> a chat request, and what was left out
    write_request   a chat request            -> the provider's document
    read_answer     the provider's bytes      -> chat chunks
    write_answer    chat chunks               -> the client's bytes

The pivot is OpenAI's chat completions API: a chat request is the body of `POST /chat/completions`, a chunk is a
`chat.completion.chunk` object (https://platform.openai.com/docs/api-reference/chat-streaming). Reasoning travels in
`reasoning_content` and, with what a provider needs to see again (signatures, encrypted items), in `reasoning_details`.
Nothing here does I/O; readers take input cut at any byte.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

Chunk = dict[str, Any]
"""A `chat.completion.chunk`, as tidy as OpenAI's own. A reader gives, and a writer may rely on:

- `choices` is a list (empty in a chunk that only tells `usage`); each choice has an int `index`, a dict `delta` and a
  `finish_reason`, which is None or one of `stop`, `length`, `tool_calls`, `content_filter`, `error`;
- in a delta, `content`, `reasoning_content` and `refusal` are text; an entry of `tool_calls` has the `index` of its
  call, counted from 0 in the order in which calls begin, and a call's first entry also its `id`, `type` and `name`;
  `arguments` are pieces of text;
- `usage` may come in any chunk, and more than once: the last one counts;
- an empty delta means "still working" (`AnswerWriter.heartbeat`);
- a chunk with `error` (the chat API's error object) ends a broken answer: nothing follows it.

Members beyond these are the provider's own and may be of any kind.
"""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a refusal teaches of one model on one connection. Members are named by path: `seed`, `messages[].name`."""

    refused: frozenset[str] = frozenset()  # members of a request that the model refuses
    renamed: Mapping[str, str] = field(default_factory=dict)  # members it knows by another name
    max_output_tokens: int | None = None  # the most it may be asked to write
    lengths: Mapping[str, int] = field(default_factory=dict)  # characters a text may have: `user`
    roles: Mapping[str, str] = field(default_factory=dict)  # roles it refuses -> the role to say instead
    unfit: frozenset[str] = frozenset()  # values it lacks, of members that we derived: see `derived`
    schema: str | None = None  # the dialect of JSON Schema that it takes in tools; see `tool_schema`
    api: str | None = None  # the only API that it answers: a key of `DIALECTS`
    tools_api: str | None = None  # the only API by which it takes tools


@dataclass(frozen=True, slots=True)
class Lessons(Lesson):
    """What is known of one model on one connection: from its refusals, and from the provider's model list."""

    entry: Mapping[str, Any] | None = None  # the model's own entry in the provider's list, as it came


@dataclass(frozen=True, slots=True)
class IncomingRequest:
    """A client's request, read."""

    chat: dict[str, Any]  # the chat request: `model`, `messages`, `stream`, …
    dropped: tuple[str, ...] = ()  # members the pivot has no words for; named in `x-proxy-dropped`
    details: Any = None  # the dialect's own notes for `write_answer`: how tools were declared, for example
    path: str = "/chat/completions"  # what `chat` is a request to: "/embeddings" has another shape
    answer: bytes | None = None  # the whole answer, where no model needs to be asked: a count of tokens, for example


@dataclass(frozen=True, slots=True)
class OutgoingRequest:
    """A chat request as the provider is to be asked."""

    path: str  # below the API root
    body: dict[str, Any]
    dropped: tuple[str, ...] = ()  # members of the chat request that this API has no words for
    headers: tuple[tuple[bytes, bytes], ...] = ()  # fields to add
    details: Any = None  # the dialect's own notes for `read_answer`


class AnswerReader(Protocol):
    """Reads one answer of a provider. Holds the state of a stream.

    `feed` also takes a whole answer where a stream was asked for, and `whole` a stream: providers do either. Content
    codings have been taken off. For APIs that stream server-sent events see `reading.EventReader`.
    """

    ended: bool
    """True once the message has ended, or failed: nothing after that is read. False while it may go on."""

    def feed(self, data: bytes) -> list[Chunk]:
        """The chunks that `data` completes. Raises UpstreamInvalid for bytes that are not this API's."""
        ...

    def end(self) -> list[Chunk]:
        """The chunks that the end of the stream completes. Raises UpstreamTruncated if the answer is not whole."""
        ...

    def whole(self, data: bytes) -> dict[str, Any]:
        """A complete answer as a `chat.completion`, or `{"error": …}` if it says that it failed.

        Raises UpstreamInvalid and UpstreamTruncated.
        """
        ...

    def error(self, status: int, data: bytes) -> dict[str, Any]:
        """An error answer as the `error` object of the chat API: `message`, `type`, `param`, `code`.

        `message` is "" where the answer has no words for a person (a page of HTML, an empty body).
        """
        ...


class AnswerWriter(Protocol):
    """Writes one answer for a client. Holds the state of a stream."""

    @property
    def stream_type(self) -> bytes:
        """The Content-Type of a stream."""
        ...

    def chunk(self, chunk: Chunk) -> bytes:
        """What `chunk` makes the client see; may be empty. Unknown members of a chunk are ignored."""
        ...

    def heartbeat(self) -> bytes:
        """Something that says "still working" and changes nothing."""
        ...

    def end(self) -> bytes:
        """The end of a stream whose chunks were complete."""
        ...

    def error(self, error: Mapping[str, Any]) -> bytes:
        """The end of a stream that broke: `error` is the chat API's error object."""
        ...

    def whole(self, completion: Mapping[str, Any]) -> bytes:
        """A complete answer, from a `chat.completion`."""
        ...


class ClientDialect(Protocol):
    """One API's wire format, as clients speak it."""

    @property
    def name(self) -> str:
        """Its key in `DIALECTS`."""
        ...

    def read_request(self, path: str, document: dict[str, Any]) -> IncomingRequest:
        """A client's request to `path` (below the API root, `{model}` and verbs included). Raises BadRequest."""
        ...

    def write_answer(self, request: IncomingRequest, model: str) -> AnswerWriter:
        """A writer for the answer to `request`, which names `model`: the name that was asked for."""
        ...

    def error_body(self, status: int, error: Mapping[str, Any]) -> bytes:
        """The body of an error answer, from the chat API's error object (`message`, `type`, `param`, `code`)."""
        ...


class ProviderDialect(Protocol):
    """One API's wire format, as providers speak it."""

    @property
    def name(self) -> str:
        """Its key in `DIALECTS`."""
        ...

    def write_request(self, chat: dict[str, Any], lessons: Lessons) -> OutgoingRequest:
        """`chat`, whose `model` is the provider's own name, for the provider. Raises BadRequest for what leaving
        out would change the meaning of."""
        ...

    def read_answer(self, request: OutgoingRequest) -> AnswerReader:
        """A reader for the answer to `request`."""
        ...


class Dialect(ClientDialect, ProviderDialect, Protocol):
    """One API's wire format, both ways."""


@runtime_checkable
class Teaching(Protocol):
    """A dialect whose provider says in words of its own what a model refuses."""

    def lesson(self, request: OutgoingRequest, status: int, error: Mapping[str, Any]) -> Lesson | None:
        """What an error answer to `request` teaches; None if the refusal is the caller's business."""
        ...
