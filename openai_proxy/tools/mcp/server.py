"""One configured server: an actor that keeps a connection to it, whatever happens to it.

    starting ── connected and listed ──> ready
       │  ^                                │ died, session lost, edited
       │  └──────── delay, or wanted ──────┤
       ├── failed ──────────────────> backoff
       ├── 401, 403 ────────────────> needs-auth      (tried again, seldom)
       └── removed or shut down ────> stopped         disabled: configured not to run

The tool list outlives the connection: while a server is replaced or restarted its tools stay, and their calls wait.
There is no permanent error (https://github.com/metatool-ai/metamcp/issues/264).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from openai_proxy.secrets import vault
from openai_proxy.tasks import cancel, spawn
from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.mcp.definitions import KnownTools, Pins, ToolDefinition
from openai_proxy.tools.mcp.failures import (
    AUTH_RETRY,
    SLOW_AFTER,
    STABLE_AFTER,
    Failure,
    FailureKind,
    NotDelivered,
    ServerState,
    excuse,
    retry_delay,
    sign_in_hint,
)
from openai_proxy.tools.mcp.news import News
from openai_proxy.tools.mcp.oauth.account import OAuthAccount
from openai_proxy.tools.mcp.settings import ServerSettings, call_timeout
from openai_proxy.tools.result import failure as failed

if TYPE_CHECKING:
    from openai_proxy.tools.mcp.connection import Connection

log = logging.getLogger(__name__)

DRAIN = 30.0
"""Seconds calls may take to end before the connection they run on is closed."""

_KICK_REMOTE = 0.25  # seconds between two attempts that requests start early: a refused connection costs nothing, …
_KICK_STDIO = 2.0  # … a process does
_TOLERATED = 2  # failed attempts a waiting call sits through before it is told


class Server:
    """The actor. `sdk` loads the connection module; `eras` remembers, by identity, who only speaks the old protocol.

    `account` gives the sign-in of a remote server, which outlives its connections.
    """

    def __init__(
        self,
        config: ServerSettings,
        *,
        sdk: Callable[[], Awaitable[ModuleType]],
        eras: dict[str, str],
        pins: Pins,
        account: Callable[[ServerSettings], OAuthAccount | None],
        changed: Callable[["Server"], None],
    ) -> None:
        self.config = config
        self._account = account
        self._sdk = sdk
        self._eras = eras
        self._changed = changed
        self._current: Connection | None = None
        self._candidate: Connection | None = None
        self._retiring: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._news = News()
        self._ending = False
        self._restart = False
        self._kicked = False
        self._failures = 0
        self._ready_since = 0.0
        self._last_attempt = 0.0
        self._stderr = ""
        self.known = KnownTools(config.name, pins)
        self.restarts = 0
        self.last_error: str | None = None
        self.protocol: str | None = None
        self.state = ServerState.STARTING
        self._task = spawn(self._live(), name=f"mcp-actor-{config.name}")

    # What the supervisor asks.

    @property
    def settled(self) -> bool:
        """True if waiting for its tools would be of no use: they are there, or will not come soon."""
        return self.known.listed or self.state != ServerState.STARTING

    @property
    def ending(self) -> bool:
        """True once there is no way back."""
        return self._ending

    def apply(self, config: ServerSettings) -> None:
        """Take an edited configuration: another identity means another connection, anything else just holds."""
        replaced = config.identity() != self.config.identity()
        self.config = config
        if replaced:
            self._failures = 0
            self._wake.set()
        elif self.known.held and not config.pin and self._current is not None:
            self._take_listing(self._current)

    def restart(self) -> None:
        """Replace the connection now, and take what the server then offers as the truth (also when pinned)."""
        self._restart = True
        self.known.accept()
        self._failures = 0
        self._wake.set()

    def signed_in(self) -> None:
        """A person has signed in: try now. A connection that is in service has the new token with its next request."""
        if self.state in (ServerState.NEEDS_AUTH, ServerState.BACKOFF):
            self._failures = 0
            self.last_error = None
            self._kicked = True
            self._wake.set()

    def signed_out(self) -> None:
        """The tokens are gone: what was reached with them ends."""
        if self._current is not None:
            self._current.lose(Failure(FailureKind.AUTH, sign_in_hint(self.config.name)))

    def kick(self) -> float | None:
        """Somebody wants it: try now rather than at the end of the delay.

        Returns in how many seconds that is possible, where it is too soon after the last attempt; else None.
        """
        if self.state is not ServerState.BACKOFF or self._kicked:
            return None
        interval = _KICK_STDIO if self.config.type == "stdio" else _KICK_REMOTE
        wait = self._last_attempt + interval - time.monotonic()
        if wait > 0:
            return wait
        self._kicked = True
        self._wake.set()
        return None

    async def settle(self) -> None:
        """Wait until `settled`."""
        while not self.settled:
            await self._news.wait()

    async def stop(self, drain: float = 0.0) -> None:
        """End it: calls under way get `drain` seconds, then everything is closed."""
        if drain and self._current is not None:
            await self._current.drained(drain)
        self._ending = True
        self._wake.set()
        await asyncio.wait({self._task})
        await cancel(*self._retiring)
        self._enter(ServerState.STOPPED)

    def status(self) -> dict[str, Any]:
        """What `/admin/status` shows of it (names of tools are the server's own, those the globs are about)."""
        connection = self._current or self._candidate
        text = connection.stderr if connection is not None else ""
        gone = self.state is ServerState.READY and not (connection is not None and connection.ready)
        return {
            "state": str(ServerState.STARTING if gone else self.state),  # its end is seen before the actor has its turn
            "pid": connection.pid if connection is not None else None,
            "protocol": self.protocol,
            "restarts": self.restarts,
            "last_error": vault.scrub(self.last_error) if self.last_error else None,
            "stderr": text or self._stderr,
            "failures": self._failures,
            "calls": self._current.busy if self._current is not None else 0,
            "held_back": list(self.known.held),
            "left_out": self.known.left_out,
            "auth": account.status() if (account := self._account(self.config)) is not None else None,
        }

    async def call(self, tool: ToolDefinition, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        """Call a tool. Failures are results."""
        return await self.deliver(lambda c: c.call(tool.name, arguments, context, call_timeout(self.config)))

    async def deliver(self, request: "Callable[[Connection], Awaitable[ToolResult]]") -> ToolResult:
        """Make a request once it can be made: a server that is starting is waited for, at most its `start_timeout`."""
        reason = ""
        for _ in range(2):
            found = await self._usable()
            if isinstance(found, ToolResult):
                return found
            try:
                return await request(found)
            except NotDelivered as undelivered:
                reason = str(undelivered)
        return failed(f"The tool server '{self.config.name}' could not be reached ({reason}). Try again later.")

    async def _usable(self) -> "Connection | ToolResult":
        """A connection that takes calls, or what to tell the model instead."""
        deadline = time.monotonic() + self.config.start_timeout
        limit = self._failures + (_TOLERATED if self._failures <= SLOW_AFTER else 1)
        while True:
            if self._current is not None and self._current.ready:
                return self._current
            hopeless = self._ending or self.state is ServerState.NEEDS_AUTH or self._failures >= limit
            too_soon = None if hopeless else self.kick()
            left = deadline - time.monotonic()
            if hopeless or left <= 0:
                account = self._account(self.config)
                may_sign_in = account is not None and account.offers_sign_in
                state = ServerState.STOPPED if self._ending else self.state
                return failed(excuse(self.config.name, state, may_sign_in))
            try:
                async with asyncio.timeout(left if too_soon is None else min(left, too_soon)):
                    await self._news.wait()
            except TimeoutError:
                continue

    # The actor.

    async def _live(self) -> None:
        try:
            while not self._ending:
                try:
                    await self._generation()
                except Exception as problem:
                    log.exception("mcp server %s: defect of its supervisor", self.config.name)
                    await self._pause(
                        self.config, Failure(FailureKind.BROKEN, f"internal error: {type(problem).__name__}")
                    )
        finally:
            for connection in (self._candidate, self._current):
                if connection is not None:
                    await connection.close()
            self._candidate = self._current = None
            self._say()

    async def _generation(self) -> None:
        """One attempt to connect, and if it succeeds, the life of that connection."""
        config, self._restart, self._kicked = self.config, False, False
        old = self._current
        if old is not None and old.config.type == "stdio" and config.type == "stdio":
            # Two processes of one server may fight over a port or a database: the old one ends first.
            self._current = None
            self._enter(ServerState.STARTING)
            await self._retire(old)
        self._enter(ServerState.STARTING)
        failure = await self._connect(config)
        if failure is None:
            if self._current is not None and self._current.ready and not self._overtaken(config):
                await self._stand_by(config, self._current)
            return
        if failure.kind is FailureKind.ERA:
            self._eras[config.identity()] = "legacy"
            return
        self._eras.pop(config.identity(), None)
        await self._pause(config, failure)

    async def _connect(self, config: ServerSettings) -> Failure | None:
        """Make a new connection the current one. None also if it was overtaken by an edit or the end."""
        self._last_attempt = time.monotonic()
        try:
            module = await self._sdk()
        except Exception as problem:
            return Failure(FailureKind.BROKEN, f"the MCP SDK cannot be loaded: {problem}")
        if self._overtaken(config):
            return None
        legacy = config.type == "sse" or self._eras.get(config.identity()) == "legacy"
        connection: Connection = module.Connection(
            config, legacy=legacy, notify=self._wake.set, account=self._account(config)
        )
        self._candidate = connection
        deadline = self._last_attempt + config.start_timeout
        while not connection.ready and connection.failure is None and not self._overtaken(config):
            if not await self._woken(deadline):
                break
        self._candidate = None
        if connection.ready and not self._overtaken(config):
            self._publish(connection)
            return None
        failure = connection.failure
        overtaken = self._overtaken(config)
        await connection.close()
        self._stderr = connection.stderr
        if overtaken:
            return None
        return failure or Failure(FailureKind.BROKEN, f"did not answer within {config.start_timeout:g} s")

    def _publish(self, connection: "Connection") -> None:
        old, self._current = self._current, connection
        self._eras[connection.config.identity()] = "modern" if connection.modern else "legacy"
        self.protocol = connection.protocol
        self._ready_since = time.monotonic()
        if self._failures or self.last_error:
            log.info("mcp server %s is ready", self.config.name)
        if old is not None:
            self._retire_later(old)
        self._take_listing(connection)
        self._enter(ServerState.READY)

    async def _stand_by(self, config: ServerSettings, connection: "Connection") -> None:
        """Until the connection is gone, an edit replaces it, or all ends."""
        seen = connection.listing
        while connection.failure is None and connection.ready and not self._overtaken(config):
            stable_at = self._ready_since + STABLE_AFTER
            await self._woken(stable_at if self._failures else None)
            if time.monotonic() >= stable_at:
                self._failures = 0
            if connection.listing is not seen:
                seen = connection.listing
                self._take_listing(connection)
                self._say()
        if connection.failure is None and connection.ready:
            return
        self._current = None
        self.restarts += 1
        self._enter(ServerState.STARTING)
        await connection.close()
        self._stderr = connection.stderr
        await self._pause(
            config, connection.failure or Failure(FailureKind.BROKEN, "the connection was closed"), ready=True
        )

    async def _pause(self, config: ServerSettings, failure: Failure, ready: bool = False) -> None:
        """After a failure: say it, and wait until it is time to try again."""
        self._failures += 1
        if failure.kind is FailureKind.AUTH:
            wait = AUTH_RETRY
        else:
            wait = retry_delay(self._failures, remote=config.type != "stdio", was_ready=ready)
        self._complain(failure, wait)
        if wait:
            self._enter(ServerState.NEEDS_AUTH if failure.kind is FailureKind.AUTH else ServerState.BACKOFF)
        deadline = time.monotonic() + wait
        while not self._overtaken(config) and not self._kicked and await self._woken(deadline):
            if self._current is not None and not self._current.ready:
                self._retire_later(self._current)
                self._current = None
        if not ready and failure.kind is not FailureKind.AUTH and not self._overtaken(config):
            self.restarts += 1  # so that a server that dies at every start is seen to do so

    def _complain(self, failure: Failure, wait: float) -> None:
        """Log it the first times and when it changes; a crash loop is visible in the status, not in the journal."""
        text, name = vault.scrub(failure.text), self.config.name
        new = text != self.last_error
        self.last_error = text
        if new or self._failures in (1, 2, 4, 8) or self._failures % 50 == 0:
            log.warning("mcp server %s: %s (failure %d, next try in %.1f s)", name, text, self._failures, wait)
            if self._stderr:
                log.info("mcp server %s: its last words: %s", name, " | ".join(self._stderr.splitlines()[-10:]))

    def _take_listing(self, connection: "Connection") -> None:
        if connection.listing is not None:
            self.known.take(connection.listing, identity=self.config.identity(), pin=self.config.pin)

    # Waiting, retiring, telling.

    def _overtaken(self, config: ServerSettings) -> bool:
        return self._ending or self._restart or config.identity() != self.config.identity()

    async def _woken(self, deadline: float | None) -> bool:
        """Wait for anything to happen; False once `deadline` (monotonic) has passed."""
        if deadline is None:
            await self._wake.wait()
        else:
            try:
                async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
                    await self._wake.wait()
            except TimeoutError:
                return False
        self._wake.clear()
        return True

    def _retire_later(self, connection: "Connection") -> None:
        task = spawn(self._retire(connection), name=f"mcp-retire-{self.config.name}")
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    async def _retire(self, connection: "Connection") -> None:
        """Let the calls on it end, then close it; closed in every case."""
        try:
            deadline = time.monotonic() + DRAIN
            while connection.busy and not self._ending and time.monotonic() < deadline:
                await connection.drained(0.1)  # in steps, because the end of all does not wait for a drain
        finally:
            await connection.close()

    def _enter(self, state: ServerState) -> None:
        self.state = state
        self._say()

    def _say(self) -> None:
        self._news.publish()
        self._changed(self)
