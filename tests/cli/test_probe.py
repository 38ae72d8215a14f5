"""`check --connect`: the answers of connections and MCP servers."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from openai_proxy.cli import probe
from openai_proxy.cli.probe import connections, servers
from tests.config.conftest import ConfigDirectory


@pytest.fixture
async def upstream() -> AsyncIterator[TestServer]:
    """Answers GET /{status}/models with that status; /ok requires the key `right`."""

    async def models(request: web.Request) -> web.Response:
        kind = request.match_info["kind"]
        if kind == "ok":
            keys = (request.headers.get("Authorization"), request.headers.get("x-api-key"))
            return web.json_response(
                {"data": []}, status=200 if keys in (("Bearer right", None), (None, "right")) else 401
            )
        return web.Response(status=int(kind), headers={"Location": "http://127.0.0.1:9/"} if kind == "302" else {})

    async def open_models(request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "m"}]})

    async def open_key(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers.get("Authorization") == "Bearer right" else 401)

    app = web.Application()
    app.router.add_get("/open/models", open_models)
    app.router.add_get("/open/key", open_key)
    app.router.add_get("/{kind}/models", models)
    server = TestServer(app)
    await server.start_server()
    yield server
    await server.close()


async def test_each_connection_is_tried_with_each_of_its_keys(
    config_directory: ConfigDirectory, upstream: TestServer
) -> None:
    base = f"http://127.0.0.1:{upstream.port}"
    config_directory.write(
        "proxy.yaml",
        "connections:\n"
        f"  good: {{api_base: '{base}/ok', api_key: right}}\n"
        f"  claude: {{api_type: anthropic, api_base: '{base}/ok', api_key: right}}\n"
        f"  two: {{api_base: '{base}/ok', api_keys: [right, wrong]}}\n"
        f"  quiet: {{api_base: '{base}/404'}}\n"
        f"  moved: {{api_base: '{base}/302'}}\n"
        f"  broken: {{api_base: '{base}/500'}}\n"
        "  offline: {api_type: echo}\n",
    )
    results = await connections(config_directory.load())
    assert {label: problem and problem.message for label, problem in results} == {
        "connection good": None,
        "connection claude": None,
        "connection two, key 1 of two (proxy.yaml:4)": None,
        "connection two, key 2 of two (proxy.yaml:4)": (
            "connection two, key 2 of two (proxy.yaml:4): refused its key (HTTP 401)"
        ),
        "connection quiet": None,
        "connection moved": (
            "connection moved: redirects to http://127.0.0.1:9/ (HTTP 302); set api_base to where it leads"
        ),
        "connection broken": "connection broken: no model list (HTTP 500)",
    }
    assert {(Path(p.file).name, p.line) for _, p in results if p} == {
        ("proxy.yaml", 4),
        ("proxy.yaml", 6),
        ("proxy.yaml", 7),
    }


async def test_if_the_list_needs_no_key_the_key_is_tried_elsewhere(
    config_directory: ConfigDirectory, upstream: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "OPEN_LISTS", {"127.0.0.1": "/key"})
    base = f"http://127.0.0.1:{upstream.port}/open"
    config_directory.write("proxy.yaml", f"connections:\n  a: {{api_base: '{base}', api_keys: [right, wrong]}}\n")
    first, second = await connections(config_directory.load())
    assert first[1] is None
    assert second[1] is not None
    assert second[1].message.endswith("refused its key (HTTP 401)")


async def test_without_servers_nothing_is_imported(config_directory: ConfigDirectory) -> None:
    config_directory.write("mcp/servers.yaml", "servers: {a: {command: x, enabled: false}}\n")
    assert await servers(config_directory.load()) == []


async def test_a_server_that_dies_is_reported(config_directory: ConfigDirectory) -> None:
    config_directory.write(
        "mcp/servers.yaml",
        f"servers:\n  a:\n    command: '{sys.executable}'\n    args: [-c, 'exit(3)']\n    start_timeout: 1\n",
    )
    [(label, problem)] = await servers(config_directory.load())
    assert label == "MCP server a"
    assert problem is not None
    assert (problem.line, problem.message.partition(":")[0]) == (3, "MCP server a is not ready")


async def test_a_failed_start_is_not_retried(config_directory: ConfigDirectory) -> None:
    config_directory.write("mcp/servers.yaml", "servers:\n  a: {command: /nowhere/at/all, start_timeout: 600}\n")
    async with asyncio.timeout(20):
        [(_, problem)] = await servers(config_directory.load())
    assert problem is not None
    assert "not found" in problem.message
