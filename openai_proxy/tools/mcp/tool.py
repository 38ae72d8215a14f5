"""One tool of one server as the agent sees it: whether it may be used, under which name, and how it is called.

Tools are offered as `mcp_{server}_{tool}`, within what every provider accepts: OpenAI and Anthropic allow
`^[a-zA-Z0-9_-]{1,64}$`, and one bad name fails the whole request
(https://github.com/langchain-ai/deepagents/pull/5953); MCP itself allows 128 characters and dots. A name is never
parsed: `mcp_a_b_c` may be tool `c` of server `a_b` or tool `b_c` of `a`, so it is always looked up as a whole.
"""

import hashlib
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any

from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.mcp.definitions import ToolDefinition


@dataclass(frozen=True, slots=True)
class Globs:
    """One whitelist and one blacklist. An empty whitelist allows everything; a denial beats every permission."""

    whitelist: tuple[str, ...] = ()
    blacklist: tuple[str, ...] = ()

    @classmethod
    def of(cls, whitelist: Sequence[str] | None, blacklist: Sequence[str] | None) -> "Globs":
        """From the configuration, where a list may be missing."""
        return cls(tuple(whitelist or ()), tuple(blacklist or ()))

    def allows(self, tool: str) -> bool:
        """True if `tool` (the server's own name, case-sensitive) may be used."""
        if any(fnmatchcase(tool, glob) for glob in self.blacklist):
            return False
        return not self.whitelist or any(fnmatchcase(tool, glob) for glob in self.whitelist)


@dataclass(frozen=True, slots=True)
class Appearance:
    """How a model sees the tools of a server: new names and descriptions, by the server's own names."""

    renamed: tuple[tuple[str, str], ...] = ()
    described: tuple[tuple[str, str], ...] = ()


AS_IT_IS = Appearance()
"""Everything as the server describes it."""

LIMIT = 64
_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
_DIGEST = 8  # hex digits: with 500 tools a collision has odds of 1 in 34,000


def exposed_name(server: str, tool: str, *, hashed: bool = False, new: str | None = None) -> str:
    """The name under which `tool` of `server` is offered; `new` replaces the tool's own name.

    It changes as little as possible: only one with invalid characters, an overlong or (`hashed`) an ambiguous one gets
    a digest of its true name as a suffix. Overlong names are cut in the middle, because their ends distinguish
    tools.
    """
    plain = f"mcp_{server}_{new or tool}"
    clean = _FOREIGN.sub("_", plain)
    if clean == plain and len(plain) <= LIMIT and not hashed:
        return plain
    digest = hashlib.sha256(f"{server}\0{tool}".encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    room = LIMIT - _DIGEST - 1
    if len(clean) > room:
        head = min(len(f"mcp_{server}_") + 8, room // 2 + 12)
        clean = f"{clean[:head]}_{clean[len(clean) - (room - head - 1) :]}"
    return f"{clean}_{digest}"


def exposed_names(
    server: str, tools: Iterable[str], servers: Collection[str], renamed: Mapping[str, str] = MappingProxyType({})
) -> dict[str, str]:
    """Exposed name -> the server's own name for all `tools` of `server`, in the stable order of the exposed names.

    `renamed` gives some of them another name; one that collides with another tool's gets a digest.

    `servers` are all configured names: if another server's name begins with this one's (`a` and `a_b`), a tool that
    could be mistaken for the other's gets a digest. That depends only on the configuration, so a name does not change
    with what other servers happen to offer.
    """
    rivals = [other[len(server) + 1 :] + "_" for other in servers if other.startswith(server + "_")]
    names: dict[str, str] = {}
    for tool in sorted(set(tools), key=lambda tool: (tool in renamed, tool)):
        new = renamed.get(tool)
        ambiguous = any((new or tool).startswith(rival) for rival in rivals)
        name = exposed_name(server, tool, hashed=ambiguous, new=new)
        if name in names:
            name = exposed_name(server, tool, hashed=True, new=new)
        names[name] = tool
    return dict(sorted(names.items()))


Runner = Callable[[ToolDefinition, dict[str, Any], CallContext], Awaitable[ToolResult]]


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool under its exposed name. It is looked up as a whole; its name is never parsed."""

    name: str
    server: str
    source: ToolDefinition
    globs: tuple[Globs, ...] = field(repr=False)
    run: Runner = field(repr=False, compare=False)
    described: str | None = None  # replaces the server's own description

    @property
    def definition(self) -> dict[str, Any]:
        """The OpenAI function tool, with the server's schema unchanged (a provider's dialect works on a copy)."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.source.description if self.described is None else self.described,
                "parameters": self.source.schema,
            },
        }

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        """Run it on its server. The globs under which it was offered are checked again."""
        if not all(globs.allows(self.source.name) for globs in self.globs):
            return ToolResult(f"The tool {self.name} may not be used here.", is_error=True)
        return await self.run(self.source, arguments, context)
