"""The cost of a budget on the event loop per request, in CPU time: `python -m tests.auth.measure`."""

import asyncio
import tempfile
import time
import timeit
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from openai_proxy.auth.limits import Allowance
from openai_proxy.config.proxy import GroupLimits
from openai_proxy.endpoints import at
from openai_proxy.exchange import Caller, Exchange, Target
from openai_proxy.records.counting.prices import Prices
from openai_proxy.records.recording.service import Records
from openai_proxy.routing.catalog import Catalog
from openai_proxy.runtime.governor import Governor
from openai_proxy.store.shared import Shared

NUMBER = 20_000
CALLER = Caller("10.0.0.1", "family", "aaaaaaaaaaaa", b"a" * 32)
DOCUMENT: dict[str, Any] = {"model": "gpt-4o", "messages": [], "max_tokens": 100}


async def measure(folder: Path) -> None:
    """Print the microseconds of one admission, with and without a budget, and of its settlement."""
    records = Records(folder, folder)
    connections = {"up": SimpleNamespace(api_type="openai", api_base="https://api.openai.com/v1")}
    records.configure(prices=Prices({"gpt-4o": {"input": 2.5, "output": 10}}, connections))
    shared = Shared("here")
    governor = Governor(asyncio.get_running_loop(), folder, records, shared, Catalog())
    spendings = governor.spendings
    exchange = Exchange("req", CALLER, "POST", at("/chat/completions"), "gpt-4o")
    target = Target("up")
    plain = Allowance.of(GroupLimits(requests_per_day=10**9))
    limited = Allowance.of(GroupLimits(requests_per_day=10**9, cost_per_day=10**6, cost_per_month=10**6))
    assert plain is not None
    assert limited is not None
    assert limited.budget is not None

    def without() -> None:
        assert governor.enter_now(exchange, plain)

    def admit() -> None:
        estimate = spendings.estimate(target, "gpt-4o", 400, DOCUMENT)
        assert estimate is not None
        assert governor.enter_now(exchange, limited, estimate)

    def settle() -> None:
        spendings.settle(exchange, 0.0001)

    for name, call in (
        ("admission without a budget", without),
        ("admission with a budget", admit),
        ("settlement", settle),
    ):
        seconds = min(timeit.repeat(call, number=NUMBER, repeat=7, timer=time.process_time))
        print(f"{name}: {seconds / NUMBER * 1e6:.2f} µs")
    governor.save()
    records.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(measure(Path(directory)))
