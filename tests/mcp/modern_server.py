"""A server of the SDK itself, which speaks the stateless protocol of 2026-07-28: `modern_server.py stdio | PORT`."""

import sys

import anyio
from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("modern", log_level="CRITICAL")


@server.tool()
def echo(text: str) -> str:
    """Say it again."""
    return text


@server.tool()
async def grow(context: Context) -> str:
    """Add a tool and notify all listeners."""
    server.add_tool(lambda: "grown", name="grown", description="New.")
    await context.notify_tools_changed()
    return "told"


@server.tool()
async def slow(context: Context) -> str:
    """Half a second, with progress."""
    await context.report_progress(1, 2, "half way")
    await anyio.sleep(0.5)
    return "done"


@server.resource("memo://house")
def memo() -> str:
    """What is known of the house."""
    return "The boiler is in the cellar."


@server.prompt()
def manners(tone: str = "plain") -> str:
    """How to speak."""
    return f"Speak in a {tone} tone."


if sys.argv[1] == "stdio":
    server.run("stdio")
else:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
