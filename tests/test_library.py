"""The proxy inside another aiohttp program."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web

from openai_proxy import ToolHandler, build_app
from tests.harness.upstream import Upstream
from tests.harness.waiting import turning_until

MODEL = "name: helper\nupstream_model: echo-1\nsystem_prompt: 'It is {{weather(place=\"here\")}}.'\ntools: [weather]\n"


class Weather(ToolHandler):
    """The weather."""

    name = "weather"  # type: ignore[assignment]

    async def execute(self, arguments: dict[str, Any]) -> str:
        return f"sunny {arguments.get('place', '')}"


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return []


@pytest.fixture
async def url(upstream: Upstream, tmp_path: Path, rows: list[dict[str, Any]]) -> AsyncIterator[str]:
    """A program with its own page and the proxy below /llm."""
    conf = tmp_path / "conf"
    (conf / "models").mkdir(parents=True)
    (conf / "models" / "helper.yaml").write_text(MODEL)
    (conf / "proxy.yaml").write_text(
        f"connections: {{main: {{api_base: '{upstream.url}', api_key: sk-upstream-1}}, echo: {{api_type: echo}}}}\n"
        "default_connection: main\nrouting: {'echo*': 'echo.*'}\ngroups: {family: {}}\n"
    )

    async def page(request: web.Request) -> web.Response:
        return web.Response(text="own")

    application = web.Application()
    application.router.add_get("/", page)
    proxy = build_app(
        conf,
        env_file=None,
        logs_dir=tmp_path / "logs",
        state_dir=tmp_path / "state",
        prefix="/llm",
        tools=[Weather(), add],
        validator=lambda key: "family" if key == "sk-ann" else None,
        loggers=[rows.append],
    )
    application.add_subapp("/llm", proxy)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


ANN = {"Authorization": "Bearer sk-ann"}


async def test_the_proxy_serves_beside_the_programs_own_pages(url: str, rows: list[dict[str, Any]]) -> None:
    async with ClientSession() as client:
        async with client.get(f"{url}/") as answer:
            assert await answer.text() == "own"
        async with client.get(f"{url}/llm/health") as answer:
            assert (await answer.json())["status"] == "ok"
        body = {"model": "m-small", "messages": [{"role": "user", "content": "hi"}]}
        for _ in range(2):  # kept-alive connections, too
            async with client.post(f"{url}/llm/v1/chat/completions", json=body, headers=ANN) as answer:
                assert (await answer.json())["choices"][0]["message"]["content"] == "Hello world"
        async with client.post(f"{url}/llm/v1/chat/completions", json={**body, "stream": True}, headers=ANN) as answer:
            assert (await answer.read()).endswith(b"data: [DONE]\n\n")
        async with client.post(f"{url}/llm/v1/chat/completions", json=body) as answer:
            assert answer.status == 401
        async with client.get(f"{url}/llm/nothing", headers=ANN) as answer:
            assert answer.status == 404
    await turning_until(lambda: len(rows) >= 3, "each answer has a row in the log")
    assert {row["group"] for row in rows if row["status"] == 200} == {"family"}


async def test_the_tools_of_the_program_are_used(url: str) -> None:
    body = {"model": "helper", "messages": [{"role": "user", "content": "hi"}]}
    async with ClientSession() as client:
        async with client.post(f"{url}/llm/v1/chat/completions", json=body, headers=ANN) as answer:
            assert answer.status == 200, await answer.text()
            assert (await answer.json())["model"] == "helper"
        async with client.get(f"{url}/llm/v1/models", headers=ANN) as answer:
            assert "helper" in json.dumps(await answer.json())
        async with client.get(f"{url}/llm/health") as answer:
            assert (await answer.json())["config"]["problems"] == 0, (
                "callers other than the owner must get only the number of problems"
            )


def test_importing_the_package_stays_cheap() -> None:
    code = "import sys, openai_proxy; sys.exit('aiohttp' in sys.modules or 'pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
