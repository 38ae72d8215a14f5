"""`{{mcp_resource(server="…", uri="…")}}` and `{{mcp_prompt(server="…", name="…")}}`: for prompts, not for models.

Two tools that only templates have: a model that could call them would read whatever a server holds.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.mcp.supervisor import Supervisor
from openai_proxy.tools.result import failure

RESOURCE: Final = "mcp_resource"
PROMPT: Final = "mcp_prompt"
MEMBERS: Final = {RESOURCE: "uri", PROMPT: "name"}
"""Template -> what says which of the server's things it is."""


class ContextTool:
    """One of them: `read` gets the server, the thing's name there, what else was given as text, and the satellite."""

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
        """As any tool's; its arguments are checked against it."""
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
        """Read it. What is given besides goes to the server as text."""
        given = dict(arguments)
        server, name = given.pop("server", None), given.pop(self._member, None)
        if not isinstance(server, str) or not isinstance(name, str):
            return failure(f"{self.name} needs server and {self._member}.")
        more = {key: _text(value) for key, value in given.items() if value is not None}
        return await self._read(server, name, more, context.device)


def context_tools(supervisor: Supervisor) -> tuple[ContextTool, ...]:
    """Both of them."""

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
