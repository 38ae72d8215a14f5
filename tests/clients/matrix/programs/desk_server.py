"""An MCP server with one tool, for clients that search for tools (stdio)."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("desk", log_level="CRITICAL")


@server.tool()
def theirs(x: int) -> str:
    """The client's own."""
    return "on"


server.run()
