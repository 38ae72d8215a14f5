"""A client that disconnects: how long the provider continues to generate afterwards."""

import asyncio
import time
from collections.abc import Sequence

from tests.bench.lab import Lab
from tests.bench.load import Stream, body, request_bytes
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "gone"
HELP = "client gone before the first byte and in mid-stream: time until the upstream request is closed"
PATIENCE = 5.0  # maximum seconds


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    rows = []
    for label, model in (("before the first byte", "bench-silent"), ("in mid-stream", "bench-20")):
        closed: dict[str, float] = {}
        for subject in subjects:
            if subject.name == "direct":
                continue
            subject.start()
            times = [await leave(lab, subject, model) for _ in range(3 if lab.quick else 10)]
            closed[subject.name] = max(times)
            subject.stop()
        rows.append(Row(f"client gone {label}: upstream closed after, worst", "s", closed, (Goal("<=", 0.2),)))
    return rows


async def leave(lab: Lab, subject: Subject, model: str) -> float:
    """Seconds from the client's FIN to the upstream's end of connection."""
    loop = asyncio.get_running_loop()
    cut = (await asyncio.to_thread(lab.tally))["cut"]
    request = request_bytes(subject.port, subject.headers, body(model, 1000))
    stream = Stream(request, [])
    await loop.create_connection(lambda: stream, "127.0.0.1", subject.port)
    if model == "bench-silent":
        await asyncio.sleep(0.1)
    else:
        await asyncio.wait([stream.started], timeout=5)
    gone = time.monotonic_ns()
    stream.transport.close()
    while time.monotonic_ns() < gone + PATIENCE * 1e9:
        tally = await asyncio.to_thread(lab.tally)
        if tally["cut"] > cut:
            return (tally["last_cut_ns"] - gone) / 1e9
        await asyncio.sleep(0.01)
    return PATIENCE
