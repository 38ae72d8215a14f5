"""Repeats a request without what its model refused: the one loop, for every way of shaping and sending a request."""

from abc import ABC, abstractmethod
from typing import Self, TypeVar

from openai_proxy.dialects.base import Lesson, Lessons
from openai_proxy.exchange import UpstreamResponse
from openai_proxy.upstream.lessons import MAX_LESSONS, ConnectionLessons, with_lesson


class Tried(ABC):
    """A request as it was sent, and its answer."""

    response: UpstreamResponse

    @abstractmethod
    async def lesson(self) -> Lesson | None:
        """What the refusal teaches; None if a retry makes no sense. Called once, unless the answer is a success."""

    @abstractmethod
    async def again(self, known: Lessons) -> Self | None:
        """The request sent again, without what is `known` to be refused; None if that changes nothing."""


T = TypeVar("T", bound=Tried)


async def reconsidered(tried: T, lessons: ConnectionLessons, model: str, known: Lessons) -> T:
    """`tried`, or the last retry of it: one that succeeded, or whose refusal teaches nothing more.

    `known` is what `tried` was already sent without. What was refused beyond that is learnt only after a success: an
    error may quote the caller, and one caller's text must not change another one's requests.
    """
    more = known
    for _ in range(MAX_LESSONS):
        lesson = None if tried.response.status < 300 else await tried.lesson()
        if lesson is None:
            break
        more = with_lesson(more, lesson)
        again = await tried.again(more)
        if again is None:
            break
        tried = again
    if tried.response.status < 300 and more != known:
        lessons.learn(model, more)
    return tried
