"""One generation of one server's connection: connect, list, watch, call, end. Never reused.

Imports the SDK: reached only through `sdk.py`. One task (`_run`) enters and leaves the SDK's context managers, and
makes no requests itself, because in the SDK a failing request may cancel the task that owns the transport. Requests and
calls run in separate tasks (`calls.py`).
"""

import asyncio
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, Implementation
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from openai_proxy.tasks import cancel, spawn
from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.mcp.calls import McpCalls
from openai_proxy.tools.mcp.definitions import Listing, ToolDefinition
from openai_proxy.tools.mcp.device_tools import DeviceTools
from openai_proxy.tools.mcp.diagnosis import diagnose, in_short, session_lost
from openai_proxy.tools.mcp.failures import CallTrace, Failure, FailureKind, NotDelivered, sign_in_hint
from openai_proxy.tools.mcp.filter import Filtered, Wire
from openai_proxy.tools.mcp.oauth.account import OAuthAccount
from openai_proxy.tools.mcp.process import ServerProcess
from openai_proxy.tools.mcp.repair import TOOL_CAP
from openai_proxy.tools.mcp.results import prompt_text, resource_text
from openai_proxy.tools.mcp.sdk_internals import decline_elicitations
from openai_proxy.tools.mcp.settings import ServerSettings
from openai_proxy.tools.mcp.transports import link_to
from openai_proxy.version import __version__

log = logging.getLogger(__name__)

LIST_TIMEOUT = 15.0
"""Seconds for one page of `tools/list`."""

PAGE_CAP = 100
"""Maximum pages of `tools/list`: a server may send cursors forever."""

RELIST = 300.0
"""Seconds between two readings of a list whose server announces changes, in case an announcement is lost."""

RELIST_UNANNOUNCED = 60.0
"""The same for a server without announcements (Home Assistant's list changes with its exposed entities; a reading
takes 15-55 ms).
"""

DEBOUNCE = 0.05
"""Seconds during which `list_changed` is collected before the list is read again."""

DEVICE_META = "io.home-assistant/device_id"
"""The member of `_meta` that names the device to Home Assistant's server (mcp_server/server.py, since 2026.10)."""

_HOME_ASSISTANT = frozenset({"home-assistant", "home assistant"})
_ASSISTANT_PATH = re.compile(r"/api/mcp(?:/|$)")  # also behind the Supervisor's /core
_PROBE_TIMEOUT = 15.0  # a slow server is not dead: ContextForge had to raise its health limit from 5 to 30 s (#4785)
_EXIT_PATIENCE = 2.0  # the same once its process has exited: something that still holds the pipe may be the real server
_CLOSE_PATIENCE = 10.0


class Connection:
    """A connection that is starting, ready, or gone. `notify` is called when that or the tool list changes."""

    def __init__(
        self, config: ServerSettings, *, legacy: bool, notify: Callable[[], None], account: OAuthAccount | None = None
    ) -> None:
        self.config = config
        self.legacy = legacy
        self._notify = notify
        self._wake = asyncio.Event()
        self._client: Client | None = None
        self._changed = False
        self._suspect = False
        self._failure: Failure | None = None
        self._closing = False
        self._wire = Wire(config.name, self._tools_changed, self._wake_up)
        self._link = link_to(config, self._wire, self.lose, account)
        self._calls = McpCalls(config.name, self._wire, doubt=self._doubt, relist=self._tools_changed, lose=self.lose)
        self._devices = DeviceTools(self._offered_to)
        self.listing: Listing | None = None
        self.protocol: str | None = None
        self._task = spawn(self._run(), name=f"mcp-{config.name}")

    # Read by the supervisor's actor.

    @property
    def ready(self) -> bool:
        """True while calls can be made."""
        return self.listing is not None and self._failure is None and not self._closing and not self._wire.closed

    @property
    def failure(self) -> Failure | None:
        """Why it is gone, None while it is not."""
        return self._failure

    @property
    def modern(self) -> bool:
        """True if the server uses the stateless protocol of 2026-07-28."""
        return self.protocol in MODERN_PROTOCOL_VERSIONS

    @property
    def pid(self) -> int | None:
        """The process we started, None for a remote server. A ready connection always has one, exited or not.

        The end of a process is known a few milliseconds before that of its connection, and code that waits for another
        pid relies on `ready` implying one; a wrapper may exit while the server it started keeps answering.
        """
        process = getattr(self._link, "process", None)
        if process is None or not process.pid:
            return None
        return process.pid if self.ready or process.returncode is None else None

    @property
    def stderr(self) -> str:
        """The last lines of the server's stderr, without secrets."""
        process = getattr(self._link, "process", None)
        return process.stderr.text() if process is not None else ""

    @property
    def busy(self) -> int:
        """Running calls."""
        return self._calls.busy

    def lose(self, failure: Failure) -> None:
        """Give up the connection; only the first reason counts."""
        if self._failure is None and not self._closing:
            self._failure = failure
            self._calls.over = True
            self._wake_up()
            self._notify()

    async def call(self, name: str, arguments: dict[str, Any], context: CallContext, seconds: float) -> ToolResult:
        """Call a tool. Raises NotDelivered if it was certainly not executed; everything else is a result."""
        if self._client is None or not self.ready:
            raise NotDelivered("the connection is closed")
        if context.device and self._of_home_assistant:
            context = replace(context, meta={**context.meta, DEVICE_META: context.device})
        return await self._calls.call_tool(self._client, name, arguments, context, seconds)

    async def read_resource(self, uri: str, seconds: float) -> ToolResult:
        """The text of a resource. Raises NotDelivered as `call` does."""
        if self._client is None or not self.ready:
            raise NotDelivered("the connection is closed")
        return await self._calls.text_of(self._client.read_resource(uri), resource_text, seconds)

    async def get_prompt(self, name: str, arguments: dict[str, str], seconds: float, device: str = "") -> ToolResult:
        """The text of a prompt, of the server's first if `name` is "".

        `device` is as in `CallContext`. Raises NotDelivered as `call` does.
        """
        client = self._client
        if client is None or not self.ready:
            raise NotDelivered("the connection is closed")
        meta = {DEVICE_META: device} if device and self._of_home_assistant else None

        async def ask() -> Any:
            wanted = name
            if not wanted:
                prompts = (await client.list_prompts(meta=cast(Any, meta))).prompts
                if not prompts:
                    raise MCPError(INVALID_PARAMS, "The server has no prompt.")
                wanted = prompts[0].name
            return await client.get_prompt(wanted, arguments or None, meta=cast(Any, meta))

        return await self._calls.text_of(ask(), prompt_text, seconds)

    async def device_tools(self, device: str) -> Mapping[str, ToolDefinition]:
        """What the server additionally offers for the satellite `device`, as far as known; see `DeviceTools.of`."""
        if not self.ready or not self._of_home_assistant:
            return {}
        offered, listing = await self._devices.of(device), self.listing
        return {name: tool for name, tool in offered.items() if listing is not None and name not in listing.tools}

    async def _offered_to(self, device: str) -> Mapping[str, ToolDefinition] | None:
        if self._client is None:
            return None
        try:
            return (await self._list(self._client, meta={DEVICE_META: device})).tools
        except (TimeoutError, MCPError, ValidationError, RuntimeError) as problem:
            log.info("mcp server %s: no tools for a device: %s", self.config.name, in_short(problem))
            return None

    @property
    def _of_home_assistant(self) -> bool:
        """True if the server is Home Assistant's own, according to its name or path."""
        info = self._client.server_info if self._client is not None else None
        if info is not None and info.name.lower() in _HOME_ASSISTANT:
            return True
        return _ASSISTANT_PATH.search(urlsplit(self.config.url or "").path) is not None

    async def drained(self, seconds: float) -> None:
        """Wait until no call is running, at most `seconds`."""
        await self._calls.drained(seconds)

    async def close(self) -> None:
        """End it, whatever it is doing, and wait until nothing is left."""
        self._closing = True
        while not self._task.done():
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=_CLOSE_PATIENCE)

    # The life cycle.

    def _wake_up(self) -> None:
        self._wake.set()

    def _doubt(self) -> None:
        """Check whether the server is alive."""
        self._suspect = True
        self._wake.set()

    def _tools_changed(self) -> None:
        self._changed = True
        self._wake.set()

    async def _run(self) -> None:
        client = Client(
            Filtered(self._link, self._wire) if self._link.foreign else self._link,
            mode="legacy" if self.legacy else "auto",
            cache=None,
            client_info=Implementation(name="openai-proxy", version=__version__),
        )
        caught: BaseException | None = None
        try:
            async with client:
                decline_elicitations(client)
                self._client = client
                self.protocol = client.protocol_version
                self.listing = await self._list(client)
                self._notify()
                await self._watch(client)
        except asyncio.CancelledError as cancelled:  # by close(), or by the SDK because its transport failed
            caught = cancelled
        except Exception as problem:
            caught = problem
        except BaseExceptionGroup as problem:
            caught = problem
        if self._failure is None:
            self._failure = self._why(caught)
        self._client = None
        self._devices.close()
        await self._calls.aclose()
        self._notify()

    def _why(self, caught: BaseException | None) -> Failure:
        """Why it ended: what its transport reported, else the task's exception."""
        if self._closing and not self._wire.closed:
            return Failure(FailureKind.BROKEN, "closed")
        died_of_probe = self.listing is None and not self.legacy and self._wire.replies == 0
        return diagnose(caught, self._link, self.config, at_probe=died_of_probe, closed=self._wire.closed)

    async def _watch(self, client: Client) -> None:
        """Keep the tool list up to date; returns when the connection is over."""
        listener, announced = self._listen(client)
        process = getattr(self._link, "process", None)
        guard = spawn(self._guard(client, process), name=f"mcp-exit-{self.config.name}") if process else None
        next_look = time.monotonic() + (RELIST if announced else RELIST_UNANNOUNCED)
        try:
            while self._failure is None and not self._wire.closed:
                try:
                    async with asyncio.timeout(max(0.0, next_look - time.monotonic())):
                        await self._wake.wait()
                except TimeoutError:
                    self._changed = True
                self._wake.clear()
                if self._suspect:
                    self._suspect = False
                    await self._probe(client)
                if self._changed and self._failure is None and not self._wire.closed:
                    await asyncio.sleep(DEBOUNCE)
                    self._changed = False
                    await self._relist(client)
                    next_look = time.monotonic() + (RELIST if announced else RELIST_UNANNOUNCED)
        finally:
            await cancel(listener, guard)

    async def _guard(self, client: Client, process: ServerProcess) -> None:
        """End the connection when its process exits, unless the process it started keeps serving, as behind `npx`."""
        await process.exited()
        await asyncio.sleep(DEBOUNCE)  # the end of its output, which means the same, comes first
        if not self._wire.closed:
            await self._probe(client, _EXIT_PATIENCE)

    def _listen(self, client: Client) -> tuple[asyncio.Task[None] | None, bool]:
        """Subscribe to changes, the modern way; returns whether this server announces them at all."""
        capability = client.server_capabilities.tools
        announced = bool(capability and capability.list_changed)
        if not (announced and self.modern):
            return None, announced
        return spawn(self._keep_listening(client), name=f"mcp-listen-{self.config.name}"), announced

    async def _keep_listening(self, client: Client) -> None:
        wait = 1.0
        while True:
            started = time.monotonic()
            try:
                async with client.listen(tools_list_changed=True) as events:
                    async for _ in events:
                        self._tools_changed()
            except Exception as problem:
                log.debug("mcp server %s: listening ended: %s", self.config.name, type(problem).__name__)
            if self._wire.closed:
                return
            wait = 1.0 if time.monotonic() - started > 60 else min(wait * 2, 300.0)
            await asyncio.sleep(wait)
            self._tools_changed()  # changes in between were not announced

    async def _relist(self, client: Client) -> None:
        trace = CallTrace()
        try:
            listing = await self._list(client, trace)
        except (TimeoutError, MCPError, ValidationError, RuntimeError) as problem:
            if session_lost(problem, trace):
                self.lose(Failure(FailureKind.SESSION, f"it forgot the session (HTTP {trace.status})"))
                return
            if trace.more_access_required:  # even the most basic request failed: nothing else will be allowed either
                self.lose(Failure(FailureKind.AUTH, sign_in_hint(self.config.name, more=True)))
                return
            log.warning("mcp server %s: its tools could not be read again: %s", self.config.name, in_short(problem))
            self._doubt()
            return
        self.listing = listing
        self._devices.outdate()
        self._notify()

    async def _probe(self, client: Client, seconds: float = _PROBE_TIMEOUT) -> None:
        """Give up the connection after two unanswered requests in a row. Any answer, even an error, proves life."""
        for _ in range(2):
            before = self._wire.replies
            request = client.list_tools() if self.modern else client.session.send_ping()
            try:
                await self._calls.request(request, seconds)
            except (TimeoutError, MCPError, ValidationError, RuntimeError):
                if self._wire.closed or self._failure is not None:
                    return
            if self._wire.replies > before:
                return
        self.lose(Failure(FailureKind.BROKEN, "it stopped answering"))

    async def _list(
        self, client: Client, trace: CallTrace | None = None, meta: dict[str, str] | None = None
    ) -> Listing:
        """All pages of `tools/list`, up to the limits, in slices short enough for the loop."""
        tools: dict[str, ToolDefinition] = {}
        cursor: str | None = None
        seen: set[str] = set()
        self._wire.left_out = 0
        for _ in range(PAGE_CAP):
            page = await self._calls.request(
                client.list_tools(cursor=cursor, meta=cast(Any, meta)), LIST_TIMEOUT, trace
            )
            for index, tool in enumerate(page.tools):
                if index % 25 == 24:
                    await asyncio.sleep(0)
                if len(tools) >= TOOL_CAP:
                    self._wire.left_out += 1
                elif tool.name not in tools:
                    tools[tool.name] = ToolDefinition.of(tool.name, tool.description, tool.input_schema)
            cursor = page.next_cursor
            if cursor is None or cursor in seen or len(tools) >= TOOL_CAP:
                break
            seen.add(cursor)
        else:
            self._wire.note(f"has more than {PAGE_CAP} pages of tools; the rest is left out")
        if self._wire.left_out:
            self._wire.note(f"has {self._wire.left_out} more than {TOOL_CAP} tools, which are left out")
        return Listing(tools, self._wire.left_out)
