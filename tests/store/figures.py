"""Figures of shared state: a check of limits with Redis on loopback, and two daemons behind HAProxy beside one.

    python -m tests.store.figures [SECONDS]

Everything runs on this machine, the clients and the provider too, so the rates say something only beside each other;
the processor time that a daemon takes for a request says more.
"""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
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
    """So many daemons of one house, limited so that the counters are used."""
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


async def rate(name: str, port: int, running: list[Daemon], seconds: float) -> float:
    """Load one port; requests a second."""
    headers = {"Authorization": f"Bearer {KEY}"}
    await raw_loop(port, headers, CONNECTIONS, seconds=1)
    usages = [Usage(daemon.process.pid) for daemon in running]
    before = sum(usage.cpu() for usage in usages)
    found = await raw_loop(port, headers, CONNECTIONS, seconds=seconds)
    cost = (sum(usage.cpu() for usage in usages) - before) / found.requests
    print(f"{name:52} {found.per_second:8.0f} requests/s   {cost * 1e6:6.0f} µs of a core each   {found.failed} failed")
    return found.per_second


async def main(seconds: float) -> None:
    """Measure, and print."""
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        redis = RedisServer(folder).start()
        provider = subprocess.Popen([sys.executable, "-m", "tests.bench.upstream", str(port)], cwd=REPOSITORY)
        try:
            wait_for_port(port, provider)
            await checks(redis.url)
            with daemons(folder, 1, port, "memory") as (one,):
                alone = await rate("one daemon, storage: memory", one.port, [one], seconds)
            with daemons(folder, 2, port, redis.url) as running:
                await rate("one of two daemons, storage: redis", running[0].port, running[:1], seconds)
                balancer = shutil.which("haproxy", path="/usr/sbin:/usr/bin:/usr/local/sbin")
                if balancer is not None:
                    file, front = folder / "haproxy.cfg", free_port()
                    text = (REPOSITORY / "docs" / "scaling" / "haproxy.cfg").read_text()
                    ports = {"8000": front, "8001": running[0].port, "8002": running[1].port}
                    for old, new in ports.items():
                        text = text.replace(f":{old}", f":{new}")
                    file.write_text(text)
                    process = subprocess.Popen([balancer, "-db", "-f", str(file)], stderr=subprocess.DEVNULL)
                    try:
                        wait_for_port(front, process)
                        both = await rate("two daemons behind HAProxy, storage: redis", front, running, seconds)
                        print(f"two beside one: {both / alone:.2f}")
                    finally:
                        process.terminate()
                        process.wait()
        finally:
            provider.terminate()
            provider.wait()
            redis.close()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 5.0))
