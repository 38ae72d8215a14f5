"""The daemon of these tests: one for all of them."""

from collections.abc import Iterator

import pytest

from tests.augmented.configurations import augmented_conf, augmented_files
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually


@pytest.fixture(scope="session")
def augmented_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The daemon. Afterwards nothing may be left: no client, no child, no complaint."""
    daemon = Daemon(tmp_path_factory.mktemp("augmented"), augmented_conf(upstream), files=augmented_files()).start()
    try:
        yield daemon
        daemon.assert_nothing_leaked()
        eventually(lambda: upstream.busy() == 0, "no request is still running upstream")
        daemon.stop()
    finally:
        daemon.kill()


@pytest.fixture(autouse=True)
def no_client_outlives_its_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Connections a test left open are closed after it."""
    yield
    if "augmented_daemon" in request.fixturenames:
        request.getfixturevalue("augmented_daemon").close_wires()
