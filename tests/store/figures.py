"""Measures shared state: a check of limits with Redis on loopback, and two daemons behind HAProxy compared with one.

    python -m tests.store.figures [SECONDS]

Everything runs on this machine, clients and provider included, so the rates only make sense in comparison; the
processor time that a daemon takes for a request says more.
"""

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from openai_proxy.auth.limits import Allowance, Book
from openai_proxy.auth.shared_limits import SharedAccounts
from openai_proxy.config.proxy import GroupLimits
from openai_proxy.exchange import Caller
from openai_proxy.store.shared import Shared
from tests.bench.lab import Usage, free_port, wait_for_port
from tests.bench.load import quantile, raw_loop
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.redis_server import RedisServer

ME = Caller("192.168.1.2", "family", "a" * 12, b"\x01" * 32)
CHECKS = 5000
CONNECTIONS = 32
KEY = "sk-figures-1234567890"


async def checks(url: str) -> None:
    """The time of one check, close to a limit and far from it."""
    for far in (False, True):
        shared, book = Shared("far" if far else "close"), Book()
        accounts = SharedAccounts(book, shared)
        shared.follow(url)
        await shared.ready(5)
        limit = 10_000_000 if far else CHECKS + 1000
        allowance = Allowance.of(GroupLimits(requests_per_day=limit, tokens_per_day=None if far else 20))
        assert allowance is not None
        times = []
        for _ in range(CHECKS):
            began = time.perf_counter()
            if accounts.asks(book.account(ME), allowance):
                account = await accounts.enter(ME, allowance)
            else:
                account = book.enter(ME, allowance)
            times.append(time.perf_counter() - began)
            account.release()
        times.sort()
        await shared.aclose()
        words = "decided here, written behind" if far else "Redis asked first"
        print(
            f"limits, {words:30} p50 {quantile(times, 0.5) * 1e6:7.1f} µs   p99 {quantile(times, 0.99) * 1e6:7.1f} µs"
        )


@contextlib.contextmanager
def daemons(folder: Path, number: int, provider: int, storage: str) -> Iterator[list[Daemon]]:
    """Daemons that share their state, with limits so that the counters are used."""
    conf = {
        "connections": {"main": {"api_type": "openai", "api_base": f"http://127.0.0.1:{provider}/v1", "api_key": "x"}},
        "groups": {"family": {"api_keys": [KEY], "limits": {"requests_per_day": 1_000_000_000}}},
        "storage": storage,
    }
    made = []
    for n in range(number):
        (folder / f"{number}-{n}").mkdir()
        made.append(Daemon(folder / f"{number}-{n}", conf, flags=["--no-request-log"]))
    try:
        yield [daemon.start() for daemon in made]
    finally:
        for daemon in made:
            daemon.kill()


@dataclass(frozen=True)
class Load:
    """Results of one load: requests per second, and CPU seconds per request in each process."""

    per_second: float
    costs: Mapping[str, float]


async def rate(name: str, port: int, processes: Mapping[str, Iterable[int]], seconds: float) -> Load:
    """Load one port and print the result."""
    headers = {"Authorization": f"Bearer {KEY}"}
    await raw_loop(port, headers, CONNECTIONS, seconds=1)

    def used() -> dict[str, float]:
        return {who: sum(Usage(pid).cpu() for pid in pids) for who, pids in processes.items()}

    before = used()
    found = await raw_loop(port, headers, CONNECTIONS, seconds=seconds)
    costs = {who: (after - before[who]) / found.requests for who, after in used().items()}
    shares = "".join(f"   {who} {cost * 1e6:.1f} µs" for who, cost in costs.items())
    print(f"{name:46} {found.per_second:7.0f} requests/s   {found.failed} failed   CPU a request:{shares}", flush=True)
    return Load(found.per_second, costs)


@contextlib.contextmanager
def balanced(folder: Path, running: list[Daemon]) -> Iterator[tuple[int, int] | None]:
    """HAProxy in front of two daemons, configured as in the docs: its port and process; None if it is not installed."""
    program = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if program is None:
        yield None
        return
    file, front = folder / "haproxy.cfg", free_port()
    text = (REPOSITORY / "docs" / "scaling" / "haproxy.cfg").read_text()
    for old, new in {"8000": front, "8001": running[0].port, "8002": running[-1].port}.items():
        text = text.replace(f":{old}", f":{new}")
    file.write_text(text)
    process = subprocess.Popen([program, "-db", "-f", str(file)], stderr=subprocess.DEVNULL)
    try:
        wait_for_port(front, process)
        yield front, process.pid
    finally:
        process.terminate()
        process.wait()


def commands(redis: RedisServer) -> int:
    """The number of commands sent to Redis, without those from inside scripts."""
    calls = re.findall(rb"cmdstat_(?:evalsha|get|mget|zadd|zcount|zrangebyscore|ping):calls=(\d+)",
                       redis.ask("INFO", "commandstats"))  # fmt: skip
    return sum(map(int, calls))


async def main(seconds: float) -> None:
    """Measure and print."""
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        redis = RedisServer(folder).start()
        provider = subprocess.Popen([sys.executable, "-m", "tests.bench.upstream", str(port)], cwd=REPOSITORY)
        others = {"Redis": [redis.pid], "load and provider": [os.getpid(), provider.pid]}
        try:
            wait_for_port(port, provider)
            await checks(redis.url)
            with daemons(folder, 1, port, "memory") as (one,):
                alone = await rate("one daemon, storage: memory", one.port, {"daemon": [one.process.pid]}, seconds)
            with daemons(folder, 2, port, redis.url) as running, balanced(folder, running) as balancer:
                pids = {"daemons": [daemon.process.pid for daemon in running]}
                before = commands(redis)
                shared = await rate("one of two daemons, storage: redis", running[0].port, {**pids, **others}, seconds)
                asked = commands(redis) - before
                print(f"{'':46} {asked / shared.per_second / (seconds + 1):.4f} commands to Redis a request")
                if balancer is not None:
                    front, pid = balancer
                    both = await rate("two behind HAProxy", front, {**pids, "HAProxy": [pid], **others}, seconds)
                    compare(alone, both)
        finally:
            provider.terminate()
            provider.wait()
            redis.close()


def compare(alone: Load, both: Load) -> None:
    """Two compared with one: as measured with everything on this machine, and as the processor times suggest.

    On two cores that daemons, balancer, Redis, load and provider share, even one daemon leaves no core idle.
    """
    one, each = alone.costs["daemon"], both.costs["daemons"]
    both_cores = each + both.costs["HAProxy"] + both.costs["Redis"]
    print(f"two beside one, everything on this machine:              {both.per_second / alone.per_second:.2f}")
    print(f"by CPU, a core for each daemon and others for the rest:  {2 * one / each:.2f}")
    print(f"by CPU, daemons, HAProxy and Redis on two cores:         {2 * one / both_cores:.2f}")


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0))
