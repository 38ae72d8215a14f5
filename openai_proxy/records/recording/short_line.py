"""The short way for the most common exchange: a small chat request, and a JSON answer with one text.

The event loop creates its two lines, some exchanges at a time and after their bytes are sent (`recorder.BATCH`). What
may wait for a disk stays in the thread: it takes whole lines and writes them.

- A line is joined from pieces that are already JSON; what all exchanges of one `Kind` share was encoded once.
- Messages, text and usage are encoded again (orjson: 1 ns a byte). Cutting them out of the body would save little of
  that, and every line would contain what the client sent: escapes that hide a secret from the scrubber, spaces,
  duplicate members.
- Counters get sums, once a round (`traffic_class.py`).

Anything large or not quite ordinary is left to the general way, before anything is written; a test compares both.
"""

from typing import Any, Final

import orjson

from openai_proxy.dialects.chat.collect import BESIDE_CONTENT
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records.reading.tokens import Tokens, read_usage
from openai_proxy.records.recording.entry import SMALL, Entry
from openai_proxy.records.recording.traffic_class import Kinds, Sum, summable
from openai_proxy.records.writing import chatlog
from openai_proxy.records.writing.conversation import Conversations
from openai_proxy.records.writing.request_contents import params_of, tool_names

_loads: Final = orjson.loads  # kept in a local name: a module's attribute is looked up at every call
_dumps: Final = orjson.dumps
_UNUSUAL_ANSWER: Final = BESIDE_CONTENT
_REQUEST: Final = b'{"type":"request","ts":"'
_RESPONSE: Final = b'{"type":"response","ts":"'
_ID: Final = b'","request_id":"'
_DURATION: Final = b',"duration_ms":'
_FIRST: Final = b',"ttft_ms":'
_MESSAGES: Final = b'"messages":'
_PARAMS: Final = b'"params":'
_TENTHS: Final = tuple(b".%d" % tenths for tenths in range(10))
SEMICOLON: Final = ord(";")  # searching for one byte runs at 20 GB/s, for eight at 1.5


def milliseconds(seconds: float) -> bytes:
    """`seconds` (not negative) in ms with one decimal, as JSON has it."""
    tenths = int(seconds * 10_000 + 0.5)
    return str(tenths // 10).encode() + _TENTHS[tenths % 10]


class ShortLines:
    """Some exchanges, ready to be written."""

    __slots__ = ("files", "number", "single", "size", "sums")

    def __init__(self) -> None:
        self.files: dict[tuple[str, str], list[bytes]] = {}  # model and conversation -> lines
        self.sums: list[Sum] = []
        self.single: list[tuple[Exchange, Tokens]] = []  # those that a sink needs one by one, …
        self.number = 0  # … and how many there are in total
        self.size = 0  # bytes


class Express:
    """The short way of one recorder. Belongs to the event loop."""

    def __init__(self, conversations: Conversations) -> None:
        self._conversations = conversations
        self.wanted = 0  # how many exchanges a sink needs one by one, rather than only as sums
        self._kinds = Kinds()
        self._lines = ShortLines()

    def take(self) -> ShortLines | None:
        """What was created since the last time; None if nothing was."""
        made = self._lines
        if not made.size:
            return None
        made.sums = self._kinds.take()
        self._lines = ShortLines()
        return made

    def record(self, entry: Entry) -> bool:
        """Create the lines of a closed `entry` if it is plain; if not, returns False and does nothing."""
        exchange, body = entry.exchange, entry.body
        if (
            body is None
            or entry.status != 200
            or entry.size > SMALL
            or len(body) > SMALL
            or exchange.stream
            or entry.error_code is not None
            or exchange.path != CHAT_PATH
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
        if not summable(exchange, tokens):
            return False
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
        conversations, dumps = self._conversations, _dumps
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
        except TypeError:  # a name or id of the client's that is not UTF-8, or a number beyond 64 bits
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
        made.number += 1
        if len(made.single) < self.wanted:
            made.single.append((exchange, tokens))
        self._kinds.count(kind, exchange, duration, first, tokens)
        return True
