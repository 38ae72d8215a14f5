"""A refused request is repeated without what was refused, and only a success is learnt from."""

from typing import Self

import pytest

from openai_proxy.dialects.base import Lesson, Lessons
from openai_proxy.upstream.inprocess import BytesResponse
from openai_proxy.upstream.lessons import MAX_LESSONS, LessonTable
from openai_proxy.upstream.reconsidering import Tried, reconsidered

SEED, TOP_K = Lesson(refused=frozenset({"seed"})), Lesson(refused=frozenset({"top_k"}))


class Scripted(Tried):
    """Answers with the statuses one by one; each refusal teaches the next lesson, each retry is noted."""

    def __init__(self, statuses: list[int], taught: list[Lesson | None], retries: list[Lessons | None]) -> None:
        self.response = BytesResponse(b"", status=statuses[0])
        self.statuses, self.taught, self.retries = statuses, taught, retries

    async def lesson(self) -> Lesson | None:
        return self.taught.pop(0)

    async def again(self, known: Lessons) -> Self | None:
        if None in self.retries:
            return None
        self.retries.append(known)
        return type(self)(self.statuses[1:], self.taught, self.retries)


@pytest.mark.parametrize(("last", "learnt"), [(200, {"model": "refuses seed, top_k"}), (400, {}), (302, {})])
async def test_all_that_was_refused_is_learnt_once_a_retry_succeeds(last: int, learnt: dict[str, str]) -> None:
    lessons = LessonTable().of("connection")
    first = Scripted([400, 422, last], [SEED, TOP_K, None], [])
    tried = await reconsidered(first, lessons, "model", Lessons())
    assert tried.response.status == last
    assert [sorted(known.refused) for known in first.retries if known] == [["seed"], ["seed", "top_k"]]
    assert lessons.as_text() == learnt


async def test_a_request_that_would_be_the_same_is_not_repeated() -> None:
    first = Scripted([400, 200], [SEED], [None])
    assert await reconsidered(first, LessonTable().of("connection"), "model", Lessons()) is first


async def test_retries_are_bounded() -> None:
    first = Scripted([400] * 20, [Lesson(refused=frozenset({str(n)})) for n in range(20)], [])
    await reconsidered(first, LessonTable().of("connection"), "model", Lessons())
    assert len(first.retries) == MAX_LESSONS


async def test_a_success_teaches_nothing() -> None:
    first = Scripted([200], [], [])
    lessons = LessonTable().of("connection")
    assert await reconsidered(first, lessons, "model", Lessons()) is first
    assert not lessons
