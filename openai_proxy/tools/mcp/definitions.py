"""A server's tools: immutable, hashed definitions, so that changes are noticed, and withheld if pinned.

A server that changes a description after it was trusted ("rug pull") is a known attack, and Notion's server broke every
request overnight by changing a schema (https://github.com/langchain-ai/langchain/issues/39271). Accepted definitions of
pinned servers survive a restart of the daemon, because a server could otherwise wait for one and redefine its tools
unnoticed; they are stored in full, not as digests, so that a redefined tool keeps its old definition after a restart.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from openai_proxy import statefile
from openai_proxy.tasks import spawn
from openai_proxy.tools.result import clean

log = logging.getLogger(__name__)

DESCRIPTION_CAP = 8_000
"""Maximum characters of one description: the longest of the reference servers has 2,000."""


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """One tool as its server describes it. `digest` covers name, description and schema."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(compare=False)
    digest: str
    size: int = field(default=0, compare=False)  # its bytes as JSON

    @classmethod
    def of(cls, name: str, description: str | None, schema: Mapping[str, Any]) -> "ToolDefinition":
        """From the server's answer; the description is cleaned and cut, the schema is kept unchanged."""
        text = clean(description or "").strip()
        if len(text) > DESCRIPTION_CAP:
            text = text[: DESCRIPTION_CAP - 1] + "…"
        raw = orjson.dumps([name, text, schema], option=orjson.OPT_SORT_KEYS)
        return cls(name, text, schema, hashlib.sha256(raw).hexdigest()[:16], len(raw))


@dataclass(frozen=True, slots=True)
class Listing:
    """The tools of one server, by name, and how many more it had than are kept."""

    tools: Mapping[str, ToolDefinition]
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Change:
    """How a new list differs from the last one."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)


def compare(old: Mapping[str, ToolDefinition], new: Mapping[str, ToolDefinition]) -> Change:
    """What `new` adds, removes and redefines."""
    return Change(
        added=_sorted(new.keys() - old.keys()),
        removed=_sorted(old.keys() - new.keys()),
        changed=_sorted(name for name in old.keys() & new.keys() if old[name].digest != new[name].digest),
    )


def hold_back(
    accepted: Mapping[str, ToolDefinition], new: Mapping[str, ToolDefinition]
) -> tuple[dict[str, ToolDefinition], tuple[str, ...]]:
    """`new`, but with the accepted definition of every redefined tool; and the names of those."""
    held = compare(accepted, new).changed
    return {name: accepted[name] if name in held else tool for name, tool in new.items()}, held


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))


VERSION: Final = 1
_KEPT: Final = 256  # identities; each edit of a server's command makes a new one, and the oldest are dropped


class Pins:
    """Accepted definitions by server identity. Without a path they live as long as the process."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._accepted = _read(path) if path is not None else {}
        self._dirty = False
        self._writing: asyncio.Task[None] | None = None

    def of(self, identity: str) -> Mapping[str, ToolDefinition] | None:
        """The accepted tools of this server, by the server's own names; None if it was never pinned."""
        return self._accepted.get(identity)

    def keep(self, identity: str, tools: Mapping[str, ToolDefinition] | None) -> None:
        """Remember `tools` as accepted, or with None forget the server. Written in the background."""
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
    try:
        statefile.save(path, VERSION, {"servers": document})
    except OSError as error:
        log.warning("pinned definitions of MCP servers cannot be saved: %s", error.strerror)


def _read(path: Path) -> dict[str, dict[str, ToolDefinition]]:
    saved = statefile.load(path, VERSION, lambda before: {"servers": before})
    try:
        return {
            identity: {name: ToolDefinition.of(name, description, schema) for name, description, schema in tools}
            for identity, tools in saved.get("servers", {}).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        # Logged, because what the servers offer now will be accepted without comparison.
        log.warning("pinned definitions of MCP servers cannot be read: %s", type(error).__name__)
        return {}


class KnownTools:
    """The tools on offer. `version` counts changes; `held` names those whose new definition is withheld."""

    def __init__(self, server: str, pins: Pins) -> None:
        self._server = server
        self._pins = pins
        self._tools: dict[str, ToolDefinition] | None = None
        self._accept = False
        self.held: tuple[str, ...] = ()
        self.left_out = 0
        self.version = 0

    @property
    def listed(self) -> bool:
        """True once the server has listed its tools."""
        return self._tools is not None

    @property
    def tools(self) -> Mapping[str, ToolDefinition]:
        """By the server's own names; empty before the first list."""
        return self._tools or {}

    def accept(self) -> None:
        """Accept the next list without comparison, even if definitions are pinned."""
        self._accept = True

    def take(self, listing: Listing, *, identity: str, pin: bool) -> None:
        """Make `listing` the current one. A redefined tool is logged, and with `pin` keeps its old definition.

        The first list of a pinned server is compared with what was accepted for that `identity` before a restart.
        """
        new = dict(listing.tools)
        self.left_out, self.held = listing.left_out, ()
        before: Mapping[str, ToolDefinition] | None = self._tools
        if before is None and pin:
            before = self._pins.of(identity)
        if before is not None:
            change = compare(before, new)
            if change.changed:
                held = " (held back: pinned)" if pin and not self._accept else ""
                log.warning("mcp server %s redefined %s%s", self._server, ", ".join(change.changed), held)
            if change.added or change.removed:
                counts = len(change.added), len(change.removed)
                log.info("mcp server %s: %d tools added, %d removed", self._server, *counts)
            if pin and not self._accept:
                new, self.held = hold_back(before, new)
        self._accept = False
        self._tools = new
        self._pins.keep(identity, new if pin else None)
        self.version += 1
