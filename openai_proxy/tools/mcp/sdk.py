"""The only way to the MCP SDK, which is imported when the first server is configured, in a thread.

Importing mcp 2.3.0 takes 0.5 s (1.7 s the first time) and 55 MB; without MCP servers none of that is spent.
"""

import asyncio
import importlib
import logging
import types

_NOISY = ("mcp", "client", "httpx2", "httpcore2")


def _import() -> types.ModuleType:
    module = importlib.import_module("openai_proxy.tools.mcp.connection")
    importlib.import_module("jsonschema")  # arguments are checked on the loop: its import of 0.1 s belongs here
    for name in _NOISY:
        # The SDK logs a traceback per invalid line and httpx2 a line per request, including addresses; we log what
        # matters of it ourselves, once.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return module


async def connections() -> types.ModuleType:
    """`openai_proxy.tools.mcp.connection`, loaded without stalling the loop."""
    return await asyncio.to_thread(_import)
