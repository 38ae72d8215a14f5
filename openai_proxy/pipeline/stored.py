"""Stored answers of the Responses API, and conversations: those stored here, else the provider's.

    GET, DELETE  /responses/{id}         GET   /responses/{id}/input_items     POST  /responses/{id}/cancel
    POST         /conversations          GET, POST, DELETE  /conversations/{id}
    GET, POST    /conversations/{id}/items                  GET, DELETE  /conversations/{id}/items/{item}

https://platform.openai.com/docs/api-reference/responses and …/conversations
"""

from typing import Any, Final
from urllib.parse import parse_qs

from openai_proxy.dialects import json_text
from openai_proxy.errors import BadRequest, NotFound
from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import read_document
from openai_proxy.pipeline.passthrough import relay, upstream_request
from openai_proxy.pipeline.responses import ask_natively
from openai_proxy.store.responses import ResponseStore, StoredConversation

_CONVERSATIONS: Final = "/conversations"
_MOST: Final = 100  # items per page


async def serve(context: RequestContext) -> bool:
    """Answer a request about something stored here; False if it belongs to the provider."""
    root, *steps = context.endpoint.path.strip("/").split("/")
    method = context.exchange.method
    store, caller = context.state.responses, context.exchange.caller.identity
    if root == "responses":
        await store.bring(caller, response=steps[0])
        answer = await _response(context, store, caller, method, steps)
    elif not steps:
        return method == "POST" and await _begin(context, store, caller)
    else:
        await store.bring(caller, conversation=steps[0])
        answer = await _conversation(context, store, caller, method, steps)
    if answer is None:
        if not _default_speaks(context):
            what = "Response" if root == "responses" else "Conversation"
            raise NotFound(f"{what} with id '{steps[0][:64]}' not found.", code="not_found")
        return False
    await _send(context, answer)
    return True


async def _send(context: RequestContext, answer: dict[str, Any]) -> None:
    await context.state.shared.written()
    await context.send(json_text.dumps(answer))


async def _response(
    context: RequestContext, store: ResponseStore, caller: str, method: str, steps: list[str]
) -> dict[str, Any] | None:
    stored = store.response(caller, steps[0])
    if stored is None:
        return None
    if method == "GET" and len(steps) == 1:
        if parse_qs(context.query).get("stream", ["false"])[0] == "true":
            raise BadRequest("Only answers in the background can be streamed again.", param="stream")
        return stored.document()
    if method == "DELETE" and len(steps) == 1:
        store.delete(caller, steps[0])
        return {"id": steps[0], "object": "response", "deleted": True}
    if method == "GET" and steps[1:] == ["input_items"]:
        return _page(stored.input_items(), context.query)
    if method == "POST" and steps[1:] == ["cancel"]:
        raise BadRequest("Only answers in the background can be cancelled.", code="invalid_request")
    raise NotFound("There is nothing at this path.")


async def _begin(context: RequestContext, store: ResponseStore, caller: str) -> bool:
    """Create a conversation, at the provider if it supports them."""
    raw = await context.body.whole()
    if _default_speaks(context):

        def make(target: Target) -> UpstreamRequest:
            return upstream_request(context, target, raw)

        opened = await ask_natively(context, context.decide(None), make, _CONVERSATIONS)
        if opened is not None:
            await relay(opened, context.reply, context.exchange, context.entry)
            return True
    given = await _document(context)
    begun = store.begin(caller, _items(given.get("items")), _metadata(given))
    await _send(context, begun.document())
    return True


async def _conversation(
    context: RequestContext, store: ResponseStore, caller: str, method: str, steps: list[str]
) -> dict[str, Any] | None:
    found = store.conversation(caller, steps[0])
    if found is None:
        return None
    if len(steps) == 1:
        if method == "GET":
            return found.document()
        if method == "DELETE":
            store.end(caller, found.id)
            return {"id": found.id, "object": "conversation.deleted", "deleted": True}
        if method == "POST":
            store.describe(caller, found, _metadata(await _document(context)))
            return found.document()
    elif steps[1] == "items" and len(steps) == 2:
        if method == "GET":
            return _page(found.all_items(), context.query)
        if method == "POST":
            added = store.add(caller, found.id, _items((await _document(context)).get("items")))
            return _page(added, "order=asc&limit=100")
    elif steps[1] == "items" and len(steps) == 3:
        return _item(store, caller, found, method, steps[2])
    raise NotFound("There is nothing at this path.")


def _item(
    store: ResponseStore, caller: str, found: StoredConversation, method: str, item_id: str
) -> dict[str, Any] | None:
    if item_id in found.items and method == "GET":
        item: dict[str, Any] = json_text.loads(found.items[item_id])
        return item
    if item_id in found.items and method == "DELETE":
        store.remove(caller, found, item_id)
        return found.document()
    raise NotFound(f"Item with id '{item_id[:64]}' not found.", code="item_not_found")


def _default_speaks(context: RequestContext) -> bool:
    """True if the connection for requests without a model has stored answers of its own."""
    try:
        connection = context.decide(None).route.targets[0].connection
    except NotFound:
        return False
    return context.generation.providers[connection].speaks("responses")


async def _document(context: RequestContext) -> dict[str, Any]:
    _, plain = await context.plain_body()
    return (await read_document(plain or b"{}")).members


def _items(items: Any) -> list[dict[str, Any]]:
    if items is None:
        return []
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise BadRequest("'items' must be a list of objects.", param="items")
    return items


def _metadata(given: dict[str, Any]) -> dict[str, Any]:
    metadata = given.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise BadRequest("'metadata' must be an object.", param="metadata")
    return metadata or {}


def _page(items: list[dict[str, Any]], query: str) -> dict[str, Any]:
    """A page of `items`, newest first unless the query sets another `order`; after the id `after`, `limit` of them."""
    parameters = {name: values[-1] for name, values in parse_qs(query).items()}
    if parameters.get("order", "desc") != "asc":
        items = [*reversed(items)]
    ids = [item.get("id") for item in items]
    if parameters.get("after") in ids:
        items = items[ids.index(parameters["after"]) + 1 :]
    limit = parameters.get("limit", "20")
    if not limit.isdigit() or not 1 <= int(limit) <= _MOST:
        raise BadRequest(f"'limit' must be between 1 and {_MOST}.", param="limit")
    shown = items[: int(limit)]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0].get("id") if shown else None,
        "last_id": shown[-1].get("id") if shown else None,
        "has_more": len(shown) < len(items),
    }
