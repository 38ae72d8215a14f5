"""One configured server: an actor that keeps up a connection to it, whatever happens.

    starting ── connected and listed ──> ready
       │  ^                                │ died, session lost, edited
       │  └──────── delay, or wanted ──────┤
       ├── failed ──────────────────> backoff
       ├── 401, 403 ────────────────> needs-auth      (retried, rarely)
       └── removed or shut down ────> stopped         disabled: configured not to run

The tool list outlives the connection: while a server restarts, its tools stay and their calls wait. After an edit the
old connection serves until the new one is ready. There is no permanent error (https://github.com/metatool-ai/metamcp/issues/264).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from openai_proxy.secrets import vault
from openai_proxy.tasks import spawn
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
    still_serves,
)
from openai_proxy.tools.mcp.news import News
from openai_proxy.tools.mcp.oauth.account import OAuthAccount
from openai_proxy.tools.mcp.settings import ServerSettings, call_timeout
from openai_proxy.tools.result import failure as failed

if TYPE_CHECKING:
    from openai_proxy.tools.mcp.connection import Connection

log = logging.getLogger(__name__)

DRAIN = 30.0
"""Seconds that calls have to end before their connection is closed."""

_KICK_REMOTE, _KICK_STDIO = 0.25, 2.0  # seconds between early attempts triggered by requests: a process costs more
_TOLERATED = 2  # failed attempts that a waiting call tolerates before it gets an error


class Server:
    """The actor. `sdk` loads the connection module; `eras` remembers, by identity, servers with only the old protocol.

    `account` is the sign-in of a remote server, which outlives its connections.
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
        self.ending = False  # True once it cannot be revoked
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

    # Read by the supervisor.

    @property
    def settled(self) -> bool:
        """True if waiting for its tools is useless: they are there, or will not come soon."""
        return self.known.listed or self.state != ServerState.STARTING

    def apply(self, config: ServerSettings) -> None:
        """Apply an edit: another identity needs another connection, anything else takes effect at once."""
        replaced = config.identity() != self.config.identity()
        self.config = config
        if replaced:
            self._failures = 0
            self._wake.set()
        elif self.known.held and not config.pin and self._current is not None:
            self._take_listing(self._current)

    def restart(self) -> None:
        """Replace the connection now, and accept the tools that the server then offers (even if pinned)."""
        self._restart = True
        self.known.accept()
        self._failures = 0
        self._wake.set()

    def signed_in(self) -> None:
        """A person has signed in: connect now. An existing connection uses the new token for its next request."""
        if self.state in (ServerState.NEEDS_AUTH, ServerState.BACKOFF):
            self._failures = 0
            self.last_error = None
            self._kicked = True
            self._wake.set()

    def signed_out(self) -> None:
        """The tokens are gone: connections that use them end."""
        if self._current is not None:
            self._current.lose(Failure(FailureKind.AUTH, sign_in_hint(self.config.name)))

    def kick(self) -> float | None:
        """A request needs it: retry now rather than at the end of the delay.

        If it is too soon after the last attempt, returns the seconds until that is possible; else None.
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
        """End it: running calls get `drain` seconds, then everything is closed."""
        if drain and self._current is not None:
            await self._current.drained(drain)
        self.ending = True
        self._wake.set()
        await asyncio.wait({self._task})
        await asyncio.wait({self._task, *self._retiring})  # not cancelled, so that they finish closing
        self._enter(ServerState.STOPPED)

    def status(self) -> dict[str, Any]:
        """Its part of `/admin/status` (with the server's own tool names, which the globs match)."""
        connection = self._current or self._candidate
        text = connection.stderr if connection is not None else ""
        gone = self.state is ServerState.READY and not (connection is not None and connection.ready)
        return {
            # The end of a connection is known before the actor gets its turn.
            "state": str(ServerState.STARTING if gone else self.state),
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
        """Make a request as soon as possible: waits for a starting server, at most its `start_timeout`."""
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
        """A connection that accepts calls, or what to tell the model instead."""
        deadline = time.monotonic() + self.config.start_timeout
        limit = self._failures + (_TOLERATED if self._failures <= SLOW_AFTER else 1)
        while True:
            if self._current is not None and self._current.ready:
                return self._current
            hopeless = self.ending or self.state is ServerState.NEEDS_AUTH or self._failures >= limit
            too_soon = None if hopeless else self.kick()
            left = deadline - time.monotonic()
            if hopeless or left <= 0:
                account = self._account(self.config)
                may_sign_in = account is not None and account.offers_sign_in
                state = ServerState.STOPPED if self.ending else self.state
                return failed(excuse(self.config.name, state, may_sign_in))
            try:
                async with asyncio.timeout(left if too_soon is None else min(left, too_soon)):
                    await self._news.wait()
            except TimeoutError:
                continue

    # The actor.

    async def _live(self) -> None:
        try:
            while not self.ending:
                try:
                    await self._generation()
                except Exception as problem:
                    log.exception("mcp server %s: internal error in its supervisor", self.config.name)
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
        config, restart, self._restart, self._kicked = self.config, self._restart, False, False
        old = self._current
        if old is not None and old.ready and not restart and old.config.identity() == config.identity():
            self._enter(ServerState.READY)  # an edit was reverted before its server had started
            await self._stand_by(config, old)
            return
        if old is not None and restart and old.config.type == "stdio":
            # A person asked, perhaps because two processes would compete for a port or a database.
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
        """Make a new connection the current one. Also returns None if an edit or the end came first."""
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
        failure, overtaken = connection.failure, self._overtaken(config)
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
        """Wait until the connection is gone, an edit replaces it, or everything ends."""
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
        """After a failure: log it, and wait until it is time to retry."""
        self._failures += 1
        wait = AUTH_RETRY
        if failure.kind is not FailureKind.AUTH:
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
            self.restarts += 1  # so that a server that dies at every start is recognised

    def _complain(self, failure: Failure, wait: float) -> None:
        """Log it the first times and when it changes; a crash loop is visible in the status rather than the journal."""
        text, name = vault.scrub(failure.text), self.config.name
        if self._current is not None and self._current.ready:
            text += still_serves(name)
        new = text != self.last_error
        self.last_error = text
        if new or self._failures in (1, 2, 4, 8) or self._failures % 50 == 0:
            log.warning("mcp server %s: %s (failure %d, next try in %.1f s)", name, text, self._failures, wait)
            if self._stderr:
                log.info("mcp server %s: its last output: %s", name, " | ".join(self._stderr.splitlines()[-10:]))

    def _take_listing(self, connection: "Connection") -> None:
        if connection.listing is not None:
            self.known.take(connection.listing, identity=self.config.identity(), pin=self.config.pin)

    # Waiting, closing, reporting.

    def _overtaken(self, config: ServerSettings) -> bool:
        return self.ending or self._restart or config.identity() != self.config.identity()

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
        """Let its calls end, then close it; it is closed in any case."""
        try:
            deadline = time.monotonic() + DRAIN
            while connection.busy and not self.ending and time.monotonic() < deadline:
                await connection.drained(0.1)  # in steps, because the final shutdown does not wait for a drain
        finally:
            await connection.close()

    def _enter(self, state: ServerState) -> None:
        self.state = state
        self._say()

    def _say(self) -> None:
        self._news.publish()
        self._changed(self)
