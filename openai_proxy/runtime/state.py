"""What lives as long as the process: pools, model lists, records, who is being served right now."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from openai_proxy.errors import Overloaded, ProxyError
from openai_proxy.exchange import Exchange
from openai_proxy.records.events import EventBus
from openai_proxy.records.recorder import Recorder
from openai_proxy.records.scribe import Scribe
from openai_proxy.routing.catalog import Catalog
from openai_proxy.runtime.generation import Generation
from openai_proxy.upstream.factory import Providers
from openai_proxy.upstream.health import Health
from openai_proxy.upstream.provider import Provider

if TYPE_CHECKING:  # each is imported when the first model or MCP server is configured
    from openai_proxy.agent.store import TurnStore
    from openai_proxy.runtime.augmented import Workshop
    from openai_proxy.tools.mcp.supervisor import Supervisor

log = logging.getLogger(__name__)

TURNS = "turns.json"

RETIRE_LIMIT = 3600.0  # seconds an old connection is kept for requests that began with it


@dataclass(slots=True)
class Running:
    """One request being served: what is known of it, its configuration, and how to end it."""

    exchange: Exchange
    generation: Generation
    cancel: Callable[[], object]

    def cut(self, reason: ProxyError) -> None:
        """End it now; the client is told `reason` where that can still be said."""
        if self.exchange.cut is None:
            self.exchange.cut = reason
            self.cancel()


@dataclass(slots=True)
class Settings:
    """Where things are, from flags and the environment; fixed for the process."""

    config_dir: Path
    env_file: Path | None
    logs_dir: Path
    state_dir: Path
    flags: dict[str, object] = field(default_factory=dict)
    splice: bool = True


class State:
    """The process. `generation` is swapped by one assignment; everything else stays."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        try:
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            log.warning("no state directory: %s; nothing is remembered over a restart", error.strerror)
        self.loop = loop
        self.started_at = time.time()
        self.providers = Providers(loop, settings.config_dir)
        self.health = Health()
        self.catalog = Catalog(settings.state_dir / "models.json")
        self.recorder = Recorder(Scribe(settings.logs_dir))
        self.running: dict[str, Running] = {}
        self.draining = False
        self.events = EventBus()
        self.publish = self.events.publish
        self.reloading = asyncio.Lock()
        self.turns: TurnStore | None = None
        self._supervisor: Supervisor | None = None
        self._workshop: Workshop | None = None
        self._emptied: asyncio.Event | None = None
        self._retiring: list[tuple[Provider, float]] = []
        self.idle_closers: list[Callable[[], None]] = []
        self.generation: Generation

    @property
    def supervisor(self) -> Supervisor:
        """The MCP servers; made when the first one is configured."""
        if self._supervisor is None:
            from openai_proxy.tools.mcp.supervisor import Supervisor

            self._supervisor = Supervisor(self.publish)
        return self._supervisor

    @property
    def workshop(self) -> Workshop:
        """What augmented models share; made with the first of them."""
        if self._workshop is None:
            from openai_proxy.agent.store import TurnStore
            from openai_proxy.runtime.augmented import Workshop

            self._workshop = Workshop()
            self.turns = TurnStore()
            self._load_turns(self.turns)
        return self._workshop

    @property
    def has_supervisor(self) -> bool:
        """True once an MCP server was configured."""
        return self._supervisor is not None

    def mcp_status(self) -> list[dict[str, Any]]:
        """The MCP servers as /admin/status shows them."""
        return self._supervisor.status() if self._supervisor is not None else []

    def _load_turns(self, turns: TurnStore) -> None:
        try:
            turns.load(orjson.loads((self.settings.state_dir / TURNS).read_bytes()))
        except (OSError, ValueError):
            return

    def _save_turns(self) -> None:
        """Keep what clients were not shown of their turns, so that a restart in the middle of one loses nothing."""
        if self.turns is None:
            return
        path = self.settings.state_dir / TURNS
        try:
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(orjson.dumps(self.turns.dump()))
        except OSError as error:
            log.warning("tool turns not saved: %s", error.strerror)

    def retire(self, providers: list[Provider]) -> None:
        """Close `providers` when no running request may still use them (at the latest after RETIRE_LIMIT)."""
        for provider in providers:
            self._retiring.append((provider, self.loop.time() + RETIRE_LIMIT))

    async def sweep(self) -> None:
        """Now and then: close idle sockets past their time, and what an edit took out of service."""
        self.providers.sweep()
        now = self.loop.time()
        in_use = {id(p) for r in self.running.values() for p in r.generation.providers.values()}
        for entry in tuple(self._retiring):
            provider, limit = entry
            if id(provider) not in in_use or now >= limit:
                self._retiring.remove(entry)
                await provider.aclose()

    def enter(self, running: Running) -> None:
        """A request begins."""
        self.running[running.exchange.id] = running

    def leave(self, exchange: Exchange) -> None:
        """A request has ended."""
        self.running.pop(exchange.id, None)
        if self._emptied is not None and not self.running:
            self._emptied.set()

    async def empty(self, seconds: float) -> None:
        """Wait until nothing runs any more, at most `seconds`."""
        self._emptied = asyncio.Event()
        if not self.running:
            return
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._emptied.wait()
        except TimeoutError:
            return

    def degraded(self) -> list[str]:
        """What does not work as it should, for /health: "log" while chat log lines are being lost."""
        return ["log"] if self.recorder.lost_lines() else []

    def close_idle(self) -> None:
        """Draining: whoever waits on a kept connection need not."""
        for closer in tuple(self.idle_closers):
            closer()

    def cut_off(self) -> None:
        """End every running request now; live streams get an error event."""
        for running in tuple(self.running.values()):
            running.cut(Overloaded("The proxy is shutting down.", code="server_shutting_down"))

    async def aclose(self) -> None:
        """Let go of everything, in order: who asks, then what is asked."""
        if self._supervisor is not None:
            await self._supervisor.aclose()
        self._save_turns()
        await self.catalog.aclose()
        await self.providers.aclose()
        await self.loop.run_in_executor(None, self.recorder.close)
