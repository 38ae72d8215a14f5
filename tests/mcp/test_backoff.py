"""How long until the next try."""

import pytest

from openai_proxy.tools.mcp.backoff import SLOW_AFTER, delay


def test_a_server_that_was_fine_is_restarted_at_once_the_first_times() -> None:
    assert delay(1, remote=False, was_ready=True) == 0
    assert delay(2, remote=False, was_ready=True) == 0
    assert 0.37 < delay(3, remote=False, was_ready=True) < 0.63
    assert delay(8, remote=False, was_ready=True) > 10


@pytest.mark.parametrize("remote", [False, True])
def test_delays_grow_to_a_limit_and_never_end(remote: bool) -> None:
    delays = [delay(count, remote=remote, was_ready=False) for count in range(1, 200)]
    assert 0.37 < delays[0] < 0.63
    assert delays[4] > delays[0]
    assert max(delays) <= (19 if remote else 375)
    assert min(delays[SLOW_AFTER + 1 :]) >= (11 if remote else 225)
