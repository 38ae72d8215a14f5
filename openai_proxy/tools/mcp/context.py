"""`{{mcp_resource(server="…", uri="…")}}` and `{{mcp_prompt(server="…", name="…")}}`: for prompts, not for models.

Only templates have these two tools: a model could use them to read anything that a server holds.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.mcp.supervisor import Supervisor
from openai_proxy.tools.result import failure

RESOURCE: Final = "mcp_resource"
PROMPT: Final = "mcp_prompt"
MEMBERS: Final = {RESOURCE: "uri", PROMPT: "name"}
"""Template -> the argument that identifies the server's item."""


class ContextTool:
    """One of the two: `read` gets the server, the item's name there, the other arguments as text, and the satellite."""

    def __init__(
        self,
        name: str,
        read: Callable[[str, str, dict[str, str], str], Awaitable[ToolResult]],
        *,
        open_ended: bool,
    ) -> None:
        self.name = name
        self._member = MEMBERS[name]
        self._read = read
        self._open_ended = open_ended

    @property
    def definition(self) -> dict[str, Any]:
        """Like any tool's; its arguments are checked against it."""
        # A prompt's name may be "": the server's first.
        properties = {"server": {"type": "string", "minLength": 1}, self._member: {"type": "string"}}
        parameters = {
            "type": "object",
            "properties": properties,
            "required": ["server", self._member],
            "additionalProperties": self._open_ended,
        }
        return {"type": "function", "function": {"name": self.name, "description": "", "parameters": parameters}}

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        """Read it. Other arguments are sent to the server as text."""
        given = dict(arguments)
        server, name = given.pop("server", None), given.pop(self._member, None)
        if not isinstance(server, str) or not isinstance(name, str):
            return failure(f"{self.name} needs server and {self._member}.")
        more = {key: _text(value) for key, value in given.items() if value is not None}
        return await self._read(server, name, more, context.device)


def context_tools(supervisor: Supervisor) -> tuple[ContextTool, ...]:
    """Both tools."""

    async def resource(server: str, uri: str, more: dict[str, str], device: str) -> ToolResult:
        return await supervisor.read_resource(server, uri)

    return (
        ContextTool(RESOURCE, resource, open_ended=False),
        ContextTool(PROMPT, supervisor.get_prompt, open_ended=True),
    )


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
