"""The short way for the commonest exchange: a small chat request, and a JSON answer that is one text.

Its two lines are made by the event loop, some exchanges at a time and after their bytes are gone (`recorder.BATCH`).
What can wait for a disk stays with the thread: it takes whole lines and writes them.

- A line is joined from pieces that are already JSON; what all exchanges of one `Kind` have in common was quoted once.
- Messages, text and usage are written anew (orjson: 1 ns a byte). Cutting them out of the body as they stand would
  save little of that, and every line would hold what the client sent: escapes in which a secret hides from the
  scrubber, spaces, duplicate members.
- Counters are told sums, once a round (`sums.py`).

Whatever is large or not quite ordinary is left to the general way, before anything was written; a test compares both.
"""

from typing import Any, NamedTuple, Protocol

import orjson

from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records import chatlog
from openai_proxy.records.conversation import Conversations
from openai_proxy.records.entry import SMALL, Entry
from openai_proxy.records.requests import tool_names
from openai_proxy.records.sums import Kind, Kinds
from openai_proxy.records.tokens import Tokens, read_usage
from openai_proxy.records.work import Sink

MAX_ABOUTS = 2000
_UNUSUAL_ANSWER = ("tool_calls", "function_call", "reasoning_content", "reasoning", "refusal")
_REQUEST = b'{"type":"request","ts":"'
_RESPONSE = b'{"type":"response","ts":"'
_ID = b'","request_id":'


class Lines(NamedTuple):
    """One exchange, ready to be written."""

    key: tuple[str, str]  # model and conversation: the file
    asked: bytes
    said: bytes
    kind: Kind
    duration: float  # seconds
    first: float
    tokens: Tokens
    exchange: Exchange | None  # only where a sink wants to be told of each


class Books(Protocol):
    """The general way, as far as the short one knows it."""

    conversations: Conversations
    sinks: tuple[Sink, ...]


class Express:
    """The short way of one recorder. Belongs to the event loop."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._kinds = Kinds()
        self._abouts: dict[tuple[str, str], bytes] = {}  # what every line of a file says of its conversation

    def lines(self, entry: Entry) -> Lines | None:
        """The lines of a closed `entry` if it is plain; None if it is not, and nothing was done."""
        exchange, body = entry.exchange, entry.body
        if (
            body is None
            or entry.status != 200
            or entry.size > SMALL
            or len(body) > SMALL
            or exchange.stream
            or entry.framing == "chunked"
            or entry.error_code is not None
            or not entry.resolved
            or exchange.path != "/chat/completions"
            or exchange.method != "POST"
            or exchange.outcome is not Outcome.DONE
            or exchange.first_byte is None
            or exchange.ended is None
            or len(exchange.attempts) > 1
        ):
            return None
        try:
            asked: Any = entry.document if entry.document is not None else orjson.loads(body)
            parts = entry.parts
            answer: Any = orjson.loads(parts[0] if len(parts) == 1 else b"".join(parts))
            (choice,) = answer["choices"]
            message = choice["message"]
            content = message["content"]
            usage = answer["usage"]
            messages = asked["messages"]
            finish = choice.get("finish_reason")
        except (AttributeError, KeyError, TypeError, ValueError):
            return None
        if (
            type(content) is not str
            or type(usage) is not dict
            or not usage
            or type(messages) is not list
            or type(finish) is not str
            or "error" in answer
            or b";base64," in body
            or (len(message) > 2 and any(map(message.get, _UNUSUAL_ANSWER)))
        ):
            return None
        tokens = read_usage(usage)
        if tokens.cost is not None or tokens.cached > tokens.input:
            return None  # what such an exchange costs cannot be told from sums
        return self._lines(exchange, asked, messages, content, finish, usage, tokens)

    def _lines(
        self,
        exchange: Exchange,
        asked: dict[str, Any],
        messages: list[Any],
        content: str,
        finish: str,
        usage: dict[str, Any],
        tokens: Tokens,
    ) -> Lines | None:
        assert exchange.ended is not None
        assert exchange.first_byte is not None
        duration = exchange.ended - exchange.started
        first = exchange.first_byte - exchange.started
        conversations, dumps = self._books.conversations, orjson.dumps
        try:
            kind = self._kinds.of(exchange)
            end = kind.request_end
            if asked.get("tools"):
                end = b',"tools":' + dumps(tool_names(asked)) + end
            request = dumps(messages)
            said = dumps({"content": content, "tool_calls": (), "finish_reason": finish or None, "usage": usage})
            name = dumps(exchange.id)
            conversation, opening = conversations.identify(exchange, asked, messages)
            key = (exchange.model or chatlog.model_of(exchange), conversation)
            about = self._abouts.get(key) or self._about(key)
        except TypeError:  # a name or id of the client's that is no UTF-8, or a number beyond 64 bits
            return None
        if opening:
            conversations.answered(opening, conversation, content, (), None)
        began = exchange.created_at
        ended = chatlog.stamp_of(began + duration)
        times = b',"duration_ms":%.1f,"ttft_ms":%.1f' % (duration * 1000, first * 1000)
        return Lines(
            key,
            b"".join((_REQUEST, chatlog.stamp_of(began), _ID, name, about, b'"messages":', request, end)),
            b"".join((_RESPONSE, ended, _ID, name, about, said[1:-1], times, kind.answer_end)),
            kind,
            duration,
            first,
            tokens,
            exchange if self._books.sinks else None,
        )

    def _about(self, key: tuple[str, str]) -> bytes:
        if len(self._abouts) >= MAX_ABOUTS:
            self._abouts.clear()
        members = {"conversation_id": key[1], "model": key[0]}
        about = self._abouts[key] = b"," + orjson.dumps(members)[1:-1] + b","
        return about
