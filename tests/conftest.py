"""Fixtures for every room that talks to the running daemon, and the settings of hypothesis for all."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream

# The same examples in every run: a failure on one machine is a failure on all. Nothing is measured by the clock,
# neither an example (deadline) nor the drawing of them (too_slow): the machine may be busy.
settings.register_profile("suite", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

DaemonFactory = Callable[..., Daemon]


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes may hold a random mask or a time of day, and every worker of a run has to call a test the same."""
    return f"{argname}-" if isinstance(val, bytes) and len(val) > 16 else None


@pytest.fixture(scope="session")
def upstream() -> Iterator[Upstream]:
    """One provider for the whole run; tests give it scripts."""
    server = Upstream().start()
    yield server
    server.stop()


@pytest.fixture
def make_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonFactory]:
    """Start daemons of one's own: `make_daemon(conf, files=…, flags=…, env=…, dotenv=…, open_files=…)`.

    Each still running at the end of the test is stopped, and must stop well. `start=False` leaves it to the test.
    """
    started: list[Daemon] = []

    def make(conf: Mapping[str, Any] | str = "", *, start: bool = True, **options: Any) -> Daemon:
        root: Path = tmp_path_factory.mktemp("daemon")
        daemon = Daemon(root, conf, **options)
        started.append(daemon)
        return daemon.start() if start else daemon

    yield make
    finish(started)


def finish(daemons: list[Daemon]) -> None:
    """Stop what still runs, each with its checks, and leave nothing behind even if one of them fails."""
    try:
        for daemon in daemons:
            if daemon.running():
                daemon.stop()
    finally:
        for daemon in daemons:
            daemon.kill()
