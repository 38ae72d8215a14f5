"""A tool's result as text for a model, for every kind of content. `tools/result.py` bounds, cleans and scrubs it.

    text                 joined
    structuredContent    only where there is no text (the specification says that text SHOULD repeat it)
    image, audio         "[image omitted: image/png, 12 KB]"
    embedded resource    its text under its uri; a blob is noted
    resource link        "name (mime) uri"
    nothing              "(no output)"

For clients that accept more than text the blocks themselves are kept, too, cleaned, scrubbed and bounded likewise.

Home Assistant's `{"success": true, "result": "…"}` around a YAML text is removed, as it doubles the tokens.
"""

import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import orjson

from openai_proxy.dialects import json_text
from openai_proxy.secrets import vault
from openai_proxy.tools.base import ToolResult
from openai_proxy.tools.result import MAX_RESULT_BYTES, clean, failure, success

MEDIA_CAP = 4 * 1024 * 1024
"""Maximum total bytes of base64 in images, audio and blobs of one result: a screenshot of 3 MB."""


def to_result(content: Iterable[Any], structured: Any, is_error: bool, *, rich: bool = False) -> ToolResult:
    """One tool result from the SDK's content blocks and structured content; `rich`: including these themselves."""
    blocks = list(content)
    parts = [part for block in blocks if (part := _block_text(block))]
    if not parts and structured is not None:
        parts = [_structured_text(structured)]
    elif len(parts) == 1 and blocks[0].type == "text":
        parts = [_unwrapped(parts[0])]
    text = "\n".join(parts)
    if is_error:
        return failure(text)
    fit = success(text)
    return replace(fit, blocks=_fit_blocks(blocks), structured=_fit_structured(structured)) if rich else fit


def resource_text(result: Any) -> str:
    """The result of a `resources/read`, as text."""
    parts = [
        content.text
        if getattr(content, "text", None) is not None
        else omitted("resource", str(content.uri), content.blob)
        for content in result.contents
    ]
    return "\n".join(part for part in parts if part)


def prompt_text(result: Any) -> str:
    """The result of a `prompts/get`, as text: its messages one after another, without their roles."""
    return "\n\n".join(part for message in result.messages if (part := _block_text(message.content)))


def omitted(kind: str, what: str, data: str) -> str:
    """The note in place of base64 `data`, four characters of which are three bytes."""
    return f"[{kind} omitted: {what}, {_size(len(data) * 3 // 4)}]"


def _fit_blocks(blocks: Iterable[Any]) -> tuple[dict[str, Any], ...]:
    """The blocks in MCP's form, their texts cleaned as for a model, their media within MEDIA_CAP."""
    room = MEDIA_CAP
    fit: list[dict[str, Any]] = []
    for block in blocks:
        document = block.model_dump(mode="json", by_alias=True, exclude_none=True)
        holder = document.get("resource", document)
        media = next((key for key in ("data", "blob") if isinstance(holder.get(key), str)), None)
        if media is not None:
            room -= len(holder[media])
            if room < 0:
                document = {"type": "text", "text": _block_text(block)}
        elif isinstance(holder.get("text"), str):
            holder["text"] = success(holder["text"]).text if holder["text"] else ""
        for key in ("name", "description", "title", "uri"):
            if isinstance(holder.get(key), str):
                holder[key] = vault.scrub(clean(holder[key]))
        fit.append(document)
    return tuple(fit)


def _fit_structured(structured: Any) -> dict[str, Any] | None:
    if not isinstance(structured, dict):
        return None
    try:
        text = json_text.text(structured)
    except TypeError:
        return None
    if len(text) > MAX_RESULT_BYTES:
        return None
    return structured if not vault.found_in(text) else dict(json_text.loads(vault.scrub(text)))


def _block_text(block: Any) -> str:
    match block.type:
        case "text":
            return str(block.text)
        case "image" | "audio":
            return omitted(block.type, block.mime_type, block.data)
        case "resource_link":
            kind = f" ({block.mime_type})" if block.mime_type else ""
            return f"{block.name}{kind} {block.uri}"
        case "resource":
            resource = block.resource
            if (text := getattr(resource, "text", None)) is not None:
                return f"{resource.uri}\n{text}"
            return omitted("resource", str(resource.uri), resource.blob)
        case kind:
            return f"[{kind} omitted]"


def _structured_text(value: Any) -> str:
    if isinstance(value, dict) and value.keys() == {"result"} and isinstance(value["result"], str):
        return value["result"]
    try:
        return orjson.dumps(value).decode()
    except TypeError:  # for example integers beyond 64 bits
        return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))


def _unwrapped(text: str) -> str:
    """The text inside `{"result": "…"}` (with or without `"success": true`), else `text` itself."""
    if not text.startswith("{") or '"result"' not in text[:200]:
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    if (
        value.keys() <= {"success", "result"}
        and value.get("success", True) is True
        and isinstance(value["result"], str)
    ):
        return str(value["result"])
    return text


def _size(count: int) -> str:
    return f"{count} bytes" if count < 1024 else f"{count / 1024:.0f} KB"
