"""Small JSON answers over one connection (latency) and over 32 (throughput), in interleaved rounds; medians count.

A single client waits while the others work, so one core does everything. With two, each request wakes a sleeping core
or none, as the kernel decides: nginx then takes 27 µs or 87, and ours 33 or 86, in the same run.
"""

import contextlib
import statistics
from collections.abc import Sequence

from tests.bench.lab import Lab
from tests.bench.load import Rate, closed_loop
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "throughput"
HELP = "requests/s and latency of small JSON answers at 1 and 32 connections"


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    rounds, seconds = (1, 2) if lab.quick else (3, 4)
    for subject in subjects:
        subject.start()
    rates: dict[tuple[str, int], list[Rate]] = {}
    for turn in range(rounds + 1):
        for connections in (1, 32):
            for subject in subjects:
                with lab.placed(subject.usage, 0, 0) if connections == 1 else contextlib.nullcontext():
                    rate = await closed_loop(subject.port, subject.headers, connections, 1 if turn == 0 else seconds)
                subject.answered += rate.requests - rate.failed
                if rate.failed:
                    print(f"  {subject.name}: {rate.failed} of {rate.requests} requests failed")
                if turn > 0:  # the first turn only warms up
                    rates.setdefault((subject.name, connections), []).append(rate)
    for subject in subjects:
        subject.stop()

    def median(connections: int, what: str, factor: float = 1.0) -> dict[str, float]:
        return {
            subject.name: statistics.median(getattr(rate, what) for rate in rates[subject.name, connections]) * factor
            for subject in subjects
        }

    alone = median(1, "p50", 1e6)
    added = {name: value - alone["direct"] for name, value in alone.items() if "direct" in alone and name != "direct"}
    goals = (Goal(">=", 0.4, "nginx"), Goal(">=", 4, "aiohttp"))
    failed = {subject.name: float(sum(rate.failed for rate in rates[subject.name, 32])) for subject in subjects}
    return [
        Row("32 connections", "requests/s", median(32, "per_second"), goals),
        Row("32 connections, p50", "µs", median(32, "p50", 1e6)),
        Row("32 connections, p99", "µs", median(32, "p99", 1e6)),
        Row("32 connections, failed", "", failed, (Goal("<=", 0),)),
        Row("1 connection", "requests/s", median(1, "per_second")),
        Row("1 connection, p50", "µs", alone),
        Row("1 connection, p99", "µs", median(1, "p99", 1e6)),
        Row("1 connection, added p50", "µs", added, (Goal("<=", 0.25, "aiohttp"),)),
    ]
