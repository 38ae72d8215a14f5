"""200 streams of 50 tokens per second: time to the first token, latency of each chunk, and its CPU time."""

import asyncio
import gc
import statistics
from collections.abc import Sequence

from tests.bench.lab import Lab
from tests.bench.load import Crowd, quantile
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "streams"
HELP = "200 streams of 50 tokens/s: first token, transit of each chunk, CPU per chunk"
STREAMS, RATE = 200, 50
SHORT = 100  # events of a short stream, whose start and end matter


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    rounds, seconds = (1, 4) if lab.quick else (3, 8)
    found: dict[str, dict[str, list[float]]] = {subject.name: {} for subject in subjects}
    failures = dict.fromkeys(found, 0.0)
    for subject in subjects:
        subject.start()
    for _ in range(rounds):
        for subject in subjects:
            crowd = Crowd(subject.port, subject.headers)
            await crowd.open(STREAMS, RATE, int(RATE * (seconds + 1.5)), over=1.0)
            gc.collect()
            gc.disable()
            chunks, cpu = len(crowd.transits), subject.usage.cpu()
            await asyncio.sleep(seconds)
            cpu, passed = subject.usage.cpu() - cpu, crowd.transits[chunks:]
            gc.enable()
            await crowd.wait(20)
            failures[subject.name] += crowd.failures()
            subject.answered += sum(stream.done for stream in crowd.streams)
            crowd.leave()
            firsts = sorted(stream.first for stream in crowd.streams if stream.first is not None)
            passed.sort()
            figures = {
                "cpu": cpu / max(1, len(passed)) * 1e6,
                "p50": quantile(passed, 0.5) * 1e3,
                "p99": quantile(passed, 0.99) * 1e3,
                "first50": quantile(firsts, 0.5) * 1e3,
                "first99": quantile(firsts, 0.99) * 1e3,
            }
            for name, value in figures.items():
                found[subject.name].setdefault(name, []).append(value)
    short: dict[str, list[float]] = {subject.name: [] for subject in subjects if subject.name != "direct"}
    for _ in range(rounds):
        for subject in subjects:
            if subject.name in short:
                short[subject.name].append(await short_streams(subject, 2 if lab.quick else 6))
    for subject in subjects:
        subject.stop()

    def median(what: str, *, direct: bool = True) -> dict[str, float]:
        return {name: statistics.median(values[what]) for name, values in found.items() if direct or name != "direct"}

    return [
        Row("stream: CPU per chunk", "µs", median("cpu", direct=False), (Goal("<=", 1.25, "nginx"),)),
        Row("stream: chunk transit p50", "ms", median("p50")),
        Row("stream: chunk transit p99", "ms", median("p99"), (Goal("<=", 1.25, "nginx"),)),
        Row("stream: first token p50", "ms", median("first50")),
        Row("stream: first token p99", "ms", median("first99")),
        Row(f"streams of {SHORT} events: CPU per event", "µs", {name: statistics.median(short[name]) for name in short},
            (Goal("<=", 1.4, "nginx"),)),
        Row("stream: broken", "", failures, (Goal("<=", 0),)),
    ]  # fmt: skip


async def short_streams(subject: Subject, times: int) -> float:
    """Microseconds of CPU time per event, from before the first stream opens to the end of the last one."""
    events, cpu = 0, subject.usage.cpu()
    for _ in range(times):
        crowd = Crowd(subject.port, subject.headers)
        await crowd.open(STREAMS, RATE * 4, SHORT, over=0.1)
        await crowd.wait(20)
        events += len(crowd.transits)
        subject.answered += sum(stream.done for stream in crowd.streams)
        crowd.leave()
    return (subject.usage.cpu() - cpu) / max(1, events) * 1e6
