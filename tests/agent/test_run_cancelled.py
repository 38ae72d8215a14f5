"""When the client disconnects, everything of its turn ends, at any point of the turn."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from openai_proxy.agent.run import start
from tests.agent.support import Box, Response, Upstream, asks, call_deltas, chunk, collect, events, turn, whole_calls
from tests.harness.waiting import PATIENCE

BOUND = 0.2  # seconds; tools that do not end are the worst case

_CALLS = call_deltas(("1", "slow", '{"a":1}'), ("2", "slow", '{"a":2}'))
TWO_CALLS = events(*map(chunk, _CALLS), done=False)


class Places:
    """A turn that hangs at one point, and a check of which of its parts are still alive."""

    def __init__(self, place: str) -> None:
        self.reached = asyncio.Event()
        self.tool_ended = asyncio.Event()
        self.ask_ended = asyncio.Event()
        self.place = place
        text = events(chunk({"content": "Hi"}), done=False)
        self.answer = Response(
            {
                "first byte": [_Reached(self.reached)],
                "mid text": [text, _Reached(self.reached)],
                "tool": [asks(("1", "slow", "{}"))],
                "stubborn tool": [asks(("1", "stubborn", "{}"))],
                "early tool": [TWO_CALLS, asyncio.Event()],
                "next ask": [asks(("1", "quick", "{}"))],
            }[place]
        )
        self.box = Box(slow=self.slow, stubborn=self.stubborn, quick="ok")
        self.asked = 0

    async def ask(self, body: dict[str, Any]) -> Response:
        self.asked += 1
        if self.asked == 1:
            return self.answer
        try:
            self.reached.set()
            await asyncio.Event().wait()
        finally:
            self.ask_ended.set()
        raise AssertionError

    async def slow(self, arguments: Any, context: Any) -> str:
        self.reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.tool_ended.set()
        return ""

    async def stubborn(self, arguments: Any, context: Any) -> str:
        self.reached.set()
        for _ in range(6):
            try:
                await asyncio.sleep(0.1)
            except asyncio.CancelledError:
                continue
        return ""

    def all_ended(self) -> bool:
        return {
            "tool": self.tool_ended.is_set(),
            "early tool": self.tool_ended.is_set() and self.answer.closed,
            "next ask": self.ask_ended.is_set(),
            "stubborn tool": True,
        }.get(self.place, self.answer.closed)


class _Reached(asyncio.Event):
    """An event that is never set, and that records when it is awaited."""

    def __init__(self, reached: asyncio.Event) -> None:
        super().__init__()
        self._reached = reached

    async def wait(self) -> Any:
        self._reached.set()
        return await super().wait()


PLACES = ["first byte", "mid text", "tool", "stubborn tool", "early tool", "next ask"]


async def within_bound(attempt: Callable[[], Awaitable[float]]) -> bool:
    """Whether one of five attempts took less than the bound, since a busy machine may delay some of them."""
    for _ in range(5):
        if await attempt() < BOUND:
            return True
    return False


@pytest.mark.parametrize("place", PLACES)
async def test_cancelling_the_reader_ends_everything(place: str) -> None:
    assert await within_bound(lambda: cancel_the_reader(place))


async def cancel_the_reader(place: str) -> float:
    """How long it took until everything had ended. Seconds."""
    places = Places(place)
    answer = await start(turn(places.ask, places.box))

    async def read() -> None:
        async for _ in answer.stream():
            continue

    reader = asyncio.ensure_future(read())
    async with asyncio.timeout(PATIENCE):
        await places.reached.wait()
        began = time.monotonic()
        reader.cancel()
        await asyncio.wait({reader})
        took = time.monotonic() - began
    assert reader.cancelled()
    assert places.all_ended()
    return took


async def test_many_turns_leave_no_task_behind() -> None:
    readers = []
    for round_ in range(12):
        places = Places(("tool", "early tool", "next ask", "mid text")[round_ % 4])
        answer = await start(turn(places.ask, places.box))
        readers.append(asyncio.ensure_future(collect(answer)))
        await places.reached.wait()
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("place", ["tool", "stubborn tool", "next ask"])
async def test_closing_the_generator_ends_everything(place: str) -> None:
    assert await within_bound(lambda: close_the_generator(place))


async def close_the_generator(place: str) -> float:
    """How long it took until everything had ended. Seconds."""
    places = Places(place)
    answer = await start(turn(places.ask, places.box, settings={"heartbeat": 0.01}))
    pieces = answer.stream()
    async with asyncio.timeout(PATIENCE):
        while not places.reached.is_set():
            await anext(pieces)
        await anext(pieces)
        began = time.monotonic()
        await pieces.aclose()
        took = time.monotonic() - began
    assert places.all_ended()
    return took


async def test_cancelling_a_client_that_does_not_stream() -> None:
    places = Places("tool")
    places.answer = Response([whole_calls(("1", "slow", "{}"))], kind=b"application/json")
    answer = await start(turn(places.ask, places.box, stream=False))
    reader = asyncio.ensure_future(answer.completion())
    async with asyncio.timeout(PATIENCE):
        await places.reached.wait()
        reader.cancel()
        await asyncio.wait({reader})
    assert places.all_ended()


async def test_an_unread_answer_is_released() -> None:
    upstream = Upstream([asyncio.Event()])
    answer = await start(turn(upstream))
    answer.close()
    assert upstream.responses[0].closed


async def test_a_failing_turn_ends_its_tools() -> None:
    places = Places("early tool")
    places.answer = Response([TWO_CALLS, places.reached, b'data: {"error":{"message":"boom"}}\n\n'])
    answer = await start(turn(places.ask, places.box))
    async with asyncio.timeout(PATIENCE):
        data = b"".join([piece async for piece in answer.stream()])
    assert b"boom" in data
    assert answer.acted
    assert places.all_ended()
