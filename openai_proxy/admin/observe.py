"""What a house can read of itself: usage and metrics."""

import asyncio
from urllib.parse import parse_qs

import orjson
from aiohttp.web_request import BaseRequest

from openai_proxy.runtime.state import State
from openai_proxy.server.reply import Reply


async def usage(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    """`GET /admin/usage?by=day,model&since=7d`."""
    wanted = parse_qs(query)
    by, since = wanted.get("by", ["day"])[0], wanted.get("since", [None])[0]
    report = await asyncio.get_running_loop().run_in_executor(None, state.records.usage_report, by, since)
    await reply.send(200, orjson.dumps(report))


async def metrics(state: State, request: BaseRequest, reply: Reply, path: str, query: str) -> None:
    """`GET /metrics`: Prometheus text."""
    found = state.records.metrics
    if "connection_keys_resting" not in found.sources:
        found.watch("connection_keys_resting", "Keys that rest after a refusal.", lambda: _health(state, 0),
                    labels=("connection",))  # fmt: skip
        found.watch("connection_models_resting", "Models whose circuit breaker is open.", lambda: _health(state, 1),
                    labels=("connection",))  # fmt: skip
    text, content_type = await asyncio.get_running_loop().run_in_executor(None, state.records.metrics_page)
    await reply.send(200, text, content_type)


def _health(state: State, which: int) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for name in state.generation.config.connections:
        keys, models = state.health.state(name)
        found[(name,)] = float((keys, len(models))[which])
    return found
