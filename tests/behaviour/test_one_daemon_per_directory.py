"""Contract §11: a second daemon on a state directory exits with 1 and a message; a killed one leaves no lock."""

import re
import signal
from pathlib import Path

import pytest

from openai_proxy.runtime import state_lock
from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream


@pytest.fixture
def first(make_daemon: DaemonFactory, upstream: Upstream) -> Daemon:
    return make_daemon({"connections": {"up": {"api_base": upstream.url}}})


def second(make_daemon: DaemonFactory, first: Daemon) -> Daemon:
    daemon = make_daemon({"connections": {"up": {"api_type": "echo"}}}, start=False)
    daemon.state_dir = first.state_dir
    return daemon


def test_the_second_daemon_exits_with_a_message(make_daemon: DaemonFactory, first: Daemon) -> None:
    other = second(make_daemon, first)
    other.launch()
    assert other.exit_code() == 1
    said = f"openai-proxy: Another daemon (process {first.process.pid}) is using the state directory"
    assert other.stderr.startswith(said)
    assert len(other.stderr.splitlines()) == 1
    assert first.chat("x").status == 200
    assert (first.state_dir / "control.sock").exists(), "the first daemon lost its control socket"


def test_a_killed_daemon_leaves_no_lock(make_daemon: DaemonFactory, first: Daemon) -> None:
    first.close_wires()
    first.signal(signal.SIGKILL)
    first.exit_code()
    other = second(make_daemon, first).start()
    assert other.chat("echo").status == 200


def test_a_restart_takes_over_the_directory(first: Daemon) -> None:
    first.stop()
    first.start()
    assert first.chat("x").status == 200


def test_a_directory_that_cannot_be_written_is_used_without_a_lock(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    with state_lock.held(tmp_path / "file" / "state"):
        pass
    assert re.search("cannot be locked: Not a directory", caplog.text)


def test_a_released_lock_can_be_taken_again(tmp_path: Path) -> None:
    with state_lock.held(tmp_path), pytest.raises(state_lock.StateInUse), state_lock.held(tmp_path):
        raise AssertionError("taken twice")
    with state_lock.held(tmp_path):
        assert (tmp_path / state_lock.FILE).stat().st_mode & 0o777 == 0o600
