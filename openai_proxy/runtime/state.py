"""Everything that lives as long as the process: pools, model lists, records, running requests."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from openai_proxy import statefile
from openai_proxy.auth.page_sessions import PageSessions
from openai_proxy.errors import Overloaded, ProxyError
from openai_proxy.exchange import Exchange
from openai_proxy.records.process_log import refusals
from openai_proxy.records.recording.live_events import ended
from openai_proxy.records.recording.recorder import Recorder
from openai_proxy.records.recording.service import Records
from openai_proxy.routing.catalog import Catalog
from openai_proxy.runtime.daemon_id import daemon_id
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.governor import Governor
from openai_proxy.runtime.leases import Leases
from openai_proxy.runtime.shared_edits import SharedEdits
from openai_proxy.runtime.shared_usage import SharedUsage
from openai_proxy.runtime.systemd import ServiceManager
from openai_proxy.secrets import vault
from openai_proxy.server.request_body import BodyLimits, BodyMemory
from openai_proxy.store.shared import Shared
from openai_proxy.tasks import cancel, spawn
from openai_proxy.transforms.redaction.redactor import Redactor
from openai_proxy.transforms.sessions import Sessions
from openai_proxy.upstream.factory import Providers
from openai_proxy.upstream.health import Health
from openai_proxy.upstream.lessons import LESSONS, LessonTable
from openai_proxy.upstream.queue import ConnectionQueues

if TYPE_CHECKING:  # each is imported when the first model or MCP server is configured
    from openai_proxy.agent.store import TurnStore
    from openai_proxy.config.tool_file import ToolFile
    from openai_proxy.runtime.augmented_models import SharedResources
    from openai_proxy.store.responses import ResponseStore
    from openai_proxy.telemetry.service import Telemetry
    from openai_proxy.tools.declared.documents import DocumentFetcher
    from openai_proxy.tools.handler import Handler
    from openai_proxy.tools.mcp.supervisor import Supervisor

log = logging.getLogger(__name__)

TURNS: Final = "turns.json"
RESPONSES: Final = "responses.json"
RESPONSES_VERSION: Final = 1
LAST_EXPORT: Final = 2.0  # seconds that a collector has at the end
LAST_SHARED: Final = 6.0  # seconds for publishing to other daemons, at the end
SESSIONS: Final = "sessions.json"
PAGE_SESSIONS: Final = "page-sessions.json"


class Reloading(Protocol):
    """Reloads the configuration (`runtime.reload`)."""

    async def ask(self) -> dict[str, Any]:
        """Reload; the answer of `POST /admin/reload`. Raises ProxyError if even that failed."""
        ...

    async def aclose(self) -> None:
        """Stop reloading."""
        ...


class Satellites(Protocol):
    """The port for Wyoming clients (`wyoming.listener`)."""

    def status(self) -> dict[str, Any] | None:
        """Its part of `/admin/status`; None while it is closed."""
        ...


class Served(Protocol):
    """One running request: what is known about it, its configuration, and how to end it."""

    exchange: Exchange
    generation: Generation

    def cut(self, reason: ProxyError) -> None:
        """End it now; the client gets `reason` if that is still possible."""
        ...


@dataclass(slots=True)
class Running:
    """A request served by a task, or by whatever else `cancel` ends."""

    exchange: Exchange
    generation: Generation
    cancel: Callable[[], object]

    def cut(self, reason: ProxyError) -> None:
        """End it now; the client gets `reason` if that is still possible."""
        if self.exchange.cut is None:
            self.exchange.cut = reason
            self.cancel()


@dataclass(slots=True)
class Settings:
    """Paths and options from flags and the environment; fixed for the process."""

    config_dir: Path
    env_file: Path | None
    logs_dir: Path
    state_dir: Path
    flags: dict[str, object] = field(default_factory=dict)
    splice: bool = True
    request_log: bool = True  # a line on the terminal for each request
    tools: tuple[Handler, ...] = ()  # of the program that embeds us as a library, besides conf/tools
    validator: Callable[[str], Any] | None = None  # the same, in place of check_api_key


class ProxyState:
    """The process. `generation` is replaced by one assignment; everything else stays."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        try:
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            statefile.make_private(settings.state_dir)
        except OSError as error:
            log.warning("no state directory: %s; nothing is kept over a restart", error.strerror)
        self.loop = loop
        self.started_at = time.time()
        self.shared = Shared(daemon_id(settings.state_dir))
        self.providers = Providers(loop, settings.config_dir, LessonTable(settings.state_dir / LESSONS))
        self.providers.lessons.share(self.shared)
        self.health = Health()
        self.health.keys.share(self.shared)
        self.catalog = Catalog(settings.state_dir / "models.json")
        self.catalog.share(self.shared)
        self.redactor = Redactor(vault)
        self.sessions = Sessions(settings.state_dir / SESSIONS)
        self.sessions.share(self.shared, lambda: self.generation.config.session_ttl)
        self.page_sessions = PageSessions(settings.state_dir / PAGE_SESSIONS)
        self.records = Records(settings.logs_dir, settings.state_dir, loop, scrub=self.redactor.lines)
        self.records.lines.enabled = settings.request_log
        refusals.enable(settings.request_log)
        self.recorder: Recorder = self.records.recorder
        self.governor = Governor(loop, settings.state_dir, self.records, self.shared, self.catalog)
        self.shared_usage = SharedUsage(self.shared, self.records.usage)
        self.edits = SharedEdits(self)
        self._sharing: asyncio.Task[None] | None = None
        self.telemetry: Telemetry | None = None
        self.running: dict[str, Served] = {}
        self.draining = False
        self.succeeded = False
        """True if the service manager owns the socket, and the next process gets the clients waiting there."""
        self.events = self.records.events
        self.publish = self.events.publish
        self.lines = ConnectionQueues(self.publish)
        self.manager = ServiceManager()
        self.leases = Leases(loop)
        self.reloads: Reloading
        self.turns: TurnStore | None = None
        self._responses: ResponseStore | None = None
        self._saving_responses: asyncio.Future[None] | None = None
        self._saved_responses = 0  # the store's `changes` when it was saved
        self._supervisor: Supervisor | None = None
        self._workshop: SharedResources | None = None
        self._documents: DocumentFetcher | None = None
        self._emptied: asyncio.Event | None = None
        self.own_port: Callable[[], int | None] = lambda: None  # of the address that we listen on, for OAuth callbacks
        self.adopted = asyncio.Event()  # set when a configuration comes into service
        self.last_asked: dict[str, float] = {}  # augmented models with `warm` -> monotonic time of the last turn
        self.warm: Callable[[Sequence[str]], Awaitable[list[dict[str, Any]]]]  # see pipeline.warm_schedule.warm_now
        self.kept: dict[type, object] = {}  # objects that upper layers keep for the life of the process, by class
        self.bodies = BodyMemory()
        self.idle_closers: list[Callable[[], object]] = []
        self.addresses: Callable[[], list[str]] = list  # base URLs at which it is reached; known once it listens
        self.wyoming: Satellites | None = None
        self.generation: Generation

    @property
    def supervisor(self) -> Supervisor:
        """The MCP servers; created when the first one is configured."""
        if self._supervisor is None:
            from openai_proxy.tools.mcp.supervisor import PINS, SIGN_INS, Supervisor

            directory = self.settings.state_dir
            self._supervisor = Supervisor(self.publish, pins=directory / PINS, sign_ins=directory / SIGN_INS)
        return self._supervisor

    @property
    def workshop(self) -> SharedResources:
        """What augmented models share; created with the first of them."""
        if self._workshop is None:
            from openai_proxy.agent.store import TurnStore
            from openai_proxy.runtime.augmented_models import SharedResources

            self._workshop = SharedResources()
            self.turns = TurnStore()
            self._load_turns(self.turns)
            self.turns.share(self.shared)
            self._workshop.conversations.share(self.shared)
        return self._workshop

    @property
    def responses(self) -> ResponseStore:
        """Stored answers of the Responses API; created with the first one."""
        if self._responses is None:
            from openai_proxy.store.responses import ResponseStore

            store = self._responses = ResponseStore(ttl=self.generation.config.session_ttl)
            if saved := statefile.load(self.settings.state_dir / RESPONSES, RESPONSES_VERSION):
                store.load(saved)
            self._saved_responses = store.changes
            store.share(self.shared)
        self._responses.ttl = self.generation.config.session_ttl
        return self._responses

    @property
    def has_supervisor(self) -> bool:
        """True once an MCP server was configured."""
        return self._supervisor is not None

    def mcp_status(self) -> list[dict[str, Any]]:
        """The MCP servers' part of /admin/status."""
        return self._supervisor.status() if self._supervisor is not None else []

    def follow_documents(self, files: Sequence[ToolFile]) -> None:
        """Fetch the URLs in `files` of conf/tools in the background; a new document triggers a reload."""
        if self._documents is None:
            if not any(file.tools for file in files):
                return
            from openai_proxy.tools.declared.documents import FOLDER, DocumentFetcher, DocumentStore

            store = DocumentStore(self.settings.state_dir / FOLDER)
            self._documents = DocumentFetcher(store, lambda: self.reloads.ask())
        from openai_proxy.tools.declared.load import sources

        self._documents.follow(sources(files))

    def _load_turns(self, turns: TurnStore) -> None:
        saved = statefile.load(self.settings.state_dir / TURNS, turns.VERSION)
        if saved:
            turns.load(saved)

    def _save_turns(self) -> None:
        """Save what clients were not shown of their turns, so that a restart in the middle of one loses nothing."""
        if self.turns is None:
            return
        try:
            statefile.save(self.settings.state_dir / TURNS, self.turns.VERSION, self.turns.dump())
        except OSError as error:
            log.warning("tool turns cannot be saved: %s", error.strerror)

    def _save_responses(self) -> None:
        """Save stored answers and conversations for a restart, even an unexpected one."""
        store, saving = self._responses, self._saving_responses
        if store is None or store.changes == self._saved_responses or (saving is not None and not saving.done()):
            return
        self._saved_responses = store.changes
        self._saving_responses = self.loop.run_in_executor(None, self._write_responses, store.dump())

    def _write_responses(self, state: dict[str, Any]) -> None:
        try:
            statefile.save(self.settings.state_dir / RESPONSES, RESPONSES_VERSION, state)
        except OSError as error:
            log.warning("stored answers cannot be saved: %s", error.strerror)

    def sweep(self) -> None:
        """Periodically close expired idle sockets, forget old sessions, and save the others for a restart."""
        self.providers.sweep()
        self.governor.save()
        if self.shared.live and (self._sharing is None or self._sharing.done()):
            self._sharing = spawn(self._share_usage(), name="share usage")
        self._save_responses()
        self.sessions.sweep(self.generation.config.session_ttl)
        if (data := self.sessions.dump()) is not None:
            self.loop.run_in_executor(None, self._save_sessions, data)

    async def _share_usage(self) -> None:
        await self.shared_usage.publish(await self.loop.run_in_executor(None, self.shared_usage.look))

    def _save_sessions(self, data: bytes | None) -> None:
        try:
            if data is not None:
                self.sessions.write(data)
        except OSError as error:
            log.warning("sessions cannot be saved: %s", error.strerror)

    def move(self, exchange: Exchange, generation: Generation) -> None:
        """A running request continues under another generation."""
        running = self.running.get(exchange.id)
        if running is not None:
            generation.lease.take()
            running.generation.lease.give_back()
            running.generation = generation

    def body_limits(self, generation: Generation) -> BodyLimits:
        """The body limits of a request that starts under `generation`."""
        limits = generation.config.limits
        size = int(limits.max_body_mb * 2**20)
        in_memory = max(int(limits.max_bodies_mb * 2**20), size)
        return BodyLimits(size, limits.body_idle_seconds, limits.body_bytes_per_second, self.bodies, in_memory)

    def enter(self, running: Served) -> None:
        """A request starts: it leases its generation to its end."""
        exchange = running.exchange
        self.running[exchange.id] = running
        generation = running.generation
        generation.lease.take()
        if self.events.watched and not exchange.attempts:
            self.publish(
                "request",
                {"id": exchange.id, "state": "begin", "model": exchange.model, "path": exchange.path,
                 "group": exchange.caller.group, "generation": generation.number},
            )  # fmt: skip

    def leave(self, exchange: Exchange) -> None:
        """A request has ended, or continues elsewhere (then it is entered again)."""
        running = self.running.pop(exchange.id, None)
        if running is not None:
            running.generation.lease.give_back()
            if self.events.watched and exchange.outcome is not None:
                self.publish("request", ended(exchange))
        if self._emptied is not None and not self.running:
            self._emptied.set()

    async def empty(self, seconds: float) -> None:
        """Wait until nothing is running any more, at most `seconds`."""
        self._emptied = asyncio.Event()
        if not self.running:
            return
        try:
            async with asyncio.timeout(max(seconds, 0)):
                await self._emptied.wait()
        except TimeoutError:
            return

    def degraded(self) -> list[str]:
        """For /health: "log" while chat log lines are being lost, "storage" while the shared store is unavailable."""
        found = ["log"] if self.recorder.lost_lines() else []
        return [*found, "storage"] if self.shared.status.state == "alone" else found

    def line(self) -> str:
        """The status line for the service manager."""
        generation = self.generation
        problems = len(generation.problems)
        words = f", {problems} problem{'s' if problems > 1 else ''}: {generation.problems[0]}" if problems else ""
        return f"serving configuration {generation.number}{words}"

    def close_idle(self) -> None:
        """Draining: idle kept connections need not be waited for."""
        for closer in tuple(self.idle_closers):
            closer()

    def cut_off(self) -> None:
        """End every running request now; live streams get an error event."""
        for running in tuple(self.running.values()):
            running.cut(Overloaded("The proxy is shutting down.", code="server_shutting_down"))

    async def aclose(self) -> None:
        """Close everything, in order: first the callers, then what they use."""
        if self._documents is not None:
            await self._documents.aclose()
        if self._supervisor is not None:
            await self._supervisor.aclose()
        self._save_turns()
        if self._saving_responses is not None:
            await self._saving_responses
        self._save_responses()
        if self._saving_responses is not None:
            await self._saving_responses
        self._save_sessions(self.sessions.dump(all_of_it=True))
        reloads: Reloading | None = getattr(self, "reloads", None)
        if reloads is not None:
            await reloads.aclose()
        await self.catalog.aclose()
        await self.leases.aclose()
        await self.providers.aclose()
        await self.loop.run_in_executor(None, self.records.close)
        if self.telemetry is not None:
            await self.loop.run_in_executor(None, self.telemetry.close, LAST_EXPORT)
        self.governor.save()
        try:
            async with asyncio.timeout(LAST_SHARED):
                await self._end_sharing()
        except TimeoutError:
            log.warning("the shared state was not closed properly: it took more than %g s", LAST_SHARED)

    async def _end_sharing(self) -> None:
        """Publish what the other daemons do not know yet, and close the store."""
        await self.edits.aclose()
        await cancel(self._sharing)
        if self.shared.live:
            await self._share_usage()
        await self.shared.aclose()
