"""A target with its own `first_byte`: if its answer does not begin in time, the next target answers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.agent.support import says
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import HOLD, LAST, SSE_HEAD, Step, chunk, completion, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream


@pytest.fixture(scope="module")
def daemon_and_plays(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Daemon, dict[str, Play]]]:
    connection = {"api_base": upstream.url, "api_key": CANARY, "max_retries": 0}
    slow: dict[str, tuple[Step, ...]] = {"silent": (HOLD,), "thinking": (SSE_HEAD, HOLD)}
    plays = {name: upstream.play(*steps) for name, steps in slow.items()}
    plays["quick"] = upstream.play(plain(completion("the local one")))
    spare = plays["spare"] = upstream.play(plain(completion("the other one")))
    routing: dict[str, Any] = {
        name: [
            {"target": f"near.{plays[name].model}", "first_byte": 0.3 if name != "quick" else 30},
            f"far.{spare.model}",
        ]
        for name in ("silent", "thinking", "quick")
    }
    routing["alone"] = {"targets": [{"target": f"near.{plays['silent'].model}", "first_byte": 0.3}]}
    conf = {"connections": {"near": connection, "far": connection}, "routing": routing}
    files = {"models/help.yaml": "name: help\nupstream_model: silent\nsystem_prompt: Help.\n"}
    daemon = Daemon(tmp_path_factory.mktemp("patience"), conf, files=files).start()
    try:
        yield daemon, plays
        daemon.assert_nothing_leaked()
        daemon.stop()
    finally:
        daemon.kill()


@pytest.mark.parametrize("model", ["silent", "thinking", "help"])
def test_the_next_target_answers_if_the_first_is_too_slow(daemon_and_plays: Any, model: str) -> None:
    daemon, plays = daemon_and_plays
    answer = daemon.chat(model)
    assert answer.json()["choices"][0]["message"]["content"] == "the other one"
    assert answer.header("x-proxy-attempts") == "2"
    slow = plays["silent" if model == "help" else model]
    assert slow.requests[-1].gone(), "the connection to the slow target is still open"


def test_a_target_that_begins_in_time_is_kept(daemon_and_plays: Any) -> None:
    daemon, _ = daemon_and_plays
    assert daemon.chat("quick").json()["choices"][0]["message"]["content"] == "the local one"


def test_without_another_target_the_request_times_out(daemon_and_plays: Any) -> None:
    daemon, _ = daemon_and_plays
    answer = daemon.chat("alone")
    assert (answer.status, answer.header("x-proxy-error")) == (504, "upstream_timeout")


def test_a_stream_that_has_begun_is_complete(daemon_and_plays: Any, upstream: Upstream) -> None:
    daemon, plays = daemon_and_plays
    plays["quick"].steps = (SSE_HEAD + chunk(says("A whole answer.")) + LAST,)
    body = json.dumps({"model": "quick", "messages": [], "stream": True}).encode()
    assert daemon.post("/v1/chat/completions", body).body == says("A whole answer.")
