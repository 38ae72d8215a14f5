"""1,000 and 5,000 streams held open at one event per second: memory per stream, and whether all of them survive."""

import asyncio
import time
from collections.abc import Sequence

from tests.bench.lab import Lab
from tests.bench.load import Crowd
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "held"
HELP = "1,000 and 5,000 streams held: RSS per stream, failures, time to open"


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    rows = []
    for count in (500,) if lab.quick else (1000, 5000):
        memory, failures, opened = {}, {}, {}
        for subject in subjects:
            if subject.name == "direct":
                continue
            subject.start()
            warm = Crowd(subject.port, subject.headers)
            await warm.open(5, 20, 10)
            await warm.wait(10)
            await asyncio.sleep(0.5)
            before = subject.usage.rss()
            crowd = Crowd(subject.port, subject.headers)
            began = time.monotonic()
            await crowd.open(count, 1, 10_000, at_once=200)
            opened[subject.name] = time.monotonic() - began
            await asyncio.sleep(3 if lab.quick else 10)
            memory[subject.name] = (subject.usage.rss() - before) / count / 1024
            failures[subject.name] = float(crowd.failures(silent_for=4.0))
            crowd.leave()
            await asyncio.sleep(1)
            subject.answered += sum(stream.done for stream in warm.streams)
            subject.stop()
        rows += [
            Row(f"{count:,} held: RSS per stream", "KiB", memory, (Goal("<=", 25),)),
            Row(f"{count:,} held: failures", "", failures, (Goal("<=", 0),)),
            Row(f"{count:,} held: time to open", "s", opened),
        ]
    return rows
