"""Which tools a caller of `/mcp` sees, under the names that models see.

`/mcp/{model}` has exactly the tools of one augmented model, for callers who may use it. `/mcp` has those of the servers
that the `mcp` globs of the caller's group name, and, if they name `tools`, of conf/tools. Callers without a group (no
keys are required, or the control socket) see all; a group that names nothing sees nothing.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import orjson

from openai_proxy.errors import unknown_model
from openai_proxy.exchange import Caller
from openai_proxy.runtime.generation import Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.tools.base import Tool
from openai_proxy.tools.handler import handler_tool
from openai_proxy.tools.toolbox import DEFAULT_TIMEOUT, Toolbox, Toolset

OWN_TOOLS: Final = "tools"
"""The name of conf/tools' own tools in a group's `mcp`, beside the names of servers."""

_HEADER_MARK: Final = b'"x-mcp-header"'
_NOTHING: Final = Toolset()


@dataclass(frozen=True, slots=True)
class Offer:
    """What one caller is offered now. `listing` is the JSON array of `tools/list`; `digest` changes with it."""

    toolbox: Toolbox
    listing: bytes = field(repr=False)
    digest: bytes
    servers: tuple[str, ...]
    instructions: str = ""
    timeout: float | None = None

    def seconds(self, generation: Generation, tool: Tool) -> float:
        """The time limit of a call of `tool`: the model's, else its server's, which the server itself enforces."""
        if self.timeout is not None:
            return self.timeout
        server = generation.snapshot.servers.get(getattr(tool, "server", ""))
        return server.timeout + 1.0 if server is not None else DEFAULT_TIMEOUT

    def marked_schema(self, tool: Tool) -> dict[str, Any] | None:
        """The schema of a tool whose arguments are also sent in headers; None for any other."""
        schema: dict[str, Any] = tool.definition["function"].get("parameters") or {}
        return schema if _HEADER_MARK in self.listing and _HEADER_MARK in orjson.dumps(schema) else None


class Offers:
    """The offers of the present configuration, shared by callers who see the same."""

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._generation = 0
        self._toolsets: dict[tuple[str, ...] | None, tuple[Toolset, tuple[str, ...]]] = {}
        self._offers: dict[tuple[tuple[str, ...] | None, str | None], Offer] = {}

    def of(self, generation: Generation, caller: Caller, model: str | None) -> Offer:
        """What `caller` is offered, in general or of one model. Raises NotFound for a model that they may not use."""
        if generation.number != self._generation:
            self._generation = generation.number
            self._toolsets.clear()
            self._offers.clear()
        if model is not None:
            return self._of_model(generation, caller, model)
        scope = None if caller.group is None else generation.config.groups[caller.group].mcp
        known = self._toolsets.get(scope)
        if known is None:
            known = self._toolsets[scope] = self._toolset(generation, scope)
        toolset, servers = known
        return self._offer((scope, None), toolset, servers)

    def _of_model(self, generation: Generation, caller: Caller, name: str) -> Offer:
        augmented = generation.augmented
        model = augmented.models.get(name) if augmented is not None else None
        if model is None or not generation.access.may_use(caller, name):
            raise unknown_model(name)
        config = model.config
        return self._offer(
            (None, name), model.tools, model.servers, instructions=config.description or "", timeout=config.tool_timeout
        )

    def _toolset(self, generation: Generation, scope: tuple[str, ...] | None) -> tuple[Toolset, tuple[str, ...]]:
        augmented, state = generation.augmented, self._state
        if augmented is None:
            return _NOTHING, ()

        def sees(name: str) -> bool:
            return scope is None or any(fnmatchcase(name, glob) for glob in scope)

        servers = tuple(name for name, server in generation.snapshot.servers.items() if server.enabled and sees(name))
        handlers = augmented.custom.handlers.values() if sees(OWN_TOOLS) else ()
        fixed = [handler_tool(handler, state.workshop.workers) for handler in handlers]

        def live() -> Sequence[Tool]:
            return [tool for server in servers for tool in state.supervisor.tools(server)]

        return Toolset(fixed, live if servers else None, augmented.confirm), servers

    def _offer(
        self,
        key: tuple[tuple[str, ...] | None, str | None],
        toolset: Toolset,
        servers: tuple[str, ...],
        **more: Any,
    ) -> Offer:
        toolbox = toolset.toolbox()
        offer = self._offers.get(key)
        if offer is None or offer.toolbox is not toolbox:
            listing = orjson.dumps([_as_mcp(toolbox, name) for name in toolbox.names()])
            digest = hashlib.sha256(listing).digest()
            offer = self._offers[key] = Offer(toolbox, listing, digest, servers, **more)
        return offer


def _as_mcp(toolbox: Toolbox, name: str) -> dict[str, Any]:
    """A tool in `tools/list` form, with its own schema rather than the one cleaned for a provider."""
    tool = toolbox.get(name)
    assert tool is not None
    function = tool.definition["function"]
    described: dict[str, Any] = {"name": name}
    if description := function.get("description"):
        described["description"] = description
    described["inputSchema"] = {"type": "object", **(function.get("parameters") or {"properties": {}})}
    return described
