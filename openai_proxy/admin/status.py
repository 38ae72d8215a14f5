"""The proxy's own state: health, `GET /admin/status`, and the first event of `/admin/events`."""

import asyncio
import os
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from openai_proxy.admin.access import session_of
from openai_proxy.admin.call import AdminAnswer, AdminCall
from openai_proxy.runtime.reload import reload
from openai_proxy.runtime.state import ProxyState
from openai_proxy.version import __version__


def iso(seconds: float) -> str:
    """A wall-clock time as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def problem_object(problem: Any) -> dict[str, Any]:
    """A configuration problem as the API shows it."""
    return {"file": problem.file, "line": problem.line, "column": problem.column, "message": problem.message}


def _connection(state: ProxyState, name: str, api_type: str, base: str, keys: int) -> dict[str, Any]:
    """One connection in the status: `resting` while none of its keys, or one of its models, may be used.

    `learnt` is what its models, and under "" its server, are known to refuse.
    """
    error = state.catalog.error(name)
    resting, models = state.health.state(name)
    condition = "resting" if models or (keys and resting >= keys) else "ready" if error is None else "failing"
    return {
        "name": name,
        "api_type": api_type,
        "state": condition,
        "last_error": error,
        "models": len(state.catalog.known().get(name, ())),
        "keys": keys,
        "resting_keys": resting,
        "resting_models": models,
        "learnt": state.providers.lessons.of(name, base).as_text(),
    }


def status_of(state: ProxyState) -> dict[str, Any]:
    """The content of `GET /admin/status` (contract §3)."""
    generation = state.generation
    config = generation.config
    now = asyncio.get_running_loop().time()
    return {
        "version": __version__,
        "started_at": iso(state.started_at),
        "pid": os.getpid(),
        "addresses": state.addresses(),
        "config": {
            "generation": generation.number,
            "loaded_at": iso(generation.loaded_at),
            "problems": [problem_object(p) for p in generation.problems],
        },
        "connections": [
            _connection(state, name, connection.api_type, connection.api_base or "", len(connection.api_keys))
            for name, connection in config.connections.items()
        ],
        "storage": asdict(state.shared.status),
        "mcp_servers": state.mcp_status(),
        "wyoming": state.wyoming.status() if state.wyoming is not None else None,
        "requests": [
            {
                "id": x.id,
                "model": x.model,
                "state": x.state,
                "since": iso(x.created_at),
                "path": x.path,
                "connection": x.connection,
                "group": x.caller.group,
                "key_id": x.caller.key_id,
                "remote": x.caller.remote,
                "seconds": round(now - x.started, 3),
            }
            for x in (running.exchange for running in tuple(state.running.values()))
        ],
    }


async def show(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/status`."""
    return status_of(call.state)


async def reload_now(call: AdminCall) -> AdminAnswer:
    """`POST /admin/reload`."""
    result = await reload(call.state)
    return AdminAnswer(result, 422 if result.get("problems") else 200)


async def health(call: AdminCall) -> AdminAnswer:
    """`GET /health`; only admins see the text of problems."""
    state = call.state
    generation = state.generation
    problems: Any = len(generation.problems)
    if call.local or session_of(call) or generation.gate.is_admin(call.request.remote or "", call.request.headers):
        problems = [problem_object(p) for p in generation.problems]
    body = {
        "status": "draining" if state.draining else "ok",
        "version": __version__,
        "config": {"generation": generation.number, "loaded_at": iso(generation.loaded_at), "problems": problems},
        "degraded": state.degraded(),
    }
    return AdminAnswer(body, 503 if state.draining else 200)
