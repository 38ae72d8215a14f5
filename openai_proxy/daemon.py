"""The life of the process: start, signals, drain, stop.

start   read conf/ → open sockets → put the configuration into service → report READY to the service manager
HUP     reload; READY again, even if the new configuration was refused
TERM    STOPPING, close the sockets, /health reports draining, wait up to `drain_seconds` for running requests; then
        each live stream gets an error event, and the process exits with 0. A second TERM or INT: immediately.
"""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
from dataclasses import replace

from openai_proxy.addresses import urls
from openai_proxy.auth.page_sessions import LOGIN
from openai_proxy.config.proxy import ProxyConfig
from openai_proxy.errors import BadRequest, ProxyError
from openai_proxy.fastpath.fast_connection import FastConnection
from openai_proxy.fastpath.known_heads import HeadCaches
from openai_proxy.pipeline.dispatch import Dispatcher
from openai_proxy.runtime import state_lock
from openai_proxy.runtime.banner import Banner
from openai_proxy.runtime.prepare import Prepared, prepare_first
from openai_proxy.runtime.reload import Reloads
from openai_proxy.runtime.state import ProxyState, Settings
from openai_proxy.runtime.systemd import ServiceManager
from openai_proxy.server.connection import ConnectionServer, RelayingConnection
from openai_proxy.server.listener import Listener, client_server
from openai_proxy.server.open_connections import ConnectionLimits
from openai_proxy.tasks import cancel, spawn
from openai_proxy.upkeep import Upkeep, put_into_service
from openai_proxy.wyoming.listener import WyomingListener

log = logging.getLogger(__name__)

FIRST_WORDS = 2.0  # seconds for clients that have connected but not sent a request, when another process takes over
LAST_WORDS = 2.0  # seconds for error events and records after the drain
CONTROL = "control.sock"


def serve(settings: Settings) -> int:
    """Run until a signal asks to stop; returns the exit code.

    Raises ConfigError if conf/ cannot be served, StateInUse if another daemon uses the state directory.
    """
    with state_lock.held(settings.state_dir):
        return _serve(settings)


def _serve(settings: Settings) -> int:
    raise_file_limit()
    # Before the configuration is read: variables that vanish from the environment afterwards would count as an edit.
    manager = ServiceManager.take(os.environ)
    prepared = prepare_first(settings)
    loop = _new_loop()
    try:
        with contextlib.closing(loop):
            asyncio.set_event_loop(loop)
            return loop.run_until_complete(_Daemon(settings, loop, manager).run(prepared))
    finally:
        asyncio.set_event_loop(None)


def raise_file_limit() -> None:
    """Raise the limit of open files: every client and every upstream connection takes a descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    # macOS reports no hard limit, yet accepts at most 10,240.
    for most in (1_048_576, 10_240) if hard == resource.RLIM_INFINITY else (hard,):
        if soft < most:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
                return


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _server(state: ProxyState, *, local: bool = False) -> ConnectionServer:
    """The server for the network, or (`local`) the control socket, whose callers are admins and need no fast path."""
    caches = HeadCaches()

    def fast(connection: RelayingConnection) -> FastConnection:
        return FastConnection(connection, state, caches)

    def limits() -> ConnectionLimits:
        generation = state.generation
        configured = generation.config.limits
        return ConnectionLimits(
            configured.max_connections, configured.max_connections_per_client, generation.gate.is_proxy
        )

    server = client_server(
        Dispatcher(state, local=local),
        lambda: state.generation.config.limits.header_seconds,
        fast if state.settings.splice and not local else None,
        limits if not local else None,
    )
    state.idle_closers.append(server.close_idle)
    return server


def _page_address(state: ProxyState) -> str | None:
    """The page's address with a one-time login, so that nobody can use an old log to sign in."""
    found = state.addresses()
    return f"{found[0]}{LOGIN}{state.page_sessions.new_code()[0]}" if found else None


class _Daemon:
    def __init__(self, settings: Settings, loop: asyncio.AbstractEventLoop, manager: ServiceManager) -> None:
        self._settings = settings
        self._loop = loop
        self._manager = manager
        self._stop = asyncio.Event()
        self._now = asyncio.Event()
        self._reloads = asyncio.Event()
        self._report = _LimitedReports()
        loop.set_exception_handler(self._report)

    async def run(self, prepared: Prepared) -> int:
        state = ProxyState(self._settings, self._loop)
        state.manager = self._manager
        self._signals()
        try:
            await put_into_service(state, prepared)
            config = state.generation.config
            main = Listener(_server(state))
            control = Listener(_server(state, local=True))
            activated = state.succeeded = await self._listen(main, control, config)
            state.addresses = lambda: urls(main.hosts or [config.host], main.port) if main.port is not None else []
            wyoming = state.wyoming = WyomingListener(state)
            if (trouble := await wyoming.follow(state.generation)) is not None:
                state.generation = replace(state.generation, problems=(*state.generation.problems, trouble))
            upkeep = Upkeep(state, prepared.tree, None if activated else main, [wyoming])
            helpers = [
                spawn(self._manager.feed_watchdog(lambda: not state.draining), name="watchdog"),
                spawn(self._reload_on_hup(upkeep.reloads), name="reload on SIGHUP"),
            ]
            gc.collect()
            gc.set_threshold(10_000, 20, 20)  # few cycles are created here; searching them every 700 objects costs 5 %
            gc.freeze()  # the configuration's objects live on: full collections need not scan them
            state.own_port = lambda: main.port
            banner = Banner(
                state.generation, main.hosts or [config.host], main.port, _page_address(state), wyoming.port
            )
            log.info("serving on %s port %s", config.host, main.port, extra={"facts": banner})
            self._manager.ready(state.line())
            upkeep.watch()
            await self._stop.wait()
            upkeep.stop_watching()
            wyoming.close()
            await self._drain(state, main)
            await wyoming.shutdown(0.2)
            await upkeep.aclose()
            await cancel(*helpers)
            control.close()
            await control.shutdown(0.1)
        finally:
            await state.aclose()
        return 0

    async def _listen(self, main: Listener, control: Listener, config: ProxyConfig) -> bool:
        """Open the sockets; True if the service manager opened the main one."""
        sockets = self._manager.sockets()
        if sockets:
            await main.adopt(sockets)
        else:
            try:
                await main.open(config.host, config.port)
            except BadRequest as error:
                other = "another: --port, PORT, or `port` in proxy.yaml"
                raise BadRequest(f"{error.message}; {other}", code=error.code) from None
        try:
            await control.open_unix(self._settings.state_dir / CONTROL)
        except OSError as error:
            # A path that is too long raises an error without an errno.
            why = error.strerror or "its path is too long, so use a shorter --state-dir"
            log.warning("no control socket: %s; status and reload from the shell will not work", why)
        return bool(sockets)

    # -- signals ----------------------------------------------------------------------------------------------------

    def _signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._asked_to_stop)
        self._loop.add_signal_handler(signal.SIGHUP, self._reloads.set)

    def _asked_to_stop(self) -> None:
        if self._stop.is_set():
            self._now.set()
        self._stop.set()

    async def _reload_on_hup(self, reloads: Reloads) -> None:
        while True:
            await self._reloads.wait()
            self._reloads.clear()
            with contextlib.suppress(ProxyError):  # logged where it happened
                await reloads.follow()

    # -- the end ----------------------------------------------------------------------------------------------------

    async def _drain(self, state: ProxyState, main: Listener) -> None:
        seconds = state.generation.config.limits.drain_seconds
        state.draining = True
        self._manager.stopping(seconds + LAST_WORDS + 1)
        await asyncio.sleep(0)  # accept what is in the kernel's queue: closing would reset it
        main.close()
        waiting = f": up to {seconds:g} s for {len(state.running)} running requests" if state.running else ""
        log.info("stopping%s", waiting)
        deadline = self._loop.time() + seconds
        state.close_idle()
        over = spawn(state.empty(deadline - self._loop.time()), name="drain")
        now = spawn(self._now.wait(), name="second signal")
        await asyncio.wait([over, now], return_when=asyncio.FIRST_COMPLETED)
        await cancel(over, now)
        if state.running:
            log.warning("%d requests are aborted", len(state.running))
            state.cut_off()
            last = self._loop.time() + (0.2 if self._now.is_set() else LAST_WORDS)
            await state.empty(last - self._loop.time())
        # Connections accepted just before the stop may have unread requests: serve them first.
        await asyncio.sleep(0.01)
        end = self._loop.time() + (FIRST_WORDS if state.succeeded else 0.1)
        while main.server.has_silent() and self._loop.time() < end and not self._now.is_set():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        if main.server.connections:
            await state.empty(LAST_WORDS if self._now.is_set() else max(LAST_WORDS, deadline - self._loop.time()))
        state.events.close()
        await main.shutdown(LAST_WORDS if state.succeeded else 0.2)


class _LimitedReports:
    """The loop's exception handler: each kind of error is logged once in ten seconds, the rest counted.

    When descriptors ran out, a naive handler wrote 45 MB of log in eight seconds.
    """

    EVERY = 10.0

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        message = str(context.get("message", ""))[:80]
        now = loop.time()
        then, suppressed = self._last.get(message, (-self.EVERY, 0))
        if now - then < self.EVERY:
            self._last[message] = (then, suppressed + 1)
            return
        if len(self._last) > 256:
            self._last.clear()
        self._last[message] = (now, 0)
        error = context.get("exception")
        more = f" ({suppressed} more like it)" if suppressed else ""
        trace = isinstance(error, Exception) and not isinstance(error, OSError)
        log.error("%s%s: %s", message, more, error, exc_info=error if trace else None)  # type: ignore[arg-type]
