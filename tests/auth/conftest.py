"""What tests of groups share: both ways of serving."""

import pytest

from tests.front.house import WAYS


@pytest.fixture(params=list(WAYS))
def flags(request: pytest.FixtureRequest) -> list[str]:
    return WAYS[request.param]
