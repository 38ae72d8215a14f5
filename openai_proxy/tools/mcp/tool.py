"""One tool of one server, as the agent loop sees it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.mcp.definitions import ToolDefinition
from openai_proxy.tools.mcp.policy import Globs

Runner = Callable[[ToolDefinition, dict[str, Any], CallContext], Awaitable[ToolResult]]


@dataclass(frozen=True, slots=True)
class McpTool:
    """A tool under its exposed name. It is looked up whole, its name is never taken apart again."""

    name: str
    server: str
    source: ToolDefinition
    globs: tuple[Globs, ...] = field(repr=False)
    run: Runner = field(repr=False, compare=False)

    @property
    def definition(self) -> dict[str, Any]:
        """The OpenAI function tool, with the server's schema as it came (a provider's dialect works on a copy)."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.source.description,
                "parameters": self.source.schema,
            },
        }

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        """Run it on its server. The globs it was offered under hold here again."""
        if not all(globs.allows(self.source.name) for globs in self.globs):
            return ToolResult(f"The tool {self.name} may not be used here.", is_error=True)
        return await self.run(self.source, arguments, context)
