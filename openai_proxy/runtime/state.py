"""What lives as long as the process: pools, model lists, records, who is being served right now."""

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
from openai_proxy.records.recording.live_events import ended
from openai_proxy.records.recording.recorder import Recorder
from openai_proxy.records.recording.service import Records
from openai_proxy.records.terminal import refusals
from openai_proxy.routing.catalog import Catalog
from openai_proxy.runtime.daemon_id import daemon_id
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.governor import Governor
from openai_proxy.runtime.leases import Leases
from openai_proxy.runtime.shared_edits import SharedEdits
from openai_proxy.runtime.shared_usage import SharedUsage
from openai_proxy.runtime.spending import Spendings
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
    from openai_proxy.config.tool_entries import ToolFile
    from openai_proxy.runtime.augmented_models import Workshop
    from openai_proxy.store.responses import ResponseStore
    from openai_proxy.telemetry.service import Telemetry
    from openai_proxy.tools.declared.documents import DocumentFetcher
    from openai_proxy.tools.handler import Handler
    from openai_proxy.tools.mcp.supervisor import Supervisor

log = logging.getLogger(__name__)

TURNS: Final = "turns.json"
RESPONSES: Final = "responses.json"
RESPONSES_VERSION: Final = 1
LAST_EXPORT: Final = 2.0  # seconds a collector has at the end
LAST_SHARED: Final = 6.0  # seconds for what other daemons do not know yet, at the end
SESSIONS: Final = "sessions.json"
PAGE_SESSIONS: Final = "page-sessions.json"


class Reloading(Protocol):
    """Whoever reads the configuration anew (`runtime.reload`)."""

    async def ask(self) -> dict[str, Any]:
        """Reload; what `POST /admin/reload` answers. Raises ProxyError if even that failed."""
        ...

    async def aclose(self) -> None:
        """Read no more."""
        ...


class Satellites(Protocol):
    """The port for Wyoming clients (`wyoming.listener`)."""

    def status(self) -> dict[str, Any] | None:
        """What `/admin/status` shows; None while it is closed."""
        ...


class Served(Protocol):
    """One request being served: what is known of it, its configuration, and how to end it."""

    exchange: Exchange
    generation: Generation

    def cut(self, reason: ProxyError) -> None:
        """End it now; the client is told `reason` where that can still be said."""
        ...


@dataclass(slots=True)
class Running:
    """A request that is served by a task, or by whatever else `cancel` ends."""

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
    request_log: bool = True  # a line on the terminal for each request
    tools: tuple[Handler, ...] = ()  # of the program that runs us as a library, besides conf/tools
    validator: Callable[[str], Any] | None = None  # the same, in the place of check_api_key


class ProxyState:
    """The process. `generation` is swapped by one assignment; everything else stays."""

    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop) -> None:
        self.settings = settings
        try:
            settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            statefile.make_private(settings.state_dir)
        except OSError as error:
            log.warning("no state directory: %s; nothing is remembered over a restart", error.strerror)
        self.loop = loop
        self.started_at = time.time()
        self.shared = Shared(daemon_id(settings.state_dir))
        self.providers = Providers(loop, settings.config_dir, LessonTable(settings.state_dir / LESSONS))
        self.providers.lessons.share(self.shared)
        self.health = Health()
        self.health.keys.share(self.shared)
        self.catalog = Catalog(settings.state_dir / "models.json")
        self.redactor = Redactor(vault)
        self.sessions = Sessions(settings.state_dir / SESSIONS)
        self.sessions.share(self.shared, lambda: self.generation.config.session_ttl)
        self.page_sessions = PageSessions(settings.state_dir / PAGE_SESSIONS)
        self.records = Records(settings.logs_dir, settings.state_dir, loop, scrub=self.redactor.lines)
        self.records.lines.enabled = settings.request_log
        refusals.enable(settings.request_log)
        self.recorder: Recorder = self.records.recorder
        self.spendings = Spendings(settings.state_dir, self.records, self.catalog, self.shared)
        self.governor = Governor(loop, settings.state_dir, self.records, self.shared, self.spendings)
        self.shared_usage = SharedUsage(self.shared, self.records.usage)
        self.edits = SharedEdits(self)
        self._sharing: asyncio.Task[None] | None = None
        self.telemetry: Telemetry | None = None
        self.running: dict[str, Served] = {}
        self.draining = False
        self.succeeded = False  # True: the service manager holds the address, and the next process gets who waits there
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
        self._workshop: Workshop | None = None
        self._documents: DocumentFetcher | None = None
        self._emptied: asyncio.Event | None = None
        self.own_port: Callable[[], int | None] = lambda: None  # of the address we listen on, for OAuth callbacks
        self.adopted = asyncio.Event()  # set when a configuration comes into service
        self.last_asked: dict[str, float] = {}  # augmented models with `warm` -> monotonic time of the last turn
        self.warm: Callable[[Sequence[str]], Awaitable[list[dict[str, Any]]]]  # see pipeline.warm_schedule.warm_now
        self.kept: dict[type, object] = {}  # what a room above needs for the life of the process, by its class
        self.bodies = BodyMemory()
        self.idle_closers: list[Callable[[], object]] = []
        self.addresses: Callable[[], list[str]] = list  # base URLs under which it is reached; known once it listens
        self.wyoming: Satellites | None = None
        self.generation: Generation

    @property
    def supervisor(self) -> Supervisor:
        """The MCP servers; made when the first one is configured."""
        if self._supervisor is None:
            from openai_proxy.tools.mcp.supervisor import PINS, SIGN_INS, Supervisor

            directory = self.settings.state_dir
            self._supervisor = Supervisor(self.publish, pins=directory / PINS, sign_ins=directory / SIGN_INS)
        return self._supervisor

    @property
    def workshop(self) -> Workshop:
        """What augmented models share; made with the first of them."""
        if self._workshop is None:
            from openai_proxy.agent.store import TurnStore
            from openai_proxy.runtime.augmented_models import Workshop

            self._workshop = Workshop()
            self.turns = TurnStore()
            self._load_turns(self.turns)
            self.turns.share(self.shared)
            self._workshop.conversations.share(self.shared)
        return self._workshop

    @property
    def responses(self) -> ResponseStore:
        """Stored answers of the Responses API; made when the first one is."""
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
        """The MCP servers as /admin/status shows them."""
        return self._supervisor.status() if self._supervisor is not None else []

    def follow_documents(self, files: Sequence[ToolFile]) -> None:
        """Fetch what `files` of conf/tools name by URL, behind the back of the requests; a new one means a reload."""
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
        """Keep what clients were not shown of their turns, so that a restart in the middle of one loses nothing."""
        if self.turns is None:
            return
        try:
            statefile.save(self.settings.state_dir / TURNS, self.turns.VERSION, self.turns.dump())
        except OSError as error:
            log.warning("tool turns not saved: %s", error.strerror)

    def _save_responses(self) -> None:
        """Keep the stored answers and conversations for a restart, also one that nobody has planned."""
        store, saving = self._responses, self._saving_responses
        if store is None or store.changes == self._saved_responses or (saving is not None and not saving.done()):
            return
        self._saved_responses = store.changes
        self._saving_responses = self.loop.run_in_executor(None, self._write_responses, store.dump())

    def _write_responses(self, state: dict[str, Any]) -> None:
        try:
            statefile.save(self.settings.state_dir / RESPONSES, RESPONSES_VERSION, state)
        except OSError as error:
            log.warning("stored answers not saved: %s", error.strerror)

    def sweep(self) -> None:
        """Now and then: close idle sockets past their time, forget old sessions, keep the others for a restart."""
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
            log.warning("sessions not saved: %s", error.strerror)

    def move(self, exchange: Exchange, generation: Generation) -> None:
        """A running request goes on under another generation."""
        running = self.running.get(exchange.id)
        if running is not None:
            generation.lease.take()
            running.generation.lease.give_back()
            running.generation = generation

    def body_limits(self, generation: Generation) -> BodyLimits:
        """What the body of a request may take that begins under `generation`."""
        limits = generation.config.limits
        size = int(limits.max_body_mb * 2**20)
        in_memory = max(int(limits.max_bodies_mb * 2**20), size)
        return BodyLimits(size, limits.body_idle_seconds, limits.body_bytes_per_second, self.bodies, in_memory)

    def enter(self, running: Served) -> None:
        """A request begins: it leases its generation to its end."""
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
        """A request has ended, or goes on in other hands (then it is entered again)."""
        running = self.running.pop(exchange.id, None)
        if running is not None:
            running.generation.lease.give_back()
            if self.events.watched and exchange.outcome is not None:
                self.publish("request", ended(exchange))
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
        """What does not work as it should, for /health: "log" while chat log lines are being lost, "storage" while
        the shared store cannot be used."""
        found = ["log"] if self.recorder.lost_lines() else []
        return [*found, "storage"] if self.shared.status.state == "alone" else found

    def line(self) -> str:
        """What the service manager shows of us."""
        generation = self.generation
        problems = len(generation.problems)
        words = f", {problems} problem{'s' if problems > 1 else ''}: {generation.problems[0]}" if problems else ""
        return f"serving configuration {generation.number}{words}"

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
            log.warning("the shared state was not left in order: it took more than %g s", LAST_SHARED)

    async def _end_sharing(self) -> None:
        """Tell the other daemons what they do not know yet, and let go of the store."""
        await self.edits.aclose()
        await cancel(self._sharing)
        if self.shared.live:
            await self._share_usage()
        await self.shared.aclose()
