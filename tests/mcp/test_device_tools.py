"""Tool lists that depend on the device: read once a minute, used while they are read again, never awaited for long."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from openai_proxy.tools.mcp import device_tools
from openai_proxy.tools.mcp.definitions import ToolDefinition
from openai_proxy.tools.mcp.device_tools import Definitions, DeviceTools

TIMER = ToolDefinition.of("HassStartTimer", "", {"type": "object"})


class Assistant:
    """A server's answers about devices, and the number of requests."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.tools: Definitions | None = {TIMER.name: TIMER}
        self.lists = DeviceTools(self.read)

    async def read(self, device: str) -> Definitions | None:
        self.asked.append(device)
        await self.answers.wait()
        return self.tools


@pytest.fixture
async def assistant() -> AsyncIterator[Assistant]:
    made = Assistant()
    yield made
    made.lists.close()


async def test_it_is_read_once_for_each_device(assistant: Assistant) -> None:
    for _ in range(2):
        assert await assistant.lists.of("kitchen") == {TIMER.name: TIMER}
        await assistant.lists.of("hall")
    assert assistant.asked == ["kitchen", "hall"]


async def test_two_concurrent_requests_share_one_read(assistant: Assistant) -> None:
    assistant.answers.clear()
    both = asyncio.gather(assistant.lists.of("kitchen"), assistant.lists.of("kitchen"))
    await asyncio.sleep(0)
    assistant.answers.set()
    assert await both == [{TIMER.name: TIMER}] * 2
    assert assistant.asked == ["kitchen"]


async def test_an_old_list_serves_while_it_is_read_again(assistant: Assistant) -> None:
    await assistant.lists.of("kitchen")
    assistant.lists.outdate()
    assistant.answers.clear()
    assert await assistant.lists.of("kitchen") == {TIMER.name: TIMER}
    await asyncio.sleep(0)
    assert len(assistant.asked) == 2
    assistant.tools = None  # the server does not answer, so its last answer stays valid
    assistant.answers.set()
    await asyncio.sleep(0)
    assert await assistant.lists.of("kitchen") == {TIMER.name: TIMER}


async def test_a_silent_server_delays_requests_only_briefly(
    assistant: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_tools, "PATIENCE", 0.01)
    assistant.answers.clear()
    assert await assistant.lists.of("kitchen") == {}
    assert await assistant.lists.of("kitchen") == {}
    assert assistant.asked == ["kitchen"]


async def test_the_number_of_devices_is_bounded(assistant: Assistant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_tools, "MAX_DEVICES", 2)
    for device in ("a", "b", "a", "c", "a", "b"):
        await assistant.lists.of(device)
    assert assistant.asked == ["a", "b", "c", "b"], "the least recently used device must be dropped"
