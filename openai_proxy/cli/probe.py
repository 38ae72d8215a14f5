"""What `check --connect` tries: does each connection list its models, does each MCP server start?"""

import asyncio
import logging
from typing import TYPE_CHECKING

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.config.key_names import names_of_keys
from openai_proxy.config.problems import Problem
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.errors import ProxyError
from openai_proxy.secrets import key_id

if TYPE_CHECKING:
    from openai_proxy.upstream.factory import Providers

CONNECTION_SECONDS = 20.0
Result = tuple[str, Problem | None]


async def connections(snapshot: Snapshot) -> list[Result]:
    """Ask every connection for its models, with each of its keys; all side by side."""
    from openai_proxy.upstream.factory import Providers  # a check that tries nothing need not pay for it

    providers = Providers(asyncio.get_running_loop(), snapshot.config_dir)
    names = names_of_keys(snapshot)
    tries = []
    for name, connection in snapshot.proxy.connections.items():
        if connection.api_type in ("echo", "local"):
            continue
        for number, key in enumerate(connection.api_keys or (None,)):
            label = f"connection {name}"
            if len(connection.api_keys) > 1 and key is not None:
                label += f", {names.get(key_id(key)) or f'key {number + 1}'}"
            alone = connection.model_copy(update={"api_keys": (key,) if key is not None else ()})
            tries.append(_connection(snapshot, providers, name, alone, label))
    try:
        return list(await asyncio.gather(*tries))
    finally:
        await providers.aclose()


async def _connection(
    snapshot: Snapshot, providers: "Providers", name: str, connection: ConnectionConfig, label: str
) -> Result:
    wrong = await trouble(providers, name, connection)
    if wrong is None:
        return label, None
    return label, Problem(*snapshot.place("proxy", None, ("connections", name)), f"{label}: {wrong}")


async def trouble(providers: "Providers", name: str, connection: ConnectionConfig) -> str | None:
    """Why `connection` cannot be used, in words; None if it answers. Nothing is generated and nothing is paid."""
    provider = providers.build({name: connection})[name]
    try:
        async with asyncio.timeout(CONNECTION_SECONDS):
            await provider.list_models()
    except TimeoutError:
        return f"no answer within {CONNECTION_SECONDS:.0f} s"
    except ProxyError as error:
        # Not every server that chats also lists its models: to say so is an answer.
        return None if error.code == "upstream_no_list" else error.cause or error.message
    finally:
        await provider.aclose()
    return None


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
