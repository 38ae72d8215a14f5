"""A server that disappears and comes back: no call waits for the rest of a backoff."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from openai_proxy.tools.mcp import server as actor
from tests.mcp.conftest import Config, Supervised, eventually, fault
from tests.mcp.fake_http import FakeServer, fake_server

AWAY = "The tool server 'fault' is not available at the moment. Try again later."


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


@pytest.fixture(autouse=True)
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No automatic retries: attempts are only made because of calls."""
    monkeypatch.setattr(actor, "retry_delay", lambda *args, **more: 3600.0)


async def test_a_call_finds_a_server_that_came_back_after_a_failed_attempt(
    supervised: Supervised, server: FakeServer
) -> None:
    await supervised.start(Config(type="streamablehttp", url=server.url))
    await server.stop()
    for _ in range(3):
        lost = await supervised.echo("lost")
        assert (lost.text, lost.is_error) == (AWAY, True)
    await server.start()
    assert (await supervised.echo("hi")).text == "hi"


async def test_even_after_many_failures_a_call_triggers_an_attempt(supervised: Supervised, server: FakeServer) -> None:
    await supervised.start(Config(type="streamablehttp", url=server.url))
    await server.stop()
    while supervised.status()["failures"] <= actor.SLOW_AFTER:
        assert (await supervised.echo("lost")).is_error
    await server.start()
    assert (await supervised.echo("hi")).text == "hi"


async def test_concurrent_calls_share_attempts(supervised: Supervised, server: FakeServer) -> None:
    await supervised.start(Config(type="streamablehttp", url=server.url))
    await server.stop()
    assert (await supervised.echo("lost")).is_error
    before = supervised.status()["failures"]
    lost: list[Any] = await asyncio.gather(*(supervised.echo("lost") for _ in range(20)))
    assert all(result.is_error for result in lost)
    assert supervised.status()["failures"] <= before + 3


async def test_a_program_that_does_not_start_is_not_retried_forever(supervised: Supervised) -> None:
    await supervised.start(fault())
    supervised.configure(fault("die"))
    await supervised.state("backoff")
    supervised.supervisor.restart("fault")  # ends the old process, which was still serving
    await eventually(lambda: supervised.status()["pid"] is None and supervised.status()["state"] == "backoff")
    lost = await supervised.echo("lost")
    assert (lost.text, lost.is_error) == (AWAY, True)
    supervised.configure(fault())
    assert (await supervised.echo("hi")).text == "hi"
