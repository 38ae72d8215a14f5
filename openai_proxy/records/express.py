"""The short way for the commonest exchange: a small chat request, and a JSON answer that is one text.

The general way (`Scribe`) takes 16 µs an exchange, most of it in carrying things from hand to hand; at 30,000
requests a second that is half a core, and the event loop must wait for it. Here the same records are made in a third
of that:

- a line is joined from pieces that are already JSON; what all exchanges of one `Kind` have in common was quoted once
  (0.8 µs for both lines instead of 8);
- messages, text and usage are parsed and written anew (orjson: 1 ns a byte for both). Cutting them out of the body
  as they stand would save little of that, and every line would hold what the client sent: escapes in which a secret
  hides from the scrubber, spaces, duplicate members;
- counters are told sums, once a round: `settle`.

Whatever is not quite ordinary is left to the general way, before anything was written; a test compares both.
"""

from typing import Any, Protocol

import orjson

from openai_proxy.exchange import Exchange, Outcome
from openai_proxy.records.chatlog import ChatLog
from openai_proxy.records.conversation import Conversations
from openai_proxy.records.entry import Entry
from openai_proxy.records.metrics import Metrics
from openai_proxy.records.requests import tool_names
from openai_proxy.records.tokens import Tokens, read_usage
from openai_proxy.records.work import Sink

MAX = 16 * 1024  # bytes of request and of answer
MAX_KINDS = 256
_UNUSUAL_ANSWER = ("tool_calls", "function_call", "reasoning_content", "reasoning", "refusal")


class Kind:
    """Exchanges that differ only in their texts and times: the JSON they share, and their sums since `settle`."""

    __slots__ = ("answer_end", "cached", "durations", "exchange", "firsts", "made", "read", "reasoning", "request_end")

    def __init__(self, exchange: Exchange) -> None:
        caller = exchange.caller
        ending: dict[str, Any] = {"stream": exchange.stream}
        if caller.key_id is not None:
            ending |= {"group": caller.group, "api_key_id": caller.key_id}
        self.request_end = b"," + orjson.dumps(ending)[1:] + b"\n"
        ending = {"status": 200, "finish": Outcome.DONE, "connection": exchange.connection}
        if exchange.upstream_model is not None and exchange.upstream_model != exchange.model:
            ending["upstream_model"] = exchange.upstream_model
        self.answer_end = b"," + orjson.dumps(ending)[1:] + b"\n"
        self.exchange = exchange  # the last one, for those who are told the sums
        self.durations: list[float] = []
        self.firsts: list[float] = []
        self.read = self.made = self.cached = self.reasoning = 0


class Books(Protocol):
    """The general way, as far as the short one knows it: where both write."""

    chat_log: ChatLog
    conversations: Conversations
    metrics: Metrics
    sinks: tuple[Sink, ...]

    def tell(self, exchange: Exchange, status: int, tokens: Tokens) -> None:
        """Tell the sinks of one exchange."""
        ...

    def add(self, exchange: Exchange, tokens: Tokens, number: int) -> None:
        """Tell the sums of several."""
        ...


class Express:
    """The short way of one `Scribe`."""

    def __init__(self, scribe: Books) -> None:
        self._scribe = scribe
        self._kinds: dict[tuple[str | None, ...], Kind] = {}

    def record(self, entry: Entry) -> bool:
        """Record a closed `entry` if it is plain; False if it is not, and nothing was done."""
        exchange, body = entry.exchange, entry.body
        if (
            body is None
            or entry.status != 200
            or entry.framing == "chunked"
            or entry.error_code is not None
            or not entry.resolved
            or entry.size > MAX
            or len(body) > MAX
            or exchange.path != "/chat/completions"
            or exchange.method != "POST"
            or exchange.outcome is not Outcome.DONE
            or exchange.first_byte is None
            or exchange.ended is None
            or len(exchange.attempts) > 1
        ):
            return False
        try:
            asked: Any = orjson.loads(body)
            answer: Any = orjson.loads(entry.parts[0] if len(entry.parts) == 1 else b"".join(entry.parts))
            (choice,) = answer["choices"]
            message = choice["message"]
            content = message["content"]
            usage = answer["usage"]
            messages = asked["messages"]
            finish = choice.get("finish_reason")
            kind = self._kind(exchange)
        except (AttributeError, KeyError, TypeError, ValueError):
            return False
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
            return False
        tokens = read_usage(usage)
        if tokens.cost is not None or tokens.cached > tokens.input:
            return False  # what such an exchange costs cannot be told from sums
        return self._write(entry, kind, asked, messages, content, finish, usage, tokens)

    def _write(
        self,
        entry: Entry,
        kind: Kind,
        asked: dict[str, Any],
        messages: list[Any],
        content: str,
        finish: str,
        usage: dict[str, Any],
        tokens: Tokens,
    ) -> bool:
        scribe, exchange = self._scribe, entry.exchange
        assert exchange.ended is not None
        assert exchange.first_byte is not None
        duration = exchange.ended - exchange.started
        first = exchange.first_byte - exchange.started
        conversations = scribe.conversations
        conversation, opening = conversations.identify(exchange, asked, messages)
        end = kind.request_end
        if asked.get("tools"):
            end = b',"tools":' + orjson.dumps(tool_names(asked)) + end
        said = {
            "content": content,
            "tool_calls": (),
            "finish_reason": finish or None,
            "usage": usage,
            "duration_ms": round(duration * 1000, 1),
            "ttft_ms": round(first * 1000, 1),
        }
        try:
            scribe.chat_log.pair(
                exchange,
                conversation,
                exchange.created_at + duration,
                orjson.dumps(messages) + end,
                orjson.dumps(said)[1:-1] + kind.answer_end,
            )
        except TypeError:  # a name or id of the client's that is no UTF-8
            return False
        entry.body = None
        entry.parts = []
        if opening is not None:
            conversations.answered(opening, conversation, content, (), None)
        kind.exchange = exchange
        kind.durations.append(duration)
        kind.firsts.append(first)
        kind.read += tokens.input
        kind.made += tokens.output
        kind.cached += tokens.cached
        kind.reasoning += tokens.reasoning
        if scribe.sinks:
            scribe.tell(exchange, 200, tokens)
        return True

    def _kind(self, exchange: Exchange) -> Kind:
        caller = exchange.caller
        key = (exchange.model, exchange.connection, exchange.upstream_model, caller.group, caller.key_id)
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= MAX_KINDS:
                self.settle()
                self._kinds.clear()
            kind = self._kinds[key] = Kind(exchange)
        return kind

    def settle(self) -> None:
        """Tell the sums. A day that begins between two rounds takes what the first of them held."""
        for kind in self._kinds.values():
            if kind.durations:
                tokens = Tokens(kind.read, kind.made, kind.cached, kind.reasoning)
                durations, kind.durations = kind.durations, []
                firsts, kind.firsts = kind.firsts, []
                kind.read = kind.made = kind.cached = kind.reasoning = 0
                number = len(durations)
                self._scribe.metrics.counted(kind.exchange, 200, tokens, durations, firsts, number)
                self._scribe.add(kind.exchange, tokens, number)
