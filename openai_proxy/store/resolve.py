"""Resolves the references of a Responses request: earlier answers, conversations, single items."""

from dataclasses import dataclass
from typing import Any

from openai_proxy.errors import BadRequest, NotFound
from openai_proxy.store.responses import ResponseStore


@dataclass(frozen=True, slots=True)
class Resolved:
    """A request whose `input` contains everything.

    `ours`: some of it came from the store, so nobody else could answer the original request. `missing`: why it cannot
    be answered here; the provider may know what it refers to.
    """

    document: dict[str, Any]
    ours: bool = False
    missing: NotFound | None = None


async def bring(store: ResponseStore, caller: str, document: dict[str, Any]) -> None:
    """Fetch what `document` refers to and another daemon may have."""
    conversation, given = document.get("conversation"), document.get("input")
    await store.bring(
        caller,
        response=document.get("previous_response_id"),
        conversation=conversation.get("id") if isinstance(conversation, dict) else conversation,
        items=[item["id"] for item in given if _refers(item)] if isinstance(given, list) else (),
    )


def resolve(store: ResponseStore, caller: str, document: dict[str, Any]) -> Resolved:
    """`document` with references to stored data resolved. Raises BadRequest for contradictory references."""
    previous = document.get("previous_response_id")
    conversation = document.get("conversation")
    if previous is not None and conversation is not None:
        raise BadRequest("'previous_response_id' and 'conversation' cannot be combined.", param="previous_response_id")
    given = document.get("input")
    if previous is None and conversation is None and not (isinstance(given, list) and any(map(_refers, given))):
        return Resolved(document)
    earlier: list[dict[str, Any]] = []
    missing: NotFound | None = None
    if previous is not None:
        stored = store.response(caller, previous) if isinstance(previous, str) else None
        if stored is None:
            missing = _not_found("Previous response", previous, "previous_response_id", "previous_response_not_found")
        else:
            earlier = stored.items()
    elif conversation is not None:
        wanted = conversation.get("id") if isinstance(conversation, dict) else conversation
        found = store.conversation(caller, wanted) if isinstance(wanted, str) else None
        if found is None:
            missing = _not_found("Conversation", wanted, "conversation", "conversation_not_found")
        else:
            earlier = found.all_items()
    items: list[Any] = []
    ours = missing is None and (previous is not None or conversation is not None)
    for index, item in enumerate(as_items(given)):
        known = store.item(caller, item["id"]) if _refers(item) else None
        if known is not None:
            ours = True
        elif _refers(item) and missing is None:
            missing = _not_found("Item", item["id"], f"input[{index}]", "item_not_found")
        items.append(item if known is None else known)
    return Resolved({**document, "input": [*earlier, *items]}, ours, missing)


def as_items(given: Any) -> list[Any]:
    """The member `input` as a list of items."""
    if isinstance(given, list):
        return given
    return [] if given is None else [{"role": "user", "content": given}]


def _refers(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        return False
    return item.get("type") == "item_reference" or (item.get("type") is None and "role" not in item)


def _not_found(what: str, wanted: Any, param: str, code: str) -> NotFound:
    return NotFound(f"{what} with id '{str(wanted)[:64]}' not found.", param=param, code=code)
