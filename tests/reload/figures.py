"""Measures the cost of reloads: `python -m tests.reload.figures [models] [reloads] [idle]`.

In one process: a configuration with 200 models is edited one file at a time, then all files at once; prints the lag of
the event loop, and what many reloads leave behind.
"""

import asyncio
import gc
import logging
import sys
import tempfile
import threading
import time
from pathlib import Path

import uvloop

from openai_proxy.runtime import leases, prepare, reload
from tests.reload.process import lag, reloading, write_configuration, write_model


def rss() -> float:
    """Resident megabytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6


def held() -> dict[str, int]:
    """Counts of objects that may leak."""
    gc.collect()
    tasks, fds = len(asyncio.all_tasks()), sum(1 for _ in Path("/proc/self/fd").iterdir())
    return {"fds": fds, "tasks": tasks, "threads": threading.active_count(), "objects": len(gc.get_objects())}


def worst(late: list[float]) -> str:
    """The greatest lags, in ms."""
    return ", ".join(f"{value * 1e3:.1f}" for value in sorted(late)[-3:])


async def main(models: int, reloads: int) -> None:
    """Print the figures."""
    logging.getLogger().setLevel(logging.ERROR)
    reload.SETTLE = prepare.SETTLE = 0.0
    leases.GRACE = 0.05
    with tempfile.TemporaryDirectory() as folder:
        root, conf = Path(folder), Path(folder) / "conf"
        write_configuration(conf, models)
        async with reloading(root) as (_, reloads_of):
            gc.collect()
            gc.freeze()
            async with lag() as late:
                times = []
                for number in range(50):
                    write_model(conf, number % models, f"edit{number}")
                    began = time.monotonic()
                    assert (await reloads_of.ask())["changed"]
                    times.append(time.monotonic() - began)
            times.sort()
            print(f"{models} models, one edited: {times[25] * 1e3:.1f} ms p50, {times[-1] * 1e3:.1f} ms worst")
            print(f"  loop late by at most (ms): {worst(late)}")
            for turn in range(3):
                for number in range(models):
                    write_model(conf, number, f"all{turn}")
                async with lag() as late:
                    began = time.monotonic()
                    assert (await reloads_of.ask())["changed"]
                took = time.monotonic() - began
                print(f"all edited: {took * 1e3:.0f} ms; loop late by at most (ms): {worst(late)}")
            await asyncio.sleep(0.2)
            marks = {}
            for count in range(reloads + 1):
                if count in (reloads // 10, reloads // 2, reloads):
                    await asyncio.sleep(0.3)
                    marks[count] = (held(), rss())
                write_model(conf, count % models, f"run{count % 7}x{count % 11}")
                await reloads_of.ask()
            for count, (counts, megabytes) in marks.items():
                print(f"after {count} reloads: {counts}, RSS {megabytes:.1f} MB")


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    uvloop.run(main(*(given + [200, 1000][len(given) :])))
