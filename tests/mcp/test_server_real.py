"""Real servers: the reference servers from PyPI and npm, and one built with the SDK for the newest protocol."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from openai_proxy.tools.base import CallContext
from tests.harness.daemon import free_port, listens

from .conftest import Config, Supervised, children, eventually
from .npm import installed

pytestmark = pytest.mark.slow

MODERN = Path(__file__).with_name("modern_server.py")
EVERYTHING = [
    *("echo", "get-annotated-message", "get-env", "get-resource-links", "get-resource-reference"),
    *("get-structured-content", "get-sum", "get-tiny-image", "gzip-file-as-resource", "simulate-research-query"),
    *("toggle-simulated-logging", "toggle-subscriber-updates", "trigger-long-running-operation"),
]


@pytest.fixture(scope="session")
def npm() -> Path:
    modules = installed("servers")
    if modules is None:
        pytest.skip("npm or its registry is not available")
    return modules / ".bin"


def script(name: str) -> str:
    """A console script beside this Python."""
    return str(Path(sys.executable).with_name(name))


@asynccontextmanager
async def listening(*command: str, port: int) -> AsyncIterator[None]:
    """A server process of the test's own that listens on `port`."""
    process = subprocess.Popen(
        command, env={**os.environ, "PORT": str(port)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await eventually(lambda: listens(port), 20)
        yield
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)


async def test_the_time_server(supervised: Supervised) -> None:
    await supervised.start(Config(name="time", command=script("mcp-server-time"), args=("--local-timezone", "UTC")))
    assert supervised.status("time")["tools"] == ["convert_time", "get_current_time"]
    assert supervised.status("time")["protocol"] == "2026-07-28"
    result = await supervised.call("get_current_time", {"timezone": "Europe/Berlin"}, "time")
    assert json.loads(result.text)["timezone"] == "Europe/Berlin"
    wrong = await supervised.call("get_current_time", {"timezone": "Nowhere/Land"}, "time")
    assert wrong.is_error
    assert "timezone" in wrong.text


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")
    subprocess.run([git, "init", "-q", str(tmp_path)], check=True)
    return tmp_path


async def test_the_git_server(supervised: Supervised, repository: Path) -> None:
    (repository / "new.txt").write_text("new")
    await supervised.start(Config(name="git", command=script("mcp-server-git"), args=("--repository", str(repository))))
    assert len(supervised.status("git")["tools"]) == 12
    result = await supervised.call("git_status", {"repo_path": str(repository)}, "git")
    assert "new.txt" in result.text


async def test_the_filesystem_server(supervised: Supervised, npm: Path, tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello from disk")
    await supervised.start(Config(name="fs", command=str(npm / "mcp-server-filesystem"), args=(str(tmp_path),)))
    assert len(supervised.status("fs")["tools"]) == 14
    result = await supervised.call("read_text_file", {"path": str(tmp_path / "hello.txt")}, "fs")
    assert result.text == "hello from disk"
    outside = await supervised.call("read_text_file", {"path": "/etc/hostname"}, "fs")
    assert outside.is_error


async def test_the_memory_server(supervised: Supervised, npm: Path, tmp_path: Path) -> None:
    env = {"MEMORY_FILE_PATH": str(tmp_path / "memory.json")}
    await supervised.start(Config(name="mem", command=str(npm / "mcp-server-memory"), env=env))
    entity = {"name": "Lamp", "entityType": "device", "observations": ["is in the kitchen"]}
    assert not (await supervised.call("create_entities", {"entities": [entity]}, "mem")).is_error
    assert "kitchen" in (await supervised.call("search_nodes", {"query": "Lamp"}, "mem")).text


@asynccontextmanager
async def everything(npm: Path, kind: str) -> AsyncIterator[Config]:
    """The configuration of a server-everything over one of the three transports, started if necessary."""
    command, port = str(npm / "mcp-server-everything"), free_port()
    match kind:
        case "stdio":
            yield Config(name="all", command=command, args=("stdio",), env={"OWN": "seen"})
        case "sse":
            async with listening(command, "sse", port=port):
                yield Config(name="all", type="sse", url=f"http://127.0.0.1:{port}/sse")
        case _:
            async with listening(command, "streamableHttp", port=port):
                yield Config(name="all", type="streamablehttp", url=f"http://127.0.0.1:{port}/mcp")


@pytest.mark.parametrize("kind", ["stdio", "sse", "streamablehttp"])
async def test_server_everything_over_each_transport(supervised: Supervised, npm: Path, kind: str) -> None:
    async with everything(npm, kind) as config:
        await supervised.start(config)
        assert supervised.status("all")["tools"] == EVERYTHING
        assert supervised.status("all")["protocol"] == "2025-11-25"
        assert (await supervised.call("echo", {"message": "grüß"}, "all")).text == "Echo: grüß"
        assert "image omitted: image/png" in (await supervised.call("get-tiny-image", {}, "all")).text
        structured = await supervised.call("get-structured-content", {"location": "Chicago"}, "all")
        assert "temperature" in json.loads(structured.text)
        links = await supervised.call("get-resource-links", {"count": 2}, "all")
        assert "demo://" in links.text
        embedded = await supervised.call("get-resource-reference", {"resourceId": 1}, "all")
        assert "demo://" in embedded.text
        seen: list[float | None] = []
        context = CallContext(progress=lambda done, total, message: seen.append(done))
        tool = supervised.tool("trigger-long-running-operation", "all")
        assert "completed" in (await tool.call({"duration": 0.4, "steps": 2}, context)).text
        assert seen
        many = [supervised.call("echo", {"message": str(number)}, "all") for number in range(50)]
        assert [r.text for r in await asyncio.gather(*many)] == [f"Echo: {number}" for number in range(50)]
        await supervised.supervisor.aclose()


async def test_no_key_of_ours_reaches_a_real_server(
    supervised: Supervised, npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-0123456789")
    async with everything(npm, "stdio") as config:
        await supervised.start(config)
        env = (await supervised.call("get-env", {}, "all")).text
    assert '"OWN": "seen"' in env
    assert "sk-ant" not in env


async def test_a_restarted_http_server_is_reconnected_between_calls(supervised: Supervised, npm: Path) -> None:
    command, port = str(npm / "mcp-server-everything"), free_port()
    async with listening(command, "streamableHttp", port=port):
        await supervised.start(Config(name="all", type="streamablehttp", url=f"http://127.0.0.1:{port}/mcp"))
        assert (await supervised.call("echo", {"message": "1"}, "all")).text == "Echo: 1"
    async with listening(command, "streamableHttp", port=port):
        assert (await supervised.call("echo", {"message": "2"}, "all")).text == "Echo: 2"
        await supervised.supervisor.aclose()


async def test_the_newest_protocol_over_stdio(supervised: Supervised) -> None:
    await supervised.start(Config(name="new", command=sys.executable, args=(str(MODERN), "stdio")))
    await try_modern(supervised)


async def test_the_newest_protocol_over_http(supervised: Supervised) -> None:
    port = free_port()
    async with listening(sys.executable, str(MODERN), str(port), port=port):
        await supervised.start(Config(name="new", type="streamablehttp", url=f"http://127.0.0.1:{port}/mcp"))
        await try_modern(supervised)
        await supervised.supervisor.aclose()


async def try_modern(supervised: Supervised) -> None:
    """A call, progress, and a change announced through `subscriptions/listen`."""
    assert supervised.status("new")["protocol"] == "2026-07-28"
    assert (await supervised.call("echo", {"text": "x"}, "new")).text == "x"
    seen: list[float | None] = []
    context = CallContext(progress=lambda done, total, message: seen.append(done))
    assert (await supervised.tool("slow", "new").call({}, context)).text == "done"
    assert seen == [1.0]
    assert (await supervised.call("grow", {}, "new")).text == "told"
    await eventually(lambda: "grown" in supervised.status("new")["tools"])
    assert (await supervised.call("grown", {}, "new")).text == "grown"


async def test_a_killed_wrapper_does_not_count_as_a_dead_server(supervised: Supervised) -> None:
    """`npx` starts the server as a child: while that holds the pipe and answers, nothing is restarted."""
    code = f"import subprocess, sys; subprocess.run([sys.executable, {str(MODERN)!r}, 'stdio'])"
    await supervised.start(Config(name="new", command=sys.executable, args=("-c", code)))
    wrapper = next(process for process in children() if process.pid == supervised.status("new")["pid"])
    wrapper.kill()
    await asyncio.to_thread(wrapper.wait, 5)
    assert (await supervised.call("echo", {"text": "still"}, "new")).text == "still"
    assert supervised.status("new")["restarts"] == 0
