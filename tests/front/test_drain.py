"""SIGTERM: no new requests; running ones get time, and then an error; exit code 0. A second one: immediately."""

import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.front.configurations import WAYS, front_conf
from tests.harness.answers import check_stream_error
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, HOLD, LAST, SSE_HEAD, TWO, chunk, delta, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually
from tests.harness.wire import Wire

Make = Callable[..., Daemon]


@pytest.fixture
def drained(make_daemon: Make, upstream: Upstream, way: str) -> Callable[[float], Daemon]:
    def make(seconds: float) -> Daemon:
        return make_daemon(front_conf(upstream, limits={"drain_seconds": seconds}), flags=WAYS[way])

    return make


def hold(daemon: Daemon, play: Play) -> Wire:
    """A stream that pauses in the middle."""
    wire = daemon.wire().chat(play.model, stream=True)
    wire.read_head()
    wire.read_until(b"two")
    return wire


def refuses(daemon: Daemon) -> bool:
    try:
        with daemon.wire() as wire:
            return wire.request("GET", "/v1/models").answer(method="GET").status == 503
    except (ConnectionError, AssertionError):
        return True


def check_left(daemon: Daemon) -> None:
    assert daemon.process.wait(PATIENCE) == 0, daemon.stderr
    daemon.assert_quiet()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["term", "int"])
def test_an_idle_daemon_stops_at_once(drained: Callable[[float], Daemon], number: int) -> None:
    daemon = drained(30)
    idle = daemon.wire()
    assert idle.request("GET", "/health").answer(method="GET").status == 200  # an idle kept-alive connection
    daemon.signal(number)
    check_left(daemon)
    assert idle.wait_closed() == b""


def test_a_running_stream_is_completed(drained: Callable[[float], Daemon], upstream: Upstream) -> None:
    daemon, gate = drained(30), upstream.gate()
    play = upstream.play(SSE_HEAD, chunk(TWO), gate, chunk(delta("end") + DONE), LAST)
    wire = hold(daemon, play)
    daemon.signal(signal.SIGTERM)
    eventually(lambda: refuses(daemon), "new requests are refused")
    gate.open()
    answer = wire.read_rest()
    assert (answer.complete, answer.body) == (True, delta("end") + DONE)
    check_left(daemon)


def test_a_request_that_is_still_waiting_gets_its_answer(
    drained: Callable[[float], Daemon], upstream: Upstream
) -> None:
    daemon, gate = drained(30), upstream.gate()
    play = upstream.play(gate, plain(b'{"ok":1}'))
    wire = daemon.wire().chat(play.model)
    play.wait()
    daemon.signal(signal.SIGTERM)
    eventually(lambda: refuses(daemon), "new requests are refused")
    gate.open()
    answer = wire.answer()
    assert (answer.status, answer.body) == (200, b'{"ok":1}')
    assert wire.wait_closed() == b""
    check_left(daemon)


def test_at_the_limit_each_stream_gets_an_error_event(drained: Callable[[float], Daemon], upstream: Upstream) -> None:
    daemon = drained(0.5)
    play = upstream.play(SSE_HEAD, chunk(TWO), HOLD)
    wires = [hold(daemon, play) for _ in range(20)]
    without_answer = upstream.play(HOLD, name="silent")
    silent = daemon.wire().chat(without_answer.model)
    without_answer.wait()
    half = upstream.play(SSE_HEAD, chunk(TWO + b'data: {"half'), HOLD)
    cut = daemon.wire().chat(half.model, stream=True)
    cut.read_head()
    cut.read_until(b"half")
    daemon.signal(signal.SIGTERM)
    for wire in wires:
        error = check_stream_error(wire.read_rest(), b"")
        assert "shut" in json.dumps(error) or "drain" in json.dumps(error)
    answer = silent.answer()
    assert (answer.status, answer.header("x-proxy-error") is not None) == (503, True)
    assert not cut.read_rest().complete
    for number in range(20):
        assert play.begun(number + 1).gone()
    check_left(daemon)


def test_a_second_signal_stops_at_once(drained: Callable[[float], Daemon], upstream: Upstream) -> None:
    daemon = drained(600)
    play = upstream.play(SSE_HEAD, chunk(TWO), HOLD)
    wire = hold(daemon, play)
    daemon.signal(signal.SIGTERM)
    eventually(lambda: refuses(daemon), "the drain has begun")
    assert daemon.running()
    daemon.signal(signal.SIGTERM)
    assert daemon.process.wait(PATIENCE) == 0
    assert b"[DONE]" not in wire.read_rest().body
    assert play.begun().gone()


def test_the_records_of_aborted_streams_are_written(drained: Callable[[float], Daemon], upstream: Upstream) -> None:
    daemon = drained(0.2)
    play = upstream.play(SSE_HEAD, chunk(TWO), HOLD)
    wire = hold(daemon, play)
    daemon.signal(signal.SIGTERM)
    wire.read_rest()
    check_left(daemon)
    lines: list[dict[str, Any]] = [line for line in daemon.log_lines() if line["model"] == play.model]
    assert any(line.get("content") == "one two " for line in lines), lines


def test_ready_and_stopping_are_reported(make_daemon: Make, upstream: Upstream) -> None:
    daemon = make_daemon(front_conf(upstream))
    assert "READY=1" in daemon.status
    daemon.stop(timeout=25)  # with no request to wait for, less than the drain's 30 s
