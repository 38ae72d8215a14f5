"""Which conversation a request belongs to in the log.

The rule is that of `dialects.chat.conversation_id`. A request without an assistant message starts a new conversation;
its answer is remembered, and a later request that contains that answer belongs to the same conversation.

A caller that starts more than BULK conversations within a minute, or MANY within a day, is a batch job, not a person:
for the rest of that minute or day all new ones share one, whatever ids it uses, so that it fills a file and not a
directory; they are not tracked further.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

from openai_proxy.dialects.chat.conversation_id import answer_mark, call_names, chosen_id, comparable, mark, short
from openai_proxy.exchange import Exchange

LIMIT: Final = 20_000  # openings remembered, about 200 bytes each
BULK: Final = 100  # new conversations per minute and caller
MANY: Final = 5000  # new conversations per day and caller
_MAX_ID: Final = 200  # characters of an id that a client chose


def _bounded(text: str) -> str:
    """An id of limited length; longer ones end in a hash, so that they stay distinct."""
    if len(text) <= _MAX_ID:
        return text
    return f"{text[: _MAX_ID - 21]}-{mark(text)[:10].hex()}"


class Conversations:
    """The recent openings, least recently used first. Used by the loop and the recorder's thread."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, limit: int = LIMIT) -> None:
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._clock = clock
        self._limit = limit
        self._lock = Lock()
        self._named: OrderedDict[tuple[bytes | str, str], None] = OrderedDict()  # callers and the ids that they used
        self._minutes: OrderedDict[str, _Minute] = OrderedDict()

    def identify(self, exchange: Exchange, body: dict[str, Any], messages: Any) -> tuple[str, str | None]:
        """The conversation's id, and the opening for calling `answered` (None: that is not needed)."""
        given = chosen_id(exchange.session_id, body)
        if given is not None:
            return self.named(exchange, given), None
        previous = body.get("previous_response_id")
        if previous and type(previous) is str:
            known = self._known.get(mark("response", previous))
            if known is not None:
                return known, ""
        identity = exchange.caller.identity
        if (shared := self._shared(identity)) is not None and not _quotes_an_answer(messages):
            return shared, ""
        first = answer = None
        for message in messages if isinstance(messages, list) else ():
            if not isinstance(message, dict):
                continue
            role = message.get("role")
            if first is None and role == "user":
                first = comparable(message.get("content"))
            elif role == "assistant":
                answer = answer_mark(message)
                break
        opening = f"{identity}\x1e{short(first) if first else ''}"  # kept until the answer has ended
        if answer is None:
            return self._new(exchange, identity), opening
        key = mark(opening, answer)
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found, ""
        # Begun before the last start, or long ago: the same opening always gives the same name.
        found = f"c-{key[:10].hex()}"
        found = self.named(exchange, found)
        self._remember(key, found)
        return found, ""

    def named(self, exchange: Exchange, given: str) -> str:
        """The id of a conversation that its caller has named; a shared one if there are too many."""
        caller, name = exchange.caller, _bounded(given)
        key = (caller.account, name)
        if key in self._named:
            if len(self._named) * 2 > self._limit:  # before that, nothing is ever dropped
                with self._lock:
                    if key in self._named:
                        self._named.move_to_end(key)
            return name
        identity = caller.identity
        if (shared := self._shared(identity)) is not None:
            return shared
        self._new(exchange, identity)
        with self._lock:
            self._named[key] = None
            if len(self._named) > self._limit:
                self._named.popitem(last=False)
        return name

    def answered(self, opening: str, conversation: str, text: str, calls: Any, response_id: str | None) -> None:
        """Remember the first answer of `conversation`, and the id of any answer that a later request may name."""
        if opening:
            self._remember(mark(opening, comparable(text) or call_names(calls)), conversation)
        if response_id is not None and response_id.startswith("resp"):
            self._remember(mark("response", response_id), conversation)

    def _remember(self, key: bytes, conversation: str) -> None:
        known = self._known
        with self._lock:
            known[key] = conversation
            if len(known) > self._limit:
                known.popitem(last=False)

    def _shared(self, identity: str) -> str | None:
        """The conversation that a batch job's requests share for the rest of the minute or day; None for all others."""
        minute = self._minutes.get(identity)
        if minute is None:
            return None
        number = int(self._clock() // 60)
        often = minute.begun >= BULK and minute.number == number
        return minute.last if often or (minute.today >= MANY and minute.number // 1440 == number // 1440) else None

    def _new(self, exchange: Exchange, identity: str) -> str:
        """The id of a new conversation."""
        number = int(self._clock() // 60)
        with self._lock:
            minute = self._minutes.get(identity)
            if minute is None:
                minute = self._minutes[identity] = _Minute()
                if len(self._minutes) > 1000:
                    self._minutes.popitem(last=False)
            if minute.number != number:
                if minute.number // 1440 != number // 1440:
                    minute.today = 0
                minute.number, minute.begun = number, 0
            minute.begun += 1
            minute.today += 1
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(exchange.created_at))
            minute.last = f"{stamp}-{random.getrandbits(32):08x}"
            return minute.last


class _Minute:
    """What one caller started in one minute, and on its day."""

    __slots__ = ("begun", "last", "number", "today")

    def __init__(self) -> None:
        self.number = -1
        self.begun = self.today = 0
        self.last = ""


def _quotes_an_answer(messages: Any) -> bool:
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "assistant":
            return True
    return False
