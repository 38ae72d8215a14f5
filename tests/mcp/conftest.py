"""Shared by these tests: a configuration in the shape of ServerConfig, and a supervisor that must leave nothing behind,
neither a process of its servers nor a pending task."""

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import uvloop

from openai_proxy.tools.base import CallContext, Tool, ToolResult
from openai_proxy.tools.mcp.settings import MARK
from openai_proxy.tools.mcp.supervisor import Supervisor
from tests.harness.waiting import PATIENCE

FAULT_SERVER = Path(__file__).with_name("fault_server.py")


@dataclass(frozen=True)
class Config:
    """The attributes of `config/servers.py: ServerConfig`."""

    name: str = "fault"
    type: str = "stdio"
    command: str | None = None
    args: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    cwd: str | None = None
    url: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    auth: Any = None
    description: str | None = None
    enabled: bool = True
    timeout: float | None = 10
    start_timeout: float = 20
    whitelist: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()
    pin: bool = False

    def identity(self) -> str:
        parts = (self.type, self.command, self.args, self.env, self.cwd, self.url, self.headers)
        return hashlib.sha256(repr(parts).encode()).hexdigest()


def fault(*modes: str, **more: Any) -> Config:
    """The fault server in `modes`."""
    return Config(command=sys.executable, args=(str(FAULT_SERVER), *modes), **more)


def children() -> list[psutil.Process]:
    """Every living descendant of a supervised server, including those that left its process group."""
    found = []
    for process in psutil.process_iter():
        try:
            environ = process.environ()
            if MARK in environ and process.status() != psutil.STATUS_ZOMBIE and environ.get("MCP_TEST") == TEST_ID:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


TEST_ID = str(os.getpid())


async def eventually(condition: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until `condition()` is true and return its value; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not (value := condition()):  # noqa: ASYNC110  # the condition is not an event's
            await asyncio.sleep(0.01)
        return value


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The daemon's event loop for all; for tests of processes also the plain one, whose transports differ."""
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    if item.path.name == "test_process.py":
        factories["asyncio"] = asyncio.new_event_loop
    return factories


class Supervised:
    """A supervisor with shorthands."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.supervisor = Supervisor(on_event=lambda kind, data: self.events.append(data))

    def configure(self, *configs: Config) -> None:
        marked = [_marked(config) for config in configs]
        self.supervisor.reconcile({config.name: config for config in marked})

    async def start(self, *configs: Config, seconds: float = 20.0) -> None:
        self.configure(*configs)
        missing = await self.supervisor.wait_ready([config.name for config in configs], seconds)
        assert missing == [], self.supervisor.status()

    def status(self, name: str = "fault") -> dict[str, Any]:
        return next(status for status in self.supervisor.status() if status["name"] == name)

    def tool(self, name: str, server: str = "fault") -> Tool:
        return next(tool for tool in self.supervisor.tools(server) if tool.name == f"mcp_{server}_{name}")

    async def call(self, name: str, arguments: dict[str, Any] | None = None, server: str = "fault") -> ToolResult:
        async with asyncio.timeout(30):
            return await self.tool(name, server).call(arguments or {}, CallContext())

    async def echo(self, text: str, **more: Any) -> ToolResult:
        return await self.call("echo", {"text": text, **more})

    async def asleep(self, calls: int = 1) -> None:
        """Wait until this many calls of `sleep` have arrived at the fault server, which reports them on its stderr."""
        await eventually(lambda: (self.status()["stderr"] or "").count("sleeping") >= calls)

    async def state(self, wanted: str, name: str = "fault", seconds: float = PATIENCE) -> dict[str, Any]:
        await eventually(lambda: self.status(name)["state"] == wanted, seconds)
        return self.status(name)


def _marked(config: Config) -> Config:
    return Config(**{**config.__dict__, "env": {**config.env, "MCP_TEST": TEST_ID}})


def _fake(task: "asyncio.Task[Any]") -> bool:
    """True for a task of a fake server, which ends after the supervisor."""
    name = getattr(task.get_coro(), "__qualname__", "")
    return "RequestHandler" in name or name.startswith(("SseServer", "FakeServer"))


@pytest.fixture
async def supervised() -> AsyncIterator[Supervised]:
    """A supervisor; afterwards neither a process nor a task of it is left."""
    before = asyncio.all_tasks()
    built = Supervised()
    yield built
    async with asyncio.timeout(20):
        await built.supervisor.aclose()
    tasks = asyncio.all_tasks() - before - {asyncio.current_task()}
    left = {task.get_name() for task in tasks if task is not None and not _fake(task)}
    assert not left, left
    await eventually(lambda: children() == [])
