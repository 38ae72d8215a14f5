"""What `check --connect` tries: does each connection list its models, does each MCP server start?"""

import asyncio
import logging
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.config.key_names import names_of_keys
from openai_proxy.config.problems import Problem
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.config.storage import MEMORY
from openai_proxy.config.tool_file import OpenApiSource
from openai_proxy.errors import ProxyError, UpstreamTimeout
from openai_proxy.secrets import key_id

OPEN_LISTS: Final = {"openrouter.ai": "/key"}
"""Providers that list their models without a key, and a path that needs one (https://openrouter.ai/docs/api)."""
CONNECTION_SECONDS = 20.0
Result = tuple[str, Problem | None]


async def connections(snapshot: Snapshot) -> list[Result]:
    """Request the model list of every connection with each of its keys, all concurrently."""
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
            tries.append(_connection(snapshot, name, alone, label))
    return list(await asyncio.gather(*tries))


async def _connection(snapshot: Snapshot, name: str, connection: ConnectionConfig, label: str) -> Result:
    try:
        await fetch_models(name, connection, snapshot.config_dir)
    except ProxyError as error:
        place = snapshot.place("proxy", None, ("connections", name))
        return label, Problem(*place, f"{label}: {error.cause or error.message}")
    return label, None


async def fetch_models(name: str, connection: ConnectionConfig, config_dir: Path = Path("conf")) -> list[str]:
    """The models that `connection` offers; none if it does not list them. Nothing is generated, so it costs nothing.

    Raises ProxyError, with a cause in words, if the connection cannot be used.
    """
    from openai_proxy.exchange import UpstreamRequest
    from openai_proxy.upstream.factory import Providers  # a check without --connect does not need it
    from openai_proxy.upstream.model_list import must_list

    providers = Providers(asyncio.get_running_loop(), config_dir)
    provider = providers.build({name: connection})[name]
    host = urlsplit(connection.api_base).hostname or ""
    try:
        async with asyncio.timeout(CONNECTION_SECONDS):
            listed = await provider.list_models()
            if host in OPEN_LISTS and connection.api_keys:
                response = await provider.send(UpstreamRequest("GET", OPEN_LISTS[host]), connection.api_keys[0])
                try:
                    await must_list(name, response)
                finally:
                    response.close()
    except TimeoutError:
        cause = f"no answer within {CONNECTION_SECONDS:.0f} s"
        raise UpstreamTimeout(f"The connection '{name}' did not answer in time.", cause=cause) from None
    except ProxyError as error:
        if error.code != "upstream_no_list":  # not every server with chat completions lists its models
            raise
        return []
    finally:
        await provider.aclose()
        await providers.aclose()
    return [str(model.get("id")) for model in listed]


async def servers(snapshot: Snapshot) -> list[Result]:
    """Start every enabled MCP server and wait until each is ready or its start has failed."""
    wanted = {name: server for name, server in snapshot.servers.items() if server.enabled}
    if not wanted:
        return []
    from openai_proxy.tools.mcp.supervisor import Supervisor  # the MCP SDK is only loaded if a server is configured

    noise = logging.getLogger("openai_proxy.tools.mcp")
    level = noise.level
    noise.setLevel(logging.ERROR)  # failures are reported as problems instead
    supervisor = Supervisor()
    try:
        supervisor.reconcile(wanted)
        # One failed start is enough: the next attempt may be minutes away, and is up to the daemon.
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


async def documents(snapshot: Snapshot) -> list[Result]:
    """Fetch and parse every OpenAPI document that conf/tools names by URL."""
    if not snapshot.declared_tools:
        return []
    from openai_proxy.tools.declared.documents import fetch
    from openai_proxy.tools.declared.openapi import DocumentError, operations, parse_document
    from openai_proxy.tools.handler import ToolFailure

    results: list[Result] = []
    for file in snapshot.declared_tools:
        for source in (tool for tool in file.tools if isinstance(tool, OpenApiSource) and tool.is_url):
            label, place = f"OpenAPI document {source.source}", snapshot.place("tool", file.path.name, source.path)
            try:
                found = operations(parse_document(await fetch(source), "the document"), source, "the document")
            except (ToolFailure, DocumentError) as error:
                results.append((label, Problem(*place, f"{source.source}: {error}")))
                continue
            results += [(label, Problem(*place, fault)) for fault in found.left_out[:5]] or [(label, None)]
    return results


async def storage(snapshot: Snapshot) -> list[Result]:
    """Try the store that daemons share, if there is one."""
    url = snapshot.proxy.shared_storage
    if url == MEMORY:
        return []
    key = ("storage",) if snapshot.proxy.storage != MEMORY else ("limits", "storage")
    label = "storage"
    try:
        from openai_proxy.store.redis_client import RedisClient, StoreFailure
    except ImportError:
        why = "the package is missing: in a clone, pip install '.[redis]'"
        return [(label, Problem(*snapshot.place("proxy", None, key), f"{label}: {why}"))]
    try:
        await (await RedisClient.open(url, "check")).aclose()
    except StoreFailure as failure:
        return [(label, Problem(*snapshot.place("proxy", None, key), f"{label}: redis cannot be used ({failure})"))]
    return [(label, None)]
