"""Waking a machine: the packet on the wire, and how long a request waits for the machine."""

import asyncio
import socket
from typing import Any

import pytest

from openai_proxy import endpoints
from openai_proxy.config.connection import WakeConfig
from openai_proxy.errors import UpstreamInvalid, UpstreamTimeout, UpstreamUnreachable
from openai_proxy.exchange import Attempt, Caller, Exchange, Target
from openai_proxy.upstream import wake
from openai_proxy.upstream.wake import Waker, is_asleep, magic_packet
from tests.harness.waiting import PATIENCE

MAC = "aa:bb:cc:dd:ee:0f"
CHAT = endpoints.locate("POST", "/v1/chat/completions")


def listener() -> tuple[socket.socket, int]:
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    heard.bind(("127.0.0.1", 0))
    heard.settimeout(PATIENCE)
    return heard, heard.getsockname()[1]


def test_the_packet_is_six_times_ff_and_sixteen_times_the_address() -> None:
    packet = magic_packet(MAC)
    assert packet == b"\xff" * 6 + bytes([0xAA, 0xBB, 0xCC, 0xDD, 0xEE, 0x0F]) * 16
    assert len(packet) == 102


def test_errors_typical_of_a_sleeping_machine() -> None:
    assert is_asleep(UpstreamUnreachable("refused"))
    assert is_asleep(UpstreamTimeout("slow", code="upstream_connect_timeout"))
    assert not is_asleep(UpstreamTimeout("slow"))
    assert not is_asleep(UpstreamInvalid("nonsense"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "AGAIN", 0.001)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("comes_up", [True, False])
async def test_a_request_waits_for_the_machine(comes_up: bool) -> None:
    heard, port = listener()
    with heard:
        events: list[Any] = []
        config = WakeConfig(mac=MAC, broadcast="127.0.0.1", port=port, wait=60 if comes_up else 0.02)
        waker = Waker("gpu", config, lambda kind, members: events.append((kind, members["state"])))
        exchange = Exchange("r", Caller("127.0.0.1"), "POST", CHAT, "m")
        exchange.attempts.append(Attempt(Target("gpu")))
        called: list[bool] = []
        exchange.on_waking = lambda: called.append(True)
        asked = 0

        async def ask() -> str:
            nonlocal asked
            asked += 1
            exchange.attempts.append(Attempt(Target("gpu")))
            assert exchange.state == "waking"
            if asked == 3 and comes_up:
                return "up"
            raise UpstreamUnreachable("refused")

        async with asyncio.timeout(PATIENCE):
            if comes_up:
                assert await waker.wait_for(exchange, ask) == "up"
            else:
                with pytest.raises(UpstreamUnreachable):
                    await waker.wait_for(exchange, ask)
        assert heard.recv(200) == magic_packet(MAC)
        heard.setblocking(False)
        with pytest.raises(BlockingIOError):
            heard.recv(200)  # one packet is enough for a while
        assert events == [("wake", "waking"), ("wake", "awake" if comes_up else "asleep")]
        assert len(exchange.attempts) == 1, "polling the machine must count as one attempt"
        assert called == [True]


@pytest.mark.usefixtures("quick")
async def test_an_error_of_a_running_machine_is_its_answer() -> None:
    waker = Waker("gpu", WakeConfig(mac=MAC, broadcast="127.0.0.1"), lambda kind, members: None)

    async def ask() -> str:
        raise UpstreamInvalid("nonsense")

    with pytest.raises(UpstreamInvalid):
        await waker.wait_for(Exchange("r", Caller("127.0.0.1"), "POST", CHAT, "m"), ask)
