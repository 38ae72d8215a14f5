"""Which transport a server gets.

Imports the SDK: reached only through `sdk.py`.
"""

import os
from collections.abc import Callable

from openai_proxy.tools.mcp.environment import child_environment
from openai_proxy.tools.mcp.failures import Failure
from openai_proxy.tools.mcp.filter import Wire
from openai_proxy.tools.mcp.settings import ServerSettings
from openai_proxy.tools.mcp.sse import SseTransport
from openai_proxy.tools.mcp.stdio import StdioTransport
from openai_proxy.tools.mcp.streamable import StreamableTransport

Link = StdioTransport | SseTransport | StreamableTransport


def link_to(config: ServerSettings, wire: Wire, lose: Callable[[Failure], None]) -> Link:
    """A transport, not yet entered; `lose` is for what it learns that ends the connection."""
    match config.type:
        case "stdio":
            return StdioTransport(config, child_environment(os.environ, config.env), wire)
        case "sse":
            return SseTransport(config, wire, lose)
        case _:
            return StreamableTransport(config, wire, lose)
