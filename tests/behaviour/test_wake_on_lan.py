"""A connection whose machine is asleep: the packet, which requests wait, and what a stream receives meanwhile."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from openai_proxy.upstream import wake
from tests.agent.grammar import check
from tests.agent.support import says
from tests.conftest import DaemonFactory
from tests.harness.daemon import CANARY, Daemon, free_port
from tests.harness.plays import LAST, SSE_HEAD, chunk, completion, plain
from tests.harness.upstream import Peer, Upstream
from tests.harness.waiting import eventually

MAC = "02:00:00:00:00:2a"
PACKET = b"\xff" * 6 + bytes([2, 0, 0, 0, 0, 0x2A]) * 16


class Sleeper:
    """A machine on the network: nothing listens on its port until it is woken."""

    def __init__(self, upstream: Upstream) -> None:
        self.port = free_port()
        self.upstream = upstream
        self.ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ear.bind(("127.0.0.1", 0))
        self.ear.settimeout(20)

    def connection(self, wait: float = 60) -> dict[str, Any]:
        wake = {"mac": MAC, "broadcast": "127.0.0.1", "port": self.ear.getsockname()[1], "wait": wait}
        return {"api_base": f"http://127.0.0.1:{self.port}/v1", "api_key": CANARY, "wake": wake, "max_retries": 0}

    @contextlib.contextmanager
    def awake(self) -> Iterator[None]:
        """True if its server is running."""
        upstream = self.upstream

        async def listen() -> Any:
            return await upstream.loop.create_server(lambda: Peer(upstream), "127.0.0.1", self.port)

        server = asyncio.run_coroutine_threadsafe(listen(), upstream.loop).result(10)
        try:
            yield
        finally:
            upstream.ask(server.close)


@pytest.fixture
def sleeper(upstream: Upstream) -> Iterator[Sleeper]:
    made = Sleeper(upstream)
    yield made
    made.ear.close()


@pytest.fixture
def configured_daemon(upstream: Upstream, sleeper: Sleeper, tmp_path: Any) -> Iterator[Daemon]:
    conf = {
        "connections": {
            "gpu": sleeper.connection(),
            "dead": sleeper.connection(wait=0.2),
            "cloud": {"api_base": upstream.url, "api_key": CANARY},
        },
        "default_connection": "gpu",
        "routing": {"both": ["gpu.m", "cloud.m"], "dead": ["dead.m", "cloud.m"], "lost": "dead.m"},
        "groups": {"voice": {"api_keys": ["sk-voice-key"], "priority": "high"}, "rest": {"api_keys": ["sk-rest-key"]}},
        "require_api_key": True,
    }
    files = {
        "models/help.yaml": "name: help\nupstream_model: m\nsystem_prompt: Hi.\n",
        "models/timed.yaml": "name: timed\nupstream_model: m\nsystem_prompt: Hi.\ndeadline: 0.5\n",
        "models/lost.yaml": "name: lost-help\nupstream_model: lost\nsystem_prompt: Hi.\n",
    }
    with Daemon(tmp_path, conf, files=files).serving(leaks=False) as daemon:
        yield daemon


def ask(configured_daemon: Daemon, play: str, model: str = "m", key: str = "sk-rest-key", **members: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Licht an"}], **members}
    return configured_daemon.wire(timeout=30).request(
        "POST", "/v1/chat/completions", body=json.dumps(body).encode(), headers=[("X-Play", play)], key=key
    )


def states(configured_daemon: Daemon) -> list[str]:
    return [request["state"] for request in configured_daemon.control("GET", "/admin/status").json()["requests"]]


def test_a_request_wakes_the_machine_and_waits_for_it(
    configured_daemon: Daemon, upstream: Upstream, sleeper: Sleeper
) -> None:
    play = upstream.play(plain(completion("up")))
    wire = ask(configured_daemon, play.model)
    assert sleeper.ear.recv(200) == PACKET
    eventually(lambda: states(configured_daemon) == ["waking"], "the status shows the connection as waking")
    with sleeper.awake():
        answer = wire.answer()
    assert (answer.status, answer.json()["choices"][0]["message"]["content"]) == (200, "up")
    assert answer.header("x-proxy-attempts") is None, "there was more than one attempt"


def test_a_stream_of_an_augmented_model_gets_heartbeats(
    configured_daemon: Daemon, upstream: Upstream, sleeper: Sleeper
) -> None:
    play = upstream.play(SSE_HEAD + chunk(says("Good morning.")) + LAST)
    wire = ask(configured_daemon, play.model, "help", stream=True)
    assert sleeper.ear.recv(200) == PACKET
    assert wire.read_head().status == 200, "the head is sent before the machine is up"
    begun = wire.read_until(b'"role":"assistant"')
    with sleeper.awake():
        answer = wire.read_rest(before=begun)
    seen = check(answer.body, model="help")
    assert seen.content == "Good morning."
    answered = eventually(
        lambda: [line for line in configured_daemon.log_lines() if line["type"] == "response"],
        "the answer is in the log",
    )
    assert answered[0]["ttft_ms"] > wake.AGAIN * 1000, "the time counts to the first word, not to the head"


def test_a_request_that_cannot_wait_uses_the_next_target(
    configured_daemon: Daemon, upstream: Upstream, sleeper: Sleeper
) -> None:
    play = upstream.play(plain(completion("from the cloud")))
    answer = ask(configured_daemon, play.model, "both", key="sk-voice-key").answer()
    assert answer.json()["choices"][0]["message"]["content"] == "from the cloud"
    assert sleeper.ear.recv(200) == PACKET, "the machine is woken for later requests"
    assert ask(configured_daemon, play.model, "dead").answer().status == 200, (
        "a request that may wait gets the next target in the end"
    )


def test_a_machine_that_does_not_wake_up(configured_daemon: Daemon, upstream: Upstream, sleeper: Sleeper) -> None:
    play = upstream.play(plain(completion("never")))
    for _ in range(7):
        answer = ask(configured_daemon, play.model, "lost").answer()
        assert (answer.status, answer.header("x-proxy-error")) == (502, "upstream_unreachable")
        assert answer.header("x-should-retry") == "false"
    broken = ask(configured_daemon, play.model, "lost-help", stream=True).answer()
    assert b'"error"' in broken.body
    assert b"[DONE]" not in broken.body


def test_waking_counts_towards_the_deadline(configured_daemon: Daemon, upstream: Upstream, sleeper: Sleeper) -> None:
    play = upstream.play(plain(completion("never")))
    answer = ask(configured_daemon, play.model, "timed").answer()
    assert answer.json()["choices"][0]["message"]["content"] == "Das hat leider zu lange gedauert."
    streamed = ask(configured_daemon, play.model, "timed", stream=True).answer()
    assert "Das hat leider zu lange gedauert." in streamed.body.decode()
    assert streamed.body.endswith(b"data: [DONE]\n\n")


def test_a_silent_machine_is_woken_even_by_a_request_that_cannot_wait(
    upstream: Upstream, sleeper: Sleeper, black_hole: int, make_daemon: DaemonFactory
) -> None:
    gpu = {**sleeper.connection(), "api_base": f"http://127.0.0.1:{black_hole}/v1"}
    cloud = {"api_base": upstream.url, "api_key": CANARY}
    daemon = make_daemon({
        "connections": {"gpu": gpu, "cloud": cloud},
        "routing": {"both": {"targets": [{"target": "gpu.m", "first_byte": 0.2}, "cloud.m"]}},
    })  # fmt: skip
    assert daemon.chat("both").status == 200
    assert sleeper.ear.recv(200) == PACKET, "the machine is woken for later requests"


def test_requests_for_lists_wake_no_machine(configured_daemon: Daemon, sleeper: Sleeper) -> None:
    assert configured_daemon.get("/v1/models", key="sk-rest-key").status == 200
    sleeper.ear.settimeout(0.3)
    with pytest.raises(TimeoutError):
        sleeper.ear.recv(200)
