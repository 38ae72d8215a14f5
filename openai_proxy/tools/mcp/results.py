"""What a tool gave, as text a model can read: every content kind. `tools/result.py` bounds, cleans and scrubs it.

    text                 joined
    structuredContent    only where there is no text (the specification says that text SHOULD repeat it)
    image, audio         "[image omitted: image/png, 12 KB]"
    embedded resource    its text under its uri; a blob is noted
    resource link        "name (mime) uri"
    nothing              "(no output)"

Home Assistant's `{"success": true, "result": "…"}` around a YAML text is taken off: it doubles the tokens.
"""

from collections.abc import Iterable
from typing import Any

import orjson

from openai_proxy.tools.base import ToolResult
from openai_proxy.tools.result import failure, success


def to_result(content: Iterable[Any], structured: Any, is_error: bool) -> ToolResult:
    """One tool result from the SDK's content blocks and structured content."""
    blocks = list(content)
    parts = [part for block in blocks if (part := _block_text(block))]
    if not parts and structured is not None:
        parts = [_structured_text(structured)]
    elif len(parts) == 1 and blocks[0].type == "text":
        parts = [_unwrapped(parts[0])]
    text = "\n".join(parts)
    return failure(text) if is_error else success(text)


def omitted(kind: str, what: str, data: str) -> str:
    """The note in the place of base64 `data`, four characters of which are three bytes."""
    return f"[{kind} omitted: {what}, {_size(len(data) * 3 // 4)}]"


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
    return orjson.dumps(value, default=str).decode()


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
