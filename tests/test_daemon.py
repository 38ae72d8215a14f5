"""What the daemon does before it listens."""

import resource

import pytest

from openai_proxy.daemon import raise_file_limit


@pytest.mark.parametrize(
    ("limits", "most", "expected"),
    [
        ((256, 4096), 4096, (4096, 4096)),
        ((4096, 4096), 4096, None),
        ((256, resource.RLIM_INFINITY), 10_240, (10_240, resource.RLIM_INFINITY)),  # macOS
        ((256, resource.RLIM_INFINITY), 1 << 20, (1 << 20, resource.RLIM_INFINITY)),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 1 << 20, None),
    ],
)
def test_the_limit_of_open_files_is_raised(
    limits: tuple[int, int], most: int, expected: tuple[int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = []

    def take(_: int, asked: tuple[int, int]) -> None:
        if asked[0] > most:
            raise ValueError("current limit exceeds maximum limit")
        told.append(asked)

    monkeypatch.setattr(resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(resource, "setrlimit", take)
    raise_file_limit()
    assert told == ([] if expected is None else [expected])
