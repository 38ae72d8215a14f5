"""Which conversation a request belongs to in the log.

The rule is that of `dialects.chat.conversation`. A request without an assistant message starts a new conversation; the
answer it gets is remembered, and the follow-up that quotes that answer is the same conversation.

A caller that starts more than BULK conversations within a minute is a batch job, not a person: the rest of that
minute shares one, so that it fills a file and not a directory, and is not followed further.
"""

import random
import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any, Final

from openai_proxy.dialects.chat.conversation import answer_mark, call_names, chosen_id, comparable, mark
from openai_proxy.exchange import Exchange

LIMIT: Final = 20_000  # openings remembered, about 200 bytes each
BULK: Final = 100  # new conversations a minute and caller
_MAX_ID: Final = 200  # characters of an id a client chose


def _bounded(text: str) -> str:
    """An id of bearable length; longer ones end in a hash, so that two of them never meet."""
    if len(text) <= _MAX_ID:
        return text
    return f"{text[: _MAX_ID - 21]}-{mark(text)[:10].hex()}"


class Conversations:
    """The openings lately seen, least recently used first. The loop and the recorder's thread both ask."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, limit: int = LIMIT) -> None:
        self._known: OrderedDict[bytes, str] = OrderedDict()
        self._clock = clock
        self._limit = limit
        self._lock = Lock()
        self._minutes: OrderedDict[str, _Minute] = OrderedDict()

    def identify(self, exchange: Exchange, body: dict[str, Any], messages: Any) -> tuple[str, str | None]:
        """The conversation's id, and the opening to call `answered` with (None: the answer need not be told)."""
        given = chosen_id(exchange.session_id, body)
        if given is not None:
            return _bounded(given), None
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
        opening = f"{identity}\x1e{first or ''}"
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
        self._remember(key, found)
        return found, ""

    def answered(self, opening: str, conversation: str, text: str, calls: Any, response_id: str | None) -> None:
        """Remember the first answer of `conversation`, and the id of any answer a later request may name."""
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
        """The conversation a batch job's requests share for the rest of the minute; None for everybody else."""
        minute = self._minutes.get(identity)
        if minute is None or minute.begun < BULK or minute.number != int(self._clock() // 60):
            return None
        return minute.last

    def _new(self, exchange: Exchange, identity: str) -> str:
        """The id of a conversation that begins now."""
        number = int(self._clock() // 60)
        with self._lock:
            minute = self._minutes.get(identity)
            if minute is None:
                minute = self._minutes[identity] = _Minute()
                if len(self._minutes) > 1000:
                    self._minutes.popitem(last=False)
            if minute.number != number:
                minute.number, minute.begun = number, 0
            minute.begun += 1
            stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(exchange.created_at))
            minute.last = f"{stamp}-{random.getrandbits(32):08x}"
            return minute.last


class _Minute:
    """What one caller began in one minute."""

    __slots__ = ("begun", "last", "number")

    def __init__(self) -> None:
        self.number = -1
        self.begun = 0
        self.last = ""


def _quotes_an_answer(messages: Any) -> bool:
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict) and message.get("role") == "assistant":
            return True
    return False
