"""What the recorder's thread knows of an exchange, under way and whole, and who wants to be told of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

from openai_proxy.exchange import Exchange
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.body import BodyReader
from openai_proxy.records.reading.tokens import Tokens


class Work:
    """What the thread knows of one entry."""

    __slots__ = ("answer", "asked", "conversation", "opening", "reader", "request")

    def __init__(self) -> None:
        self.request: dict[str, Any] | None = None
        self.conversation = ""
        self.opening: str | None = None
        self.answer = RecordedAnswer()
        self.reader: BodyReader | None = None
        self.asked = 0  # tokens of the request, estimated


class Finished(NamedTuple):
    """A whole exchange, for those sinks that want it all at once."""

    exchange: Exchange
    status: int
    work: Work
    tokens: Tokens
    error_code: str | None
    message: str | None


def is_paid(exchange: Exchange, status: int) -> bool:
    """True if a model has written for an exchange with this answer, or for an earlier round of it."""
    return 200 <= status < 300 or exchange.usage is not None


Sink = Callable[[Finished], None]
Sum = Callable[[Exchange, Tokens, int], None]
"""The last of some exchanges of one caller, model and connection, their tokens together, how many they are."""
