"""The house of these tests: one connection to the scripted upstream, no keys."""

from collections.abc import Iterator

import pytest

from tests.front.house import front_conf, serving
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream


@pytest.fixture(scope="module", params=["spliced", "plain"])
def daemon(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """A house without keys, by both ways of serving."""
    with serving(tmp_path_factory.mktemp("behaviour"), front_conf(upstream), request.param) as running:
        yield running
