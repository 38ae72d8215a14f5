"""A client that disconnects, and an owner who cancels: model and tool are stopped at once, at any point of the turn."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.agent.grammar import check
from tests.agent.support import chunk, events
from tests.augmented.configurations import augmented_conf, augmented_files
from tests.augmented.talk import MODE_IDS, MODES, asks, chat, checked, conversation, request
from tests.conftest import DaemonFactory
from tests.harness import plays
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import HOLD, SSE_HEAD
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually
from tests.harness.wire import Closed, Wire

LEAVING: dict[str, Callable[[Wire], None]] = {"fin": Wire.close, "rst": Wire.abort, "half-close": Wire.half_close}
both_modes = pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)
every_way = pytest.mark.parametrize("how", LEAVING)


@every_way
@both_modes
def test_while_waiting_for_the_model(augmented_daemon: Daemon, upstream: Upstream, how: str, stream: bool) -> None:
    play = upstream.play(HOLD)
    wire = request(augmented_daemon.wire(), "augmented/tools", play, stream=stream)
    seen = play.wait()
    LEAVING[how](wire)
    assert seen.gone(), "the provider still works for a client that has disconnected"


@every_way
def test_while_the_model_streams(augmented_daemon: Daemon, upstream: Upstream, how: str) -> None:
    play = upstream.play(SSE_HEAD, plays.chunk(events(chunk({"content": "word"}), done=False)), HOLD)
    wire = request(augmented_daemon.wire(), "augmented/tools", play, stream=True)
    wire.read_head()
    wire.read_until(b"word")
    seen = play.begun()
    LEAVING[how](wire)
    assert seen.gone()


@every_way
@both_modes
def test_while_a_tool_runs(
    augmented_daemon: Daemon, upstream: Upstream, how: str, stream: bool, tmp_path: Path
) -> None:
    play = conversation(upstream, [("c1", "gate", json.dumps({"folder": str(tmp_path)}))], "late", stream=stream)
    wire = request(augmented_daemon.wire(), "augmented/tools", play, stream=stream)
    eventually((tmp_path / "started").exists, "the tool runs")
    LEAVING[how](wire)
    eventually((tmp_path / "cancelled").exists, "the tool is cancelled")
    wire.close()
    eventually(lambda: augmented_daemon.clients() == 0, "the client's connection is closed")
    assert len(play.requests) == 1, "the provider was asked again after the client had disconnected"


@every_way
@both_modes
def test_while_waiting_for_the_next_round(augmented_daemon: Daemon, upstream: Upstream, how: str, stream: bool) -> None:
    play = upstream.rounds(asks(("c1", "double", '{"number":1}'), stream=stream), HOLD)
    wire = request(augmented_daemon.wire(), "augmented/tools", play, stream=stream)
    seen = play.wait(2)
    LEAVING[how](wire)
    assert seen.gone()


def test_the_daemon_still_serves(augmented_daemon: Daemon, upstream: Upstream) -> None:
    sockets = augmented_daemon.open_sockets()
    for number in range(30):
        play = upstream.rounds(asks(("c1", "double", '{"number":1}'), stream=True), HOLD)
        wire = request(augmented_daemon.wire(), "augmented/tools", play, stream=True)
        seen = play.wait(2)
        list(LEAVING.values())[number % 3](wire)
        assert seen.gone()
    augmented_daemon.close_wires()
    eventually(lambda: augmented_daemon.clients() == 0, "every client connection is closed")
    eventually(lambda: augmented_daemon.open_sockets() <= sockets + 2, f"sockets are back at {sockets}")
    assert (
        chat(augmented_daemon, "tools", conversation(upstream, "Still here.", stream=True), stream=True).content
        == "Still here."
    )


def running(augmented_daemon: Daemon, model: str) -> list[dict[str, Any]]:
    requests = augmented_daemon.get("/admin/status").json()["requests"]
    return [one for one in requests if one["model"] == model]


def only_running(augmented_daemon: Daemon, model: str, state: str) -> dict[str, Any]:
    def found() -> dict[str, Any] | None:
        ours = running(augmented_daemon, model)
        return ours[0] if len(ours) == 1 and ours[0]["state"] == state else None

    return eventually(found, f"one request of {model} is in state {state}")


@pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)
def test_the_owner_cancels_a_turn_while_its_tool_runs(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool, tmp_path: Path
) -> None:
    play = conversation(upstream, [("c1", "gate", json.dumps({"folder": str(tmp_path)}))], "late", stream=stream)
    wire = request(augmented_daemon.wire(), "augmented/tools", play, stream=stream)
    eventually((tmp_path / "started").exists, "the tool runs")
    one = only_running(augmented_daemon, "augmented/tools", "tools")
    assert augmented_daemon.control("POST", f"/admin/requests/{one['id']}/cancel").status == 200
    eventually((tmp_path / "cancelled").exists, "the tool is cancelled")
    answer = wire.answer()
    if stream:
        assert answer.complete
        error = check(answer.body, model="augmented/tools").error
        assert error is not None
        assert error["code"] == "cancelled"
    else:
        assert (answer.status, answer.header("x-proxy-error")) == (503, "cancelled")
        assert answer.header("x-should-retry") == "false", "a retry must be discouraged once a tool has run"
    eventually(lambda: not running(augmented_daemon, "augmented/tools"), "the cancelled request has ended")


@pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)
def test_the_owner_cancels_a_turn_that_waits_for_the_model(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    play = upstream.play(HOLD)
    wire = request(augmented_daemon.wire(), "augmented/tools", play, stream=stream)
    seen = play.wait()
    one = only_running(augmented_daemon, "augmented/tools", "waiting")
    assert augmented_daemon.control("POST", f"/admin/requests/{one['id']}/cancel").status == 200
    assert seen.gone()
    check_error(wire.answer(), 503, "cancelled")


@pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)
def test_a_stop_waits_for_the_turn(
    make_daemon: DaemonFactory, upstream: Upstream, stream: bool, tmp_path: Path
) -> None:
    """SIGTERM while a tool runs: the answer is completed first, including the next round."""
    daemon = make_daemon(augmented_conf(upstream), files=augmented_files())
    play = conversation(upstream, [("c1", "gate", json.dumps({"folder": str(tmp_path)}))], "Done.", stream=stream)
    wire = request(daemon.wire(), "augmented/tools", play, stream=stream)
    eventually((tmp_path / "started").exists, "the tool runs")
    daemon.signal(signal.SIGTERM)
    eventually(lambda: _refuses(daemon), "the daemon refuses new connections")
    (tmp_path / "go").touch()
    assert checked(wire.answer(), "augmented/tools", stream=stream).content == "Done."
    assert daemon.process.wait(PATIENCE) == 0
    daemon.assert_quiet()


def _refuses(daemon: Daemon) -> bool:
    try:
        with daemon.wire() as wire:
            return wire.request("GET", "/v1/models").answer(method="GET").status == 503
    except (OSError, Closed):  # the listener is closed, perhaps with us in its queue
        return True
