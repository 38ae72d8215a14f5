"""Fixtures for all tests of the running daemon, and the settings of hypothesis."""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.daemon import Daemon
from tests.harness.service_manager import Manager
from tests.harness.upstream import Upstream

# The same examples in every run: a failure on one machine is a failure on all. Nothing is measured by the clock,
# neither an example (deadline) nor the drawing of them (too_slow): the machine may be busy. HYPOTHESIS_PROFILE=thorough
# draws ten times as many, different ones each time.
_CALM = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("suite", derandomize=True, max_examples=50, **_CALM)
settings.register_profile("thorough", max_examples=500, **_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

DaemonFactory = Callable[..., Daemon]


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes may contain a random mask or a time of day, but every worker of a run must use the same id for a test."""
    return f"{argname}-" if isinstance(val, bytes) and len(val) > 16 else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no worker is left alone with one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow") is not None}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """One provider for the whole run; tests add scripts."""
    server = Upstream().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def black_hole() -> Iterator[int]:
    """A port whose backlog is full, so that a connection is neither accepted nor refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):  # the queue takes one or two; the last one hangs, which proves that it is full
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    """A service manager for a daemon."""
    manager = Manager(str(tmp_path / "manager"))
    yield manager
    manager.sock.close()


@pytest.fixture
def make_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonFactory]:
    """Start daemons for one test: `make_daemon(conf, files=…, flags=…, env=…, dotenv=…, open_files=…)`.

    Those still running at the end of the test are stopped and must stop properly. `start=False` does not start it.
    """
    started: list[Daemon] = []

    def make(conf: Mapping[str, Any] | str = "", *, start: bool = True, **options: Any) -> Daemon:
        root: Path = tmp_path_factory.mktemp("daemon")
        daemon = Daemon(root, conf, **options)
        started.append(daemon)
        return daemon.start() if start else daemon

    yield make
    finish(started)


@pytest.fixture(scope="module")
def reuse_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonFactory]:
    """Like `make_daemon`, but equal calls in one module share one daemon, whose conf/ is restored before each.

    A start costs half a second of processor time, which adds up to minutes over the suite. For tests that do not mind
    what others have left in the logs and the state.
    """
    started: dict[str, tuple[Daemon, dict[Path, bytes]]] = {}

    def reuse(conf: Mapping[str, Any] | str = "", **options: Any) -> Daemon:
        key = repr((conf, options))
        if key in started and started[key][0].running():
            _put_back(*started[key])
        else:
            daemon = Daemon(tmp_path_factory.mktemp("daemon"), conf, **options).start()
            started[key] = daemon, _contents(daemon)
        return started[key][0]

    yield reuse
    finish([daemon for daemon, _ in started.values()])


def _contents(daemon: Daemon) -> dict[Path, bytes]:
    """The contents of its conf/."""
    files = [daemon.root / ".env", *(path for path in daemon.conf_dir.rglob("*") if "__pycache__" not in path.parts)]
    return {path: path.read_bytes() for path in files if path.is_file()}


def _put_back(daemon: Daemon, files: dict[Path, bytes]) -> None:
    daemon.close_wires()
    present = _contents(daemon)
    if present == files:
        return
    for path in present.keys() - files.keys():
        path.unlink()
    for path, data in files.items():
        if present.get(path) != data:
            path.write_bytes(data)
    answer = daemon.control("POST", "/admin/reload")
    assert answer.status == 200, answer.body


def finish(daemons: list[Daemon]) -> None:
    """Stop those still running, each with its checks, and clean up even if one of them fails."""
    try:
        for daemon in daemons:
            if daemon.running():
                daemon.stop()
    finally:
        for daemon in daemons:
            daemon.kill()
