"""The queue of a connection: its order, and requests that leave it."""

import asyncio
from typing import Any

import pytest

from openai_proxy import endpoints
from openai_proxy.errors import UpstreamTruncated
from openai_proxy.exchange import PRIORITIES, Caller, Exchange
from openai_proxy.upstream.queue import ConnectionQueues, HeldResponse, Line, QueuePlace

CHAT = endpoints.locate("POST", "/v1/chat/completions")


def exchange(name: str, priority: str = "normal") -> Exchange:
    made = Exchange(name, Caller("127.0.0.1"), "POST", CHAT, "m")
    made.priority = PRIORITIES[priority]
    return made


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int]] = []

    def __call__(self, kind: str, members: dict[str, Any]) -> None:
        assert kind == "queue"
        self.seen.append((members["request_id"], members["state"], members["waiting"]))


async def settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_by_priority_and_then_first_come_first_served() -> None:
    events = Events()
    line = Line("gpu", 1, events)
    first = await line.enter(exchange("now"))
    order: list[str] = []

    async def wait(one: Exchange) -> None:
        place = await line.enter(one)
        order.append(one.id)
        place.leave()

    who = [("l1", "low"), ("n1", "normal"), ("h1", "high"), ("l2", "low"), ("h2", "high"), ("n2", "normal")]
    exchanges = [exchange(*one) for one in who]
    tasks = [asyncio.create_task(wait(one)) for one in exchanges]
    await settle()
    assert {one.state for one in exchanges} == {"queued"}
    assert (line.waiting, line.running) == (6, 1)
    first.leave()
    first.leave()
    await asyncio.gather(*tasks)
    assert order == ["h1", "h2", "n1", "n2", "l1", "l2"]
    assert (line.waiting, line.running) == (0, 0)
    assert all(one.queued > 0 for one in exchanges)
    assert [event for event in events.seen if event[0] == "h2"] == [("h2", "waiting", 5), ("h2", "left", 4)]


async def test_a_cancelled_request_delays_no_other() -> None:
    line = Line("gpu", 1, lambda kind, members: None)
    first = await line.enter(exchange("first"))
    gives_up = asyncio.create_task(line.enter(exchange("second")))
    stays = asyncio.create_task(line.enter(exchange("third")))
    await settle()
    gives_up.cancel()
    await settle()
    assert line.waiting == 1
    first.leave()
    (await stays).leave()
    assert line.running == 0


async def test_cancelled_requests_do_not_pile_up() -> None:
    line = Line("gpu", 1, lambda kind, members: None)
    first = await line.enter(exchange("first"))
    order: list[str] = []

    async def wait(name: str, priority: str) -> None:
        place = await line.enter(exchange(name, priority))
        order.append(name)
        place.leave()

    who = [("l1", "low"), ("n1", "normal"), ("h1", "high"), ("n2", "normal")]
    stay = [asyncio.create_task(wait(*one)) for one in who]
    for _ in range(20):
        give_up = [asyncio.create_task(wait("gone", priority)) for priority in ("high", "normal", "low")]
        await settle()
        for task in give_up:
            task.cancel()
        await settle()
        assert line.waiting == len(stay)
        assert len(line._waiting) <= 2 * len(stay)
    first.leave()
    await asyncio.gather(*stay)
    assert order == ["h1", "n1", "n2", "l1"]
    assert (line.waiting, line.running) == (0, 0)


async def test_a_request_cancelled_at_its_turn_passes_it_on() -> None:
    line = Line("gpu", 1, lambda kind, members: None)
    first = await line.enter(exchange("first"))
    gives_up = asyncio.create_task(line.enter(exchange("second")))
    stays = asyncio.create_task(line.enter(exchange("third")))
    await settle()
    first.leave()
    gives_up.cancel()
    (await stays).leave()
    with pytest.raises(asyncio.CancelledError):
        await gives_up
    assert line.running == 0


async def test_raising_the_limit_admits_waiting_requests() -> None:
    lines = ConnectionQueues()
    lines.follow({"gpu": 1, "other": None})
    line = lines.get("gpu")
    assert line is not None
    assert lines.get("other") is None
    await line.enter(exchange("first"))
    tasks = [asyncio.create_task(line.enter(exchange(str(n)))) for n in range(3)]
    await settle()
    lines.follow({"gpu": 2})
    await settle()
    assert [task.done() for task in tasks] == [True, False, False]
    lines.follow({})
    await asyncio.gather(*tasks)
    assert lines.get("gpu") is None


class Answer:
    status, reason, headers = 200, "OK", ()

    def __init__(self, *pieces: Any) -> None:
        self.pieces = list(pieces)

    async def chunk(self) -> bytes:
        piece = self.pieces.pop(0)
        if isinstance(piece, Exception):
            raise piece
        assert isinstance(piece, bytes)
        return piece

    async def read(self, limit: int) -> bytes:
        return b"".join(self.pieces)

    def close(self) -> None: ...


async def test_a_place_is_held_until_the_last_byte() -> None:
    line = Line("gpu", 1, lambda kind, members: None)

    async def held(*pieces: Any) -> HeldResponse:
        return HeldResponse(Answer(*pieces), await line.enter(exchange("x")))

    response = await held(b"a", b"b", b"")
    assert (response.status, response.reason, list(response.headers)) == (200, "OK", [])
    await response.chunk()
    await response.chunk()
    assert line.running == 1
    assert await response.chunk() == b""
    assert line.running == 0
    response.close()
    assert line.running == 0, "a place must be released only once"
    response = await held(UpstreamTruncated("broke"))
    with pytest.raises(UpstreamTruncated):
        await response.chunk()
    assert line.running == 0
    assert await (await held(b"a", b"b", b"")).read(10) == b"ab"
    assert line.running == 0
    (await held(b"a")).close()
    assert line.running == 0


def test_an_unread_answer_releases_its_place_once() -> None:
    line = Line("gpu", 1, lambda kind, members: None)
    line.running = 1
    place = QueuePlace(line)
    place.leave()
    place.leave()
    assert line.running == 0
