"""What `check --connect` tries: does each connection list its models, does each MCP server start?"""

import asyncio
import logging

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.config.problems import Problem
from openai_proxy.config.snapshot import Snapshot

CONNECTION_SECONDS = 20.0
Result = tuple[str, Problem | None]


async def connections(snapshot: Snapshot) -> list[Result]:
    """Ask every connection for its models, with each of its keys; all side by side."""
    tries = []
    for name, connection in snapshot.proxy.connections.items():
        if connection.api_type in ("openai", "anthropic", "google"):
            tries += [_connection(snapshot, name, connection, key) for key in connection.api_keys or (None,)]
    return list(await asyncio.gather(*tries))


async def _connection(snapshot: Snapshot, name: str, connection: ConnectionConfig, key: str | None) -> Result:
    import aiohttp  # a check that tries nothing need not pay for it

    label = f"connection {name}"
    if len(connection.api_keys) > 1 and key is not None:
        label += f", key {connection.api_keys.index(key) + 1}"
    headers = dict(connection.headers)
    if connection.api_type == "anthropic":
        headers.setdefault("anthropic-version", "2023-06-01")
        headers |= {"x-api-key": key} if key else {}
    elif key:
        headers["Authorization"] = f"Bearer {key}"
    timeout = aiohttp.ClientTimeout(total=CONNECTION_SECONDS)
    wrong: str | None = None
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
            session.get(f"{connection.api_base}/models", headers=headers, allow_redirects=False) as response,
        ):
            wrong = _wrong_status(response.status)
    except TimeoutError:
        wrong = f"does not answer within {CONNECTION_SECONDS:.0f} seconds"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        wrong = f"cannot be reached ({type(error).__name__})"
    if wrong is None:
        return label, None
    return label, Problem(*snapshot.place("proxy", None, ("connections", name)), f"{label} {wrong}")


def _wrong_status(status: int) -> str | None:
    if status in (401, 403):
        return f"refuses its key (HTTP {status})"
    if 300 <= status < 400:
        return f"redirects (HTTP {status}): api_base should be where it leads to"
    # Not every server that chats also lists its models: 404 and 405 are an answer.
    return f"answers HTTP {status}" if status >= 400 and status not in (404, 405) else None


async def servers(snapshot: Snapshot) -> list[Result]:
    """Start every enabled MCP server and wait until each is ready or its start has failed."""
    wanted = {name: server for name, server in snapshot.servers.items() if server.enabled}
    if not wanted:
        return []
    from openai_proxy.tools.mcp.supervisor import Supervisor  # the MCP SDK only where a server is configured

    noise = logging.getLogger("openai_proxy.tools.mcp")
    level = noise.level
    noise.setLevel(logging.ERROR)  # what goes wrong is told as a problem
    supervisor = Supervisor()
    try:
        supervisor.reconcile(wanted)
        # A start that has failed is an answer: the next try is the daemon's business, and may be minutes away.
        await supervisor.wait_ready(list(wanted), max(server.start_timeout for server in wanted.values()) + 1)
        states = {row["name"]: row for row in supervisor.status()}
    finally:
        await supervisor.aclose()
        noise.setLevel(level)
    results: list[Result] = []
    for name in wanted:
        row = states[name]
        label = f"MCP server {name}"
        if row["state"] == "ready":
            results.append((label, None))
        else:
            why = str(row.get("last_error") or row["state"]).splitlines()[0][:300]
            results.append((label, Problem(*snapshot.place("server", name), f"{label} is not ready: {why}")))
    return results
