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

from typing import Any, Final, Protocol

import orjson

from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records.reading.tokens import Tokens, read_usage
from openai_proxy.records.recording.entry import SMALL, Entry
from openai_proxy.records.recording.traffic_class import Kinds, Sum, TrafficClass
from openai_proxy.records.writing import chatlog
from openai_proxy.records.writing.conversation import Conversations
from openai_proxy.records.writing.requests import params_of, tool_names

_loads: Final = orjson.loads  # kept: a module's attribute is looked up at every call
_dumps: Final = orjson.dumps
_UNUSUAL_ANSWER: Final = ("tool_calls", "function_call", "reasoning_content", "reasoning", "refusal")
_REQUEST: Final = b'{"type":"request","ts":"'
_RESPONSE: Final = b'{"type":"response","ts":"'
_ID: Final = b'","request_id":"'
_DURATION: Final = b',"duration_ms":'
_FIRST: Final = b',"ttft_ms":'
_MESSAGES: Final = b'"messages":'
LONG: Final = 16_384
"""Tokens of an input that may make each of its tokens dearer (the shortest such step of any provider is 32,000)."""
_PARAMS: Final = b'"params":'
SEMICOLON: Final = ord(";")  # one byte is found at 20 GB/s, eight at 1.5


def milliseconds(seconds: float) -> bytes:
    """`seconds` (not negative) in ms with one decimal, as JSON has it."""
    tenths = int(seconds * 10_000 + 0.5)
    return str(tenths // 10).encode() + b"." + str(tenths % 10).encode()


class ShortLines:
    """Some exchanges, ready to be written."""

    __slots__ = ("files", "single", "size", "sums")

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], list[bytes]] = {}  # model and conversation -> lines
        self.sums: list[Sum] = []
        self.single: list[tuple[Exchange, Tokens]] = []  # only where a sink wants to be told of each
        self.size = 0  # bytes


class Books(Protocol):
    """The general way, as far as the short one knows it."""

    conversations: Conversations

    def wants_each(self) -> bool:
        """True if somebody is to be told of each exchange."""
        ...


class Express:
    """The short way of one recorder. Belongs to the event loop."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._kinds = Kinds()
        self._summed: list[TrafficClass] = []
        self._lines = ShortLines()

    def take(self) -> ShortLines | None:
        """What was made since the last time; None if nothing was."""
        made = self._lines
        if not made.size:
            return None
        for kind in self._summed:
            assert kind.sum is not None
            made.sums.append(kind.sum)
            kind.sum = None
        self._summed.clear()
        self._lines = ShortLines()
        return made

    def record(self, entry: Entry) -> bool:
        """Make the lines of a closed `entry` if it is plain; False if it is not, and nothing was done."""
        exchange, body = entry.exchange, entry.body
        if (
            body is None
            or entry.status != 200
            or entry.size > SMALL
            or len(body) > SMALL
            or exchange.stream
            or entry.error_code is not None
            or not entry.resolved
            or exchange.path != "/chat/completions"
            or exchange.method != "POST"
            or exchange.outcome is not Outcome.DONE
            or exchange.first_byte is None
            or exchange.ended is None
            or len(exchange.attempts) > 1
            or exchange.queued
        ):
            return False
        try:
            asked: Any = entry.document if entry.document is not None else _loads(body)
            parts = entry.parts
            answer: Any = _loads(parts[0] if len(parts) == 1 else b"".join(parts))
            (choice,) = answer["choices"]
            message = choice["message"]
            content = message["content"]
            usage = answer["usage"]
            messages = asked["messages"]
            finish = choice.get("finish_reason")
        except (AttributeError, KeyError, TypeError, ValueError):
            return False
        if (
            type(content) is not str
            or type(usage) is not dict
            or not usage
            or type(messages) is not list
            or type(finish) is not str
            or "error" in answer
            or (SEMICOLON in body and b";base64," in body)
            or (len(message) > 2 and any(map(message.get, _UNUSUAL_ANSWER)))
        ):
            return False
        tokens = read_usage(usage)
        if tokens.cost is not None or tokens.other is not None or tokens.input > LONG or tokens.cached > tokens.input:
            return False  # what such an exchange costs cannot be told from sums
        return self._record(exchange, asked, messages, content, finish, usage, tokens)

    def _record(
        self,
        exchange: Exchange,
        asked: dict[str, Any],
        messages: list[Any],
        content: str,
        finish: str,
        usage: dict[str, Any],
        tokens: Tokens,
    ) -> bool:
        assert exchange.ended is not None
        assert exchange.first_byte is not None
        began = exchange.created_at
        duration = exchange.ended - exchange.started
        first = exchange.first_byte - exchange.started
        conversations, dumps = self._books.conversations, _dumps
        try:
            kind = self._kinds.of(exchange)
            end = kind.request_end
            if asked.get("tools"):
                end = b',"tools":' + dumps(tool_names(asked)) + end
            named = params_of(asked)
            params = _PARAMS + dumps(named) + b"," if named else b""
            request = dumps(messages)
            said = dumps({"content": content, "tool_calls": (), "finish_reason": finish or None, "usage": usage})
            conversation, opening = conversations.identify(exchange, asked, messages)
            if conversation != kind.conversation:
                kind.speaks_in(exchange.model or chatlog.model_of(exchange), conversation)
        except TypeError:  # a name or id of the client's that is no UTF-8, or a number beyond 64 bits
            return False
        if opening:
            conversations.answered(opening, conversation, content, (), None)
        name = exchange.id.encode()  # ours: hexadecimal
        took = milliseconds(duration)
        told = b"".join((_DURATION, took, _FIRST, took if first == duration else milliseconds(first)))
        line = b"".join(
            (_REQUEST, chatlog.stamp_of(began), _ID, name, b'"', kind.about, params, _MESSAGES, request, end)
        )
        stamp = chatlog.stamp_of(began + duration)
        answer = b"".join((_RESPONSE, stamp, _ID, name, b'"', kind.about, said[1:-1], told, kind.answer_end))
        made = self._lines
        made.size += len(line) + len(answer)
        lines = made.files.get(kind.key)
        if lines is None:
            made.files[kind.key] = [line, answer]
        else:
            lines += (line, answer)
        if self._books.wants_each():
            made.single.append((exchange, tokens))
        self._sum(kind, exchange, duration, first, tokens)
        return True

    def _sum(self, kind: TrafficClass, exchange: Exchange, duration: float, first: float, tokens: Tokens) -> None:
        entry = kind.sum
        if entry is None:
            entry = kind.sum = Sum()
            self._summed.append(kind)
        entry.exchange = exchange
        entry.durations.append(duration)
        entry.firsts.append(first)
        entry.read += tokens.input
        entry.made += tokens.output
        if tokens.cached or tokens.reasoning:
            entry.cached += tokens.cached
            entry.reasoning += tokens.reasoning
