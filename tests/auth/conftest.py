"""Fixtures for tests of groups: with and without the fast path."""

import pytest

from tests.front.configurations import WAYS


@pytest.fixture(params=list(WAYS))
def flags(request: pytest.FixtureRequest) -> list[str]:
    return WAYS[request.param]
