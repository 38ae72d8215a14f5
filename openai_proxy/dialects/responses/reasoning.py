"""Reasoning on its way through the pivot.

A provider's reasoning items become entries of `reasoning_details`, and the same items again in the next request: OpenAI
refuses a changed one, and a model that does not get its reasoning back answers worse. For a Responses client, other
providers' `reasoning_details` (signatures of Claude and Gemini) are packed into the `encrypted_content` that such a
client returns unchanged.
"""

from typing import Any, Final

from openai_proxy.dialects import packed_reasoning

FORMAT: Final = "openai-responses-v1"
"""`format` of the entries in `reasoning_details`, with OpenRouter's name."""

AFTER: Final = "after_calls"
"""Member of a detail: the number of its message's tool calls before it. Omitted if there are none."""

ITEM: Final = "responses.item"
"""`type` of a detail with an output item that is neither text, call nor reasoning, such as a hosted tool's."""

_OURS: Final = frozenset({"type", "data", "format", "index", AFTER})


def detail_of(item: dict[str, Any], index: int, after: int) -> dict[str, Any]:
    """The entry of `reasoning_details` for a provider's reasoning item; every member of the item is kept."""
    members = {key: value for key, value in item.items() if key not in ("type", "encrypted_content")}
    detail: dict[str, Any] = {"type": "reasoning.text", "index": index, "format": FORMAT, **members}
    if item.get("encrypted_content") is not None:
        detail["type"] = "reasoning.encrypted"
        detail["data"] = item["encrypted_content"]
    if after:
        detail[AFTER] = after
    return detail


def hosted_detail(item: dict[str, Any], index: int, after: int) -> dict[str, Any]:
    """The entry of `reasoning_details` for any other output item, to be returned unchanged."""
    detail: dict[str, Any] = {"type": ITEM, "index": index, "format": FORMAT, "item": item}
    return {**detail, AFTER: after} if after else detail


def items_of(message: dict[str, Any]) -> list[tuple[int, dict[str, Any]]]:
    """The items in the `reasoning_details` of an assistant message: (number of calls before it, item)."""
    details = message.get("reasoning_details")
    made: list[tuple[int, dict[str, Any]]] = []
    for detail in details if isinstance(details, list) else ():
        # Clients that concatenate repeated texts turn the format into "openai-responses-v1openai-responses-v1".
        if not isinstance(detail, dict) or not str(detail.get("format") or "").startswith(FORMAT):
            continue
        after = detail.get(AFTER)
        after = after if isinstance(after, int) else 0
        if detail.get("type") == ITEM:
            if isinstance(detail.get("item"), dict):
                made.append((after, detail["item"]))
            continue
        item = {"type": "reasoning", "summary": [], **{k: v for k, v in detail.items() if k not in _OURS}}
        if isinstance(detail.get("data"), str):
            item["encrypted_content"] = detail["data"]
        elif not item.get("content"):
            continue  # an id alone cannot be resolved: nothing is stored there
        made.append((after, item))
    return made


def unpack(item: dict[str, Any]) -> list[dict[str, Any]] | None:
    """The `reasoning_details` in a client's reasoning item: what was packed, or the item itself if a provider wrote it.

    None if the item holds nothing that a provider could use.
    """
    data = item.get("encrypted_content")
    if not isinstance(data, str) or not data:
        return None
    if not packed_reasoning.is_packed(data):
        known = {name: item[name] for name in ("id", "summary", "content") if item.get(name) is not None}
        return [detail_of({**known, "encrypted_content": data}, 0, 0)]
    return packed_reasoning.unpack(data)


def thought_of(item: dict[str, Any]) -> str:
    """The readable text of a reasoning item: its summary, else its raw text."""
    for name in ("summary", "content"):
        parts = item.get(name)
        texts = [part.get("text") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
        spoken = [text for text in texts if isinstance(text, str) and text]
        if spoken:
            return "\n\n".join(spoken)
    return ""
