"""`GET /admin/events`: live events as server-sent events.

The first is a `status` event with the content of `/admin/status`, so that a page that reconnects is up to date. Then
`reload` (with its differences and problems), `mcp_server`, `request` (begin, end), `tool_call`, and `dropped` if the
client was too slow. Each event's data is one JSON object with `ts`, seconds since the epoch.
"""

import asyncio
import importlib

import orjson

from openai_proxy.admin.call import AdminCall
from openai_proxy.admin.status import status_of
from openai_proxy.errors import BadRequest
from openai_proxy.server.reply import ClientGone

_ALLOW = {"Allow": "GET"}
HEARTBEAT = 15.0  # seconds between two comments that keep proxies and browsers from closing the stream


async def serve(call: AdminCall) -> None:
    """Stream events until the client disconnects or the daemon stops."""
    state, reply = call.state, call.reply
    if call.request.method == "HEAD":
        raise BadRequest("This method is not served here.", status=405, code="method_not_allowed", headers=_ALLOW)
    # In a thread: aiohttp-sse imports all of aiohttp, which takes 70 ms.
    library = await asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "aiohttp_sse")
    limit = state.generation.config.limits.write_seconds
    response = library.EventSourceResponse(
        headers={**dict(reply.extra), "Server": "openai-proxy"}, ping_interval=HEARTBEAT, send_timeout=limit
    )
    response.force_close()
    with state.events.subscribe() as events:
        reply.started = True
        reply.keep_alive = False
        try:
            await response.prepare(call.request)
            async with response:
                await response.send(orjson.dumps(status_of(state)).decode(), event="status")
                async for event in events:
                    await response.send(orjson.dumps(event, default=str).decode(), event=event["kind"])
            await response.write_eof()
        except (ConnectionError, TimeoutError):
            raise ClientGone from None
    reply.ended = True
