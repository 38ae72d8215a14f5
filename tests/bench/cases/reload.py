"""Reloads under load: keep-alive connections that never rest and streams that run, while the configuration changes.

Beside us nginx, with as many `nginx -s reload` (a HUP to its master). What counts is failures: requests that got no
answer, connections that broke, streams that ended without their end.
"""

import asyncio
import signal
import time
from collections.abc import Sequence

from tests.bench.lab import Lab
from tests.bench.load import Crowd, raw_loop
from tests.bench.subjects import Subject
from tests.bench.table import Goal, Row

NAME = "reload"
HELP = "100 reloads under 32 busy keep-alive connections and 200 streams: failed requests, broken streams"
STREAMS, RATE = 200, 5
EVERY = 0.15  # seconds between two reloads


async def run(lab: Lab, subjects: Sequence[Subject]) -> list[Row]:
    reloads = 20 if lab.quick else 100
    seconds = reloads * EVERY + 2
    failed: dict[str, float] = {}
    broken: dict[str, float] = {}
    served: dict[str, float] = {}
    for subject in subjects:
        if subject.name not in ("nginx", "ours", "no-splice"):
            continue
        subject.start()
        crowd = Crowd(subject.port, subject.headers)
        await crowd.open(STREAMS, RATE, int(RATE * (seconds + 2)), over=0.5)
        load = asyncio.ensure_future(raw_loop(subject.port, subject.headers, 32, seconds=seconds))
        for number in range(reloads):
            began = time.monotonic()
            change(subject, number)
            await asyncio.sleep(max(0.0, began + EVERY - time.monotonic()))
        rate = await load
        await crowd.wait(30)
        subject.answered += rate.requests - rate.failed + sum(stream.done for stream in crowd.streams)
        failed[subject.name] = float(rate.failed)
        broken[subject.name] = float(crowd.failures())
        served[subject.name] = float(rate.requests)
        crowd.leave()
        subject.stop()
    return [
        Row(f"{reloads} reloads: failed requests", "", failed, (Goal("<=", 0),)),
        Row(f"{reloads} reloads: broken streams of {STREAMS}", "", broken, (Goal("<=", 0),)),
        Row(f"{reloads} reloads: requests meanwhile", "", served),
    ]


def change(subject: Subject, number: int) -> None:
    """A new configuration, and the word that there is one."""
    conf = getattr(subject, "root", None)
    if conf is not None:
        path = conf / "conf" / "proxy.yaml"
        text = path.read_text().partition("# edit ")[0]
        path.write_text(f"{text}# edit {number}\nsession_ttl: {3600 + number}\n")
    assert subject.process is not None
    subject.process.send_signal(signal.SIGHUP)
