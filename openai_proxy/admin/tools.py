"""All tools, of MCP servers and handlers: their definitions, and trying one: `/admin/tools…`."""

import time
from typing import Any

from openai_proxy.admin.call import AdminCall
from openai_proxy.errors import BadRequest, NotFound
from openai_proxy.exchange import new_request_id
from openai_proxy.tools.base import CallContext, OwnersConsent, Tool
from openai_proxy.tools.toolbox import Toolbox

TIMEOUT = 120.0  # seconds for a tool that is tried


async def list_tools(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/tools`: every tool by the name that models see; `server` is its MCP server, null for a handler."""
    box = _toolbox(call)
    return {"tools": [_shown(tool) for name in box.names() if (tool := box.get(name)) is not None]}


async def try_one(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/tools/NAME/call` with `arguments`: run it as a model would. A tool's failure is a normal answer."""
    (name,) = call.names
    box = _toolbox(call)
    if name not in box:
        raise NotFound(f"There is no tool '{name[:64]}'.", code="tool_not_found")
    arguments = (await call.document()).get("arguments", {})
    if not isinstance(arguments, dict):
        raise BadRequest("`arguments` must be a JSON object.", param="arguments")
    begun = time.monotonic()
    context = CallContext(request_id=new_request_id(), caller="page", consent=OwnersConsent())
    result = await box.run(name, arguments, context, timeout=TIMEOUT)
    return {
        "tool": name,
        "text": result.text,
        "is_error": result.is_error,
        "duration_ms": round((time.monotonic() - begun) * 1000, 1),
    }


def _toolbox(call: AdminCall) -> Toolbox:
    augmented = call.state.generation.augmented
    return augmented.everything.toolbox() if augmented is not None else Toolbox()


def _shown(tool: Tool) -> dict[str, Any]:
    function = tool.definition.get("function") or {}
    source = getattr(tool, "source", None)
    return {
        "name": tool.name,
        "description": function.get("description") or "",
        "parameters": function.get("parameters") or {},
        "server": getattr(tool, "server", None),
        "own_name": getattr(source, "name", tool.name),
    }
