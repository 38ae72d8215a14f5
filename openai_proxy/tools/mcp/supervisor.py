"""The public interface of MCP: apply the configured servers, get tools. Lives as long as the process.

Only `wait_ready` and `aclose` wait for servers, and the SDK is not imported until a server is configured: the daemon is
ready before its servers are.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from openai_proxy.errors import NotFound
from openai_proxy.tasks import spawn
from openai_proxy.tools.base import Tool, ToolResult
from openai_proxy.tools.mcp import sdk
from openai_proxy.tools.mcp.definitions import Pins, ToolDefinition
from openai_proxy.tools.mcp.failures import ServerState
from openai_proxy.tools.mcp.oauth.sign_ins import SignIns
from openai_proxy.tools.mcp.server import DRAIN, Server
from openai_proxy.tools.mcp.settings import ServerSettings, call_timeout
from openai_proxy.tools.mcp.tool import AS_IT_IS, Appearance, Globs, McpTool, exposed_names
from openai_proxy.tools.result import failure

if TYPE_CHECKING:
    from openai_proxy.tools.mcp.connection import Connection

log = logging.getLogger(__name__)

OnEvent = Callable[[str, dict[str, Any]], None]
"""Called with ("mcp_server", the server's status) whenever a server's state or tools change; must not block."""

PINS, SIGN_INS = "mcp-pins.json", "mcp-sign-ins.json"
"""Names of the files in the state directory."""

CHARACTERS_PER_TOKEN = 4
"""Approximate, for English text and JSON."""

_HOLD_LIMIT = 600.0  # seconds a removed server is kept for requests that began with it


class Supervisor:
    """All MCP servers. Pinned tools and sign-ins are stored in the files `pins` and `sign_ins`, if given."""

    def __init__(self, on_event: OnEvent | None = None, pins: Path | None = None, sign_ins: Path | None = None) -> None:
        self._pins = Pins(pins)
        self.sign_ins = SignIns(sign_ins, self._signed_in, self._signed_out)
        self._on_event = on_event
        self._servers: dict[str, Server] = {}
        self._configs: dict[str, ServerSettings] = {}
        self._eras: dict[str, str] = {}
        self._loading: asyncio.Task[ModuleType] | None = None
        self._leaving: dict[str, tuple[Server, asyncio.Task[None]]] = {}
        self._holds: dict[str, int] = {}
        self._released = asyncio.Event()
        self._offered: dict[tuple[str, Globs, Appearance], tuple[tuple[Any, ...], list[Tool]]] = {}
        self._listeners: list[Callable[[], None]] = []
        self._closing = False

    def reconcile(self, servers: Mapping[str, ServerSettings]) -> None:
        """Make `servers` the configured ones. Returns at once; starts, replacements and stops happen in the background.

        A server with the same identity keeps its process, whatever else changed (filters, timeouts). A removed or
        disabled server ends once its calls and the requests that hold it have ended.
        """
        before, self._configs = self._configs, dict(servers)
        self._notify_listeners()
        self.sign_ins.retain(servers.keys())
        if before.keys() != servers.keys():
            self._offered.clear()  # exposed names depend on the names of all servers
        for name, server in list(self._servers.items()):
            if name not in servers or not servers[name].enabled:
                del self._servers[name]
                self._leave(name, server)
        for name, config in servers.items():
            if not config.enabled:
                if name not in before or before[name].enabled:
                    self._notify(name)
            elif (running := self._servers.get(name)) is not None:
                running.apply(config)
            elif (back := self._come_back(name)) is not None:
                self._servers[name] = back
                back.apply(config)
            else:
                self._servers[name] = Server(
                    config, sdk=self._sdk, eras=self._eras, pins=self._pins,
                    account=self.sign_ins.account, changed=self._server_changed,
                )  # fmt: skip

    def tools(
        self,
        server: str,
        whitelist: Sequence[str] | None = None,
        blacklist: Sequence[str] | None = None,
        appearance: Appearance = AS_IT_IS,
    ) -> list[Tool]:
        """The current tools of `server`, by exposed name; empty if it is unknown or never listed any.

        The globs and the appearance are a model's; the server's own globs apply as well. The list is a snapshot: its
        tools can be called even after an edit.
        """
        running = self._servers.get(server)
        if running is None:
            return []
        globs = Globs.of(whitelist, blacklist)
        server_globs = Globs.of(running.config.whitelist, running.config.blacklist)
        key, state = (server, globs, appearance), (running, running.known.version, server_globs)
        cached = self._offered.get(key)
        if cached is None or cached[0] != state:
            tools = self._build(running, running.known.tools, (server_globs, globs), appearance)
            cached = self._offered[key] = (state, tools)
        return list(cached[1])

    async def device_tools(
        self,
        server: str,
        device: str,
        whitelist: Sequence[str] | None = None,
        blacklist: Sequence[str] | None = None,
        appearance: Appearance = AS_IT_IS,
    ) -> list[Tool]:
        """What `server` additionally offers for the satellite `device`: Home Assistant's timers.

        Only a satellite's first request waits for the server, up to a second. Returns nothing for a server with pinned
        definitions: those for a device were never accepted.
        """
        running = self._servers.get(server)
        if running is None or running.state is not ServerState.READY or running.config.pin:
            return []
        found: dict[str, ToolDefinition] = {}

        async def look(connection: "Connection") -> ToolResult:
            found.update(await connection.device_tools(device))
            return ToolResult("")

        await running.deliver(look)
        globs = Globs.of(running.config.whitelist, running.config.blacklist), Globs.of(whitelist, blacklist)
        return self._build(running, found, globs, appearance, beside=running.known.tools) if found else []

    def _build(
        self,
        running: Server,
        tools: Mapping[str, ToolDefinition],
        globs: tuple[Globs, Globs],
        appearance: Appearance,
        beside: Iterable[str] = (),
    ) -> list[Tool]:
        name, described = running.config.name, dict(appearance.described)
        # The exposed names take all its tools into account, so that a filter does not change them.
        names = exposed_names(name, (*beside, *tools), self._configs.keys(), dict(appearance.renamed))
        return [
            McpTool(exposed, name, tools[tool], globs, running.call, described.get(tool))
            for exposed, tool in names.items()
            if tool in tools and all(g.allows(tool) for g in globs)
        ]

    async def read_resource(self, server: str, uri: str) -> ToolResult:
        """The text of the resource `uri` of `server`. Failures are results."""
        return await self._deliver(server, lambda connection, seconds: connection.read_resource(uri, seconds))

    async def get_prompt(self, server: str, name: str, arguments: dict[str, str], device: str = "") -> ToolResult:
        """The text of the prompt `name` of `server`, of its first if that is "". Failures are results.

        `device` is as in `CallContext`.
        """
        return await self._deliver(
            server, lambda connection, seconds: connection.get_prompt(name, arguments, seconds, device)
        )

    async def _deliver(self, name: str, request: "Callable[[Connection, float], Awaitable[ToolResult]]") -> ToolResult:
        server = self._servers.get(name)
        if server is None:
            return failure(f"There is no MCP server '{name[:64]}'.")
        return await server.deliver(lambda connection: request(connection, call_timeout(server.config)))

    async def wait_ready(self, servers: Iterable[str], timeout: float) -> list[str]:
        """Wait until each of `servers` has listed its tools or failed to, at most `timeout` seconds in total.

        Returns the names of those without tools: still starting, failing, disabled or unknown. A failed server is not
        waited for (its next attempt is brought forward instead).
        """
        names = list(dict.fromkeys(servers))
        running = [server for name in names if (server := self._servers.get(name)) is not None]
        for server in running:
            if not server.known.listed:
                server.kick()
        pending = [server for server in running if not server.settled]
        if pending:
            try:
                async with asyncio.timeout(timeout):
                    for server in pending:
                        await server.settle()
            except TimeoutError:
                log.info(
                    "a request continues without: %s", ", ".join(s.config.name for s in pending if not s.known.listed)
                )
        return [name for name in names if name not in self._servers or not self._servers[name].known.listed]

    def hold(self, servers: Iterable[str]) -> Callable[[], None]:
        """Keep `servers` running, even if they are removed meanwhile, until the returned function is called.

        For a configuration generation: its requests can call its tools until they end (at most 10 minutes more).
        """
        names = set(servers)
        for name in names:
            self._holds[name] = self._holds.get(name, 0) + 1

        def release() -> None:
            while names:
                name = names.pop()
                self._holds[name] -= 1
                if not self._holds[name]:
                    del self._holds[name]
            self._released.set()

        return release

    def watch(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` whenever a server's state or tools, or the configuration, may have changed.

        Until the returned function is called. It must not block or raise; it is called before the change takes effect.
        """
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def status(self) -> list[dict[str, Any]]:
        """Every configured server, in the shape of `/admin/status`."""
        return [self._status(name) for name in sorted(self._configs)]

    def restart(self, name: str) -> None:
        """Replace the connection of server `name`, including pinned definitions. Raises NotFound."""
        self._running(name).restart()

    async def sign_in(self, name: str, redirect_uri: str) -> dict[str, Any]:
        """Start to sign in to server `name`; see `SignIns.begin`. Raises ProxyError."""
        return await self.sign_ins.begin(self._running(name).config, redirect_uri)

    async def sign_out(self, name: str) -> bool:
        """Forget the sign-in to server `name`; False if there was none. Raises ProxyError."""
        server = self._running(name)
        signed_out = await self.sign_ins.sign_out(server.config)
        if signed_out:
            server.signed_out()
        return signed_out

    def _running(self, name: str) -> Server:
        server = self._servers.get(name)
        if server is None:
            known = name in self._configs
            raise NotFound(
                f"The MCP server '{name[:64]}' is {'disabled' if known else 'not configured'}.",
                code="mcp_server_not_found",
            )
        return server

    def _signed_out(self, name: str) -> None:
        if (server := self._servers.get(name)) is not None:
            server.signed_out()

    def _signed_in(self, name: str) -> None:
        if (server := self._servers.get(name)) is not None:
            server.signed_in()

    async def aclose(self) -> None:
        """End every server and its descendants. Nothing is left when this returns."""
        self._closing = True
        servers, self._servers = list(self._servers.values()), {}
        self._released.set()
        ending = [spawn(server.stop(), name=f"mcp-close-{server.config.name}") for server in servers]
        if waiting := {*ending, *(task for _, task in self._leaving.values())}:
            await asyncio.wait(waiting)
        if self._loading is not None:
            await asyncio.wait({self._loading})
        await self.sign_ins.aclose()
        await self._pins.aclose()

    async def _sdk(self) -> ModuleType:
        if self._loading is None or (self._loading.done() and self._loading.exception() is not None):
            self._loading = spawn(sdk.connections(), name="mcp-sdk")
        return await asyncio.shield(self._loading)

    def _leave(self, name: str, server: Server) -> None:
        self._leaving[name] = (server, spawn(self._end(name, server), name=f"mcp-leave-{name}"))

    def _come_back(self, name: str) -> Server | None:
        """Keep a server that was removed, and configured again before it has ended."""
        server, task = self._leaving.get(name, (None, None))
        if server is None or task is None or server.ending:
            return None
        task.cancel()
        return server

    async def _end(self, name: str, server: Server) -> None:
        try:
            await self._end_when_free(name, server)
        finally:
            if self._leaving.get(name, (None,))[0] is server:
                del self._leaving[name]

    async def _end_when_free(self, name: str, server: Server) -> None:
        try:
            async with asyncio.timeout(_HOLD_LIMIT):
                while self._holds.get(name) and not self._closing:
                    self._released.clear()
                    await self._released.wait()
        except TimeoutError:
            log.warning("mcp server %s is stopped although requests are still using it", name)
        await server.stop(0.0 if self._closing else DRAIN)

    def _server_changed(self, server: Server) -> None:
        if self._servers.get(server.config.name) is server:
            self._notify(server.config.name)

    def _notify_listeners(self) -> None:
        for listener in self._listeners:
            listener()

    def _notify(self, name: str) -> None:
        self._notify_listeners()
        if self._on_event is None:
            return
        try:
            self._on_event("mcp_server", self._status(name))
        except Exception:
            log.exception("a listener of MCP events failed")

    def _status(self, name: str) -> dict[str, Any]:
        config, server = self._configs[name], self._servers.get(name)
        server_globs = Globs.of(config.whitelist, config.blacklist)
        own = server.known.tools if server is not None else {}
        more = server.status() if server is not None else {"pid": None, "protocol": None, "restarts": 0}
        return {
            "name": name,
            "type": config.type,
            "state": str(server.state if server is not None else ServerState.DISABLED),
            "tools": sorted(tool for tool in own if server_globs.allows(tool)),
            "tokens": sum(tool.size for name, tool in own.items() if server_globs.allows(name)) // CHARACTERS_PER_TOKEN,
            "last_error": None,
            "stderr": "",
            **more,
        }
