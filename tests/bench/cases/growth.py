"""Whether memory grows with the number of requests, after a warm-up."""

import asyncio
import time
from collections.abc import Sequence

from tests.bench.lab import Lab
from tests.bench.load import closed_loop
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "growth"
HELP = "RSS before and after many requests (300,000; --long: 1,000,000), after a warm-up of a fifth"
CONNECTIONS = 32

WARM = 15.0
"""Minimum seconds of the warm-up: sums are first written to disk after ten, which imports sqlite."""

REST = 10.0
"""Idle seconds before descriptors are counted: idle connections to the upstream are closed within nine."""


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    wanted = 20_000 if lab.quick else 1_000_000 if lab.long else 300_000
    grown, handles = {}, {}
    for subject in subjects:
        if subject.name not in ("ours", "interpreted", "reference", "before"):
            continue
        subject.start()
        began = time.monotonic()
        await pour(subject, wanted // 5)
        while not lab.quick and time.monotonic() - began < WARM:
            await pour(subject, 1)
        await asyncio.sleep(REST)
        rss, fds = subject.usage.rss(), subject.usage.fds()
        made = await pour(subject, wanted)
        grown[subject.name] = (subject.usage.rss() - rss) / 1024
        await asyncio.sleep(REST)
        handles[subject.name] = float(subject.usage.fds() - fds)
        subject.stop()
        print(f"  {subject.name}: {made:,} requests, RSS {rss / 1e6:.1f} MB before")
    return [
        Row(f"growth over {wanted:,} requests", "KiB", grown, (Goal("<=", 1024),)),
        Row("descriptors left over", "", handles, (Goal("<=", 8),)),
    ]


async def pour(subject: Subject, wanted: int) -> int:
    """Send at least `wanted` requests, in bursts of some seconds."""
    made = 0
    while made < wanted:
        rate = await closed_loop(subject.port, subject.headers, CONNECTIONS, 5 if wanted - made > 50_000 else 1)
        made += rate.requests
        subject.answered += rate.requests - rate.failed
        if rate.requests - rate.failed == 0:
            raise RuntimeError(f"{subject.name} answers nothing any more")
    return made
