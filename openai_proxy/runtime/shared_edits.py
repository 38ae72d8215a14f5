"""Writes what a command on one daemon set for everyone to the configuration of the others, too.

Daemons that read the same directory find it already written. One that was away writes it when it comes back.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson

from openai_proxy import statefile
from openai_proxy.config.problems import ConfigError
from openai_proxy.errors import ProxyError
from openai_proxy.secrets import vault
from openai_proxy.tasks import cancel, spawn

if TYPE_CHECKING:
    from openai_proxy.runtime.state import ProxyState

log = logging.getLogger(__name__)

FILE: Final = "shared-edits.json"
KEPT: Final = 7 * 86400.0  # seconds for which a daemon may be away without missing an edit
MOST: Final = 500

Members = Mapping[tuple[str, ...], Any]
"""Values of proxy.yaml by their path; None: removed."""


async def write_members(state: ProxyState, members: Members) -> bool:
    """Change proxy.yaml; returns whether it differs now. Raises ConfigError if it cannot be changed."""
    from openai_proxy.config import edit  # most daemons never write

    path = state.settings.config_dir / "proxy.yaml"
    put = {keys: value for keys, value in members.items() if value is not None}
    take_out = [keys for keys, value in members.items() if value is None]
    return await state.loop.run_in_executor(None, edit.change, path, put, take_out)


class SharedEdits:
    """Lives as long as the process."""

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._path = state.settings.state_dir / FILE
        saved = statefile.load(self._path, 1)
        self._since = float(saved.get("since") or time.time())  # older ones were decided by this daemon's owner
        self._seen: dict[str, float] = dict(saved.get("seen") or {})
        self._published: dict[str, Any] = {}
        self._open: dict[tuple[str, ...], Any] = {}
        self._task: asyncio.Task[None] | None = None
        self._table = state.shared.table("edits", read=self._read, take=self._take, names=list)

    def publish(self, members: Members) -> None:
        """A command was written here."""
        for keys, value in members.items():
            name, at = orjson.dumps(keys).decode(), time.time()
            self._published[name] = {"at": at, "value": value}
            self._remember(name, at)
            self._table.changed(name)

    async def aclose(self) -> None:
        """Stop writing."""
        await cancel(self._task)

    def _read(self, name: str) -> tuple[Any, float] | None:
        published = self._published.get(name)
        return (published, KEPT) if published is not None else None

    def _take(self, name: str, value: Any) -> None:
        if value is None or float(value["at"]) <= max(self._since, self._seen.get(name, 0.0)):
            return
        self._remember(name, float(value["at"]))
        self._open[tuple(map(str, orjson.loads(name)))] = value["value"]
        if self._task is None or self._task.done():
            self._task = spawn(self._apply(), name="a command given elsewhere")

    def _remember(self, name: str, at: float) -> None:
        self._seen.pop(name, None)
        self._seen[name] = at
        while len(self._seen) > MOST:
            del self._seen[next(iter(self._seen))]
        try:
            statefile.save(self._path, 1, {"since": self._since, "seen": self._seen})
        except OSError as error:
            log.warning("shared commands cannot be saved: %s", error.strerror)

    async def _apply(self) -> None:
        while self._open:
            members, self._open = self._open, {}
            names = ", ".join(".".join(keys) for keys in members)
            try:
                if await write_members(self._state, members):
                    await self._state.reloads.ask()
                    log.info("a command given to another daemon was written to proxy.yaml: %s", names)
            except ConfigError as error:
                why = vault.scrub(error.problems[0].message)
                log.warning("a command given to another daemon (%s) could not be written to proxy.yaml: %s", names, why)
            except ProxyError:
                log.warning("a command given to another daemon (%s) could not be applied", names)
