"""What the recorder's thread knows of a running or finished exchange, and its listeners."""

from collections.abc import Callable
from typing import Any, NamedTuple

from openai_proxy.exchange import Exchange
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.body import BodyReader
from openai_proxy.records.reading.tokens import Tokens


class Work:
    """The thread's state of one entry."""

    __slots__ = ("answer", "asked", "conversation", "counted", "opening", "reader", "request")

    def __init__(self) -> None:
        self.request: dict[str, Any] | None = None
        self.conversation = ""
        self.opening: str | None = None
        self.answer = RecordedAnswer()
        self.reader: BodyReader | None = None
        self.asked = 0  # tokens of the request, estimated
        self.counted = False  # the tokens of its answers are counted one by one


class Finished(NamedTuple):
    """A whole exchange, for sinks that want it complete; unless `over`, one of its answers, with more to come.

    `paid`: its `tokens` were used, whatever became of the answer.
    """

    exchange: Exchange
    status: int
    work: Work
    tokens: Tokens
    error_code: str | None
    message: str | None
    paid: bool = False
    over: bool = True


def is_paid(exchange: Exchange, status: int) -> bool:
    """True if a model has generated something for this answer, or for an earlier round of it."""
    return 200 <= status < 300 or exchange.usage is not None


Sink = Callable[[Finished], None]
Sum = Callable[[Exchange, Tokens, int], None]
"""The last of some exchanges with the same caller, model and connection, their total tokens, and their number."""
