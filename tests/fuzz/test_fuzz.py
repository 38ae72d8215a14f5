"""A short fuzz run, and a check that it finds differences."""

import random

from tests.fuzz import requests
from tests.fuzz.run import run


async def test_a_short_run_finds_nothing() -> None:
    report = await run(300, 60, seed=7)
    assert report.differences == []
    assert report.requests == 300
    assert len(report.statuses) > 3, "the requests must lead to varied statuses"


async def test_a_difference_would_be_found(monkeypatch: object) -> None:
    """Two daemons with different configurations are distinguished."""
    from tests.fuzz import run as module

    original = module._conf  # sent to both
    sides = iter(({}, {"params": {"default": {"seed": 1}}}))
    monkeypatch.setattr(module, "_conf", lambda url: {**original(url), **next(sides)})  # type: ignore[attr-defined]
    report = await run(60, 60, seed=3)
    assert any("the provider saw" in difference for difference in report.differences)


def test_the_same_seed_gives_the_same_requests() -> None:
    made = [requests.make(random.Random(seed)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
