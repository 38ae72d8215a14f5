"""From exec to ready (ours: READY=1 to the service manager; others: the port answers), and idle memory."""

import asyncio
import statistics
from collections.abc import Sequence

from tests.bench.lab import Lab
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "start"
HELP = "time to ready, and RSS at rest"


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    ready: dict[str, list[float]] = {}
    resting: dict[str, list[float]] = {}
    for _ in range(1 if lab.quick else 3):
        for subject in subjects:
            if subject.name == "direct":
                continue
            subject.start()
            ready.setdefault(subject.name, []).append(subject.ready_after)
            await asyncio.sleep(2)
            resting.setdefault(subject.name, []).append(subject.usage.rss() / 1e6)
            subject.stop()
    return [
        Row("time to ready", "s", {name: statistics.median(all_) for name, all_ in ready.items()}, (Goal("<=", 0.5),)),
        Row("RSS at rest", "MB", {name: statistics.median(all_) for name, all_ in resting.items()}, (Goal("<=", 52),)),
    ]
