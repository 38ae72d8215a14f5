"""The short way for the commonest exchange: a small chat request, and a JSON answer that is one text.

The general way (`Scribe`) takes 16 µs an exchange, most of it in carrying things from hand to hand; at 30,000
requests a second that is half a core, and the event loop must wait for it. Here the same records are made in half of
that. Whatever is not quite ordinary is left to the general way, before anything was written; a test compares both.
"""

from typing import TYPE_CHECKING, Any

import orjson

from openai_proxy.records.tokens import read_usage

if TYPE_CHECKING:
    from openai_proxy.records.recorder import Entry
    from openai_proxy.records.scribe import Scribe

MAX = 16 * 1024  # bytes of request and of answer
_UNUSUAL_ANSWER = ("tool_calls", "function_call", "reasoning_content", "reasoning", "refusal")


def plain(scribe: "Scribe", entry: "Entry") -> bool:
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
    except (KeyError, TypeError, ValueError):
        return False
    finish = choice.get("finish_reason")
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
    entry.body = None
    entry.parts = []
    conversation, opening = scribe.conversations.identify(exchange, asked, messages)
    log = scribe.chat_log
    log.request(exchange, conversation, messages, asked)
    if opening is not None:
        scribe.conversations.answered(opening, conversation, content, (), None)
    log.plain_answer(exchange, conversation, content, finish or None, usage, 200)
    tokens = read_usage(usage)
    scribe.metrics.finished(exchange, 200, tokens, None)
    scribe.tell(exchange, 200, tokens)
    return True
