"""Usage and metrics."""

from typing import Any

from openai_proxy.admin.call import AdminAnswer, AdminCall
from openai_proxy.runtime.state import ProxyState


async def usage(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/usage?by=day,model&since=7d`."""
    by, since = call.argument("by", "day"), call.argument("since") or None
    elsewhere = await call.state.shared_usage.elsewhere(since)
    return await call.thread(call.state.records.usage_report, by, since, elsewhere)


async def latency(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/latency?since=7d&by=hour`."""
    since, by = call.argument("since", "1d"), call.argument("by", "hour")
    return await call.thread(call.state.records.latency_report, since, by)


async def metrics(call: AdminCall) -> AdminAnswer:
    """`GET /metrics`: Prometheus text."""
    state = call.state
    found = state.records.metrics
    if "connection_keys_resting" not in found.sources:
        found.watch("connection_keys_resting", "Keys paused after a refusal.", lambda: _health(state, 0),
                    labels=("connection",))  # fmt: skip
        found.watch("connection_models_resting", "Models whose circuit breaker is open.", lambda: _health(state, 1),
                    labels=("connection",))  # fmt: skip
    text, content_type = await call.thread(state.records.metrics_page)
    return AdminAnswer(text, content_type=content_type)


def _health(state: ProxyState, which: int) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for name in state.generation.config.connections:
        keys, models = state.health.state(name)
        found[(name,)] = float((keys, len(models))[which])
    return found
