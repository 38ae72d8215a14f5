"""Running and past requests: `/admin/requests…`, `/admin/conversations/…`."""

from typing import Any

from openai_proxy.admin.call import AdminCall
from openai_proxy.admin.conversation_view import MAX_ITEMS, MAX_TEXT, request_record, view
from openai_proxy.admin.request_history import Cursor, Filter, conversation_of, recent
from openai_proxy.errors import BadRequest, NotFound, Overloaded

MAX_ROWS = 500


async def cancel(call: AdminCall) -> dict[str, Any]:
    """`POST /admin/requests/ID/cancel`: end a running request."""
    running = call.state.running.get(call.names[0])
    if running is None:
        raise NotFound("No such request is running.", code="request_not_found")
    running.cut(Overloaded("The request was cancelled.", code="cancelled"))
    return {"cancelled": running.exchange.id}


async def list_requests(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/requests?limit=&before=&model=&connection=&group=&status=&text=`: past requests, newest first."""
    wanted = Filter(*(call.argument(name)[:200] for name in ("model", "connection", "group", "status", "text")))
    if wanted.status not in ("", "ok", "failed"):
        raise BadRequest("`status` must be ok or failed.", param="status")
    rows, more = await call.thread(
        recent, call.state.settings.logs_dir, call.number("limit", 100, MAX_ROWS), wanted, _cursor(call)
    )
    last = rows[-1] if rows and more else None
    return {"requests": rows, "before": f"{last['at']}:{last['id']}" if last is not None else None}


def _cursor(call: AdminCall) -> Cursor | None:
    text = call.argument("before")
    if not text:
        return None
    at, _, name = text.partition(":")
    try:
        return float(at), name
    except ValueError:
        raise BadRequest("`before` must come from an earlier answer.", param="before") from None


async def show(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/requests/ID`: its conversation and its messages, so that it can be sent again."""
    directory, (name,) = call.state.settings.logs_dir, call.names
    conversation: str | None = call.argument("conversation") or await call.thread(conversation_of, directory, name)
    record = await call.thread(request_record, directory, conversation, name) if conversation else None
    if record is None:
        raise NotFound("There is no such request in the chat logs.", code="request_not_found")
    return {"id": name, "conversation_id": conversation, "model": record.get("model"),
            "messages": record.get("messages"), "tools": record.get("tools", []),
            "params": record.get("params", {}), "stream": record.get("stream")}  # fmt: skip


async def conversation(call: AdminCall) -> dict[str, Any]:
    """`GET /admin/conversations/ID?limit=&text=`: its newest items, texts cut to `text` characters."""
    limit, text = call.number("limit", MAX_ITEMS, 5000), call.number("text", MAX_TEXT, 2_000_000)
    found = await call.thread(lambda: view(call.state.settings.logs_dir, call.names[0], limit=limit, text=text))
    if found is None:
        raise NotFound("There is no such conversation in the chat logs.", code="conversation_not_found")
    return found
