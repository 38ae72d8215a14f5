"""The definitions that were accepted of pinned servers, kept over restarts of the daemon.

Without it a server that waits for the next restart could redefine what its tools are unnoticed. Kept whole, not as
digests, so that a redefined tool keeps its old definition after a restart just as it does before one.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from openai_proxy.tasks import spawn
from openai_proxy.tools.mcp.definitions import ToolDefinition

log = logging.getLogger(__name__)

_KEPT: Final = 256  # identities; each edit of a server's command makes a new one, the oldest go


class Pins:
    """Accepted definitions by server identity. Without a path they live as long as the process."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._accepted = _read(path) if path is not None else {}
        self._dirty = False
        self._writing: asyncio.Task[None] | None = None

    def of(self, identity: str) -> Mapping[str, ToolDefinition] | None:
        """What was accepted of this server, by the tools' own names; None if it was never pinned."""
        return self._accepted.get(identity)

    def keep(self, identity: str, tools: Mapping[str, ToolDefinition] | None) -> None:
        """Remember `tools` as accepted, or with None forget the server. Written behind the caller's back."""
        before = self._accepted.pop(identity, None)
        if tools is not None:
            self._accepted[identity] = dict(tools)
            while len(self._accepted) > _KEPT:
                del self._accepted[next(iter(self._accepted))]
        if self._path is None or before == self._accepted.get(identity):
            return
        self._dirty = True
        if self._writing is None or self._writing.done():
            self._writing = spawn(self._write(self._path), name="mcp-pins")

    async def aclose(self) -> None:
        """Wait until everything is written."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write(self, path: Path) -> None:
        while self._dirty:
            self._dirty = False
            document = {
                identity: [[tool.name, tool.description, tool.schema] for tool in tools.values()]
                for identity, tools in self._accepted.items()
            }
            await asyncio.to_thread(_store, path, document)


def _store(path: Path, document: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(orjson.dumps(document))
        fresh.replace(path)
    except OSError as error:
        log.warning("pinned definitions of MCP servers are not saved: %s", error.strerror)


def _read(path: Path) -> dict[str, dict[str, ToolDefinition]]:
    try:
        return {
            identity: {name: ToolDefinition.of(name, description, schema) for name, description, schema in tools}
            for identity, tools in orjson.loads(path.read_bytes()).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        # Said aloud: what the servers offer now is taken for the truth once more.
        log.warning("pinned definitions of MCP servers cannot be read: %s", type(error).__name__)
        return {}
