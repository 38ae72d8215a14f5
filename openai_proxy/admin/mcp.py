"""MCP servers and their tools: `/admin/mcp/…`."""

from typing import Any

from openai_proxy.admin.call import AdminCall
from openai_proxy.errors import NotFound
from openai_proxy.tools.mcp.supervisor import Supervisor


async def restart(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/mcp/NAME/restart`: replace the connection, and take what the server then offers as the truth."""
    (name,) = call.names
    supervisor_of(call, name).restart(name)
    return {"restarted": name}


def supervisor_of(call: AdminCall, name: str) -> Supervisor:
    """Who looks after the MCP server `name`. Raises NotFound where none is configured."""
    if not call.state.has_supervisor:
        raise NotFound(f"The MCP server '{name[:64]}' is not configured.", code="mcp_server_not_found")
    return call.state.supervisor
