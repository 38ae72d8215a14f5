"""The port for Wyoming clients: opened, moved and closed according to the configuration."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from openai_proxy.addresses import plain
from openai_proxy.config.problems import Problem
from openai_proxy.errors import BadRequest, ProxyError
from openai_proxy.exchange import Caller
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.listener import Listener
from openai_proxy.tasks import cancel, spawn

if TYPE_CHECKING:
    from openai_proxy.config.wyoming import WyomingConfig

log = logging.getLogger(__name__)

MAX_CONNECTIONS: Final = 32
"""Each may hold minutes of audio; a home has fewer satellites."""

_BUFFER: Final = 128 * 1024  # bytes that a client may send ahead; also the maximum length of a line


@dataclass(frozen=True, slots=True)
class _Address:
    host: str
    port: int


class WyomingListener:
    """The listener, for the life of the process. The `wyoming` package is imported when it first opens."""

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._server = _Connections(state)
        self._listener = Listener(self._server)
        self._address: _Address | None = None
        state.idle_closers.append(self._server.close_idle)

    async def follow(self, generation: Generation) -> Problem | None:
        """Listen where `generation` says, or not at all. Returns the problem if it cannot; then nothing changes."""
        config = generation.config.wyoming
        wanted = _Address(generation.config.host, config.port) if config is not None else None
        if wanted == self._address:
            return None
        if wanted is None:
            self.close()
            return None
        try:
            if self._server.protocol is None:
                self._server.protocol = await asyncio.to_thread(importlib.import_module, "openai_proxy.wyoming.session")
            await self._listener.move(wanted.host, wanted.port)
        except (ProxyError, ImportError) as error:
            place = generation.snapshot.place("proxy", None, ("wyoming", "port"))
            return Problem(*place, f"wyoming: {error}")
        self._address = wanted
        log.info("serving Wyoming clients on %s port %s", wanted.host, self._listener.port)
        return None

    @property
    def port(self) -> int | None:
        """The port it listens on; None while it is closed."""
        return self._listener.port if self._address is not None else None

    def status(self) -> dict[str, Any] | None:
        """Its part of `/admin/status`; None while it is closed."""
        config = self._state.generation.config.wyoming
        if self._address is None or config is None:
            return None
        return {"port": self.port, "stt": config.stt, "tts": config.tts, "clients": len(self._server.connections)}

    def close(self) -> None:
        """Accept no more connections; busy ones continue to their end."""
        self._listener.close()
        self._address = None
        self._server.close_idle()

    async def shutdown(self, seconds: float) -> None:
        """End the connections: idle ones now, busy ones within `seconds`."""
        await self._listener.shutdown(seconds)


class _Connections:
    """Creates the protocol object of each connection, and tracks the open ones."""

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._sessions: dict[asyncio.Task[None], Any] = {}
        self.protocol: Any = None  # the module `session`, once needed

    def __call__(self) -> asyncio.BaseProtocol:
        loop = self._state.loop
        reader = self.protocol.BoundedReader(limit=_BUFFER, loop=loop)
        return asyncio.StreamReaderProtocol(reader, self._accept, loop=loop)

    @property
    def connections(self) -> Collection[Any]:
        """The open ones."""
        return self._sessions

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        generation = self._state.generation
        config = generation.config.wyoming
        peer = writer.get_extra_info("peername")
        remote = plain(str(peer[0])) if isinstance(peer, tuple) else ""
        try:
            if config is None or self._state.draining:
                raise BadRequest("The port is being closed.")
            generation.gate.check_peer(remote)
            if len(self._sessions) >= MAX_CONNECTIONS:
                raise BadRequest(f"There are already {MAX_CONNECTIONS} connections.")
        except ProxyError as error:
            log.warning("a Wyoming client at %s was refused: %s", remote, error.message)
            writer.transport.abort()
            return
        session = self.protocol.WyomingSession(self._state, _caller(config, remote), reader, writer)
        task = spawn(session.serve(), name="wyoming client")
        self._sessions[task] = session
        task.add_done_callback(lambda done: self._sessions.pop(done, None))

    def has_silent(self) -> bool:
        """ListenerServer: satellites speak when a person does; nobody waits for their first message."""
        return False

    def close_idle(self) -> None:
        """Disconnect clients that are not waiting for anything."""
        for task, session in tuple(self._sessions.items()):
            if not session.busy:
                task.cancel()

    async def shutdown(self, seconds: float) -> None:
        """See WyomingListener.shutdown."""
        self.close_idle()
        if self._sessions:
            await asyncio.wait(tuple(self._sessions), timeout=seconds)
        await cancel(*self._sessions)


def _caller(config: WyomingConfig, remote: str) -> Caller:
    return Caller(remote, group=config.group)
