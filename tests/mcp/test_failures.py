"""How long until the next attempt."""

import pytest

from openai_proxy.tools.mcp.diagnosis import not_found
from openai_proxy.tools.mcp.failures import SLOW_AFTER, retry_delay


def test_a_working_server_that_dies_is_restarted_at_once_twice() -> None:
    assert retry_delay(1, remote=False, was_ready=True) == 0
    assert retry_delay(2, remote=False, was_ready=True) == 0
    assert 0.37 < retry_delay(3, remote=False, was_ready=True) < 0.63
    assert retry_delay(8, remote=False, was_ready=True) > 10


@pytest.mark.parametrize("remote", [False, True])
def test_delays_grow_to_a_limit_and_never_end(remote: bool) -> None:
    delays = [retry_delay(count, remote=remote, was_ready=False) for count in range(1, 200)]
    assert 0.37 < delays[0] < 0.63
    assert delays[4] > delays[0]
    assert max(delays) <= (19 if remote else 375)
    assert min(delays[SLOW_AFTER + 1 :]) >= (11 if remote else 225)


def test_a_missing_program_comes_with_installation_advice() -> None:
    assert "uvx is part of uv" in not_found("uvx", None)
    assert "apt install npm" in not_found("npx", None)
    assert "give the full path" in not_found("my-server", None)
    assert not_found("/opt/my-server", None) == "not found: /opt/my-server"
    assert not_found("uvx", "/not/there") == "its working directory does not exist: /not/there"
