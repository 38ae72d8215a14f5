"""Adapts what a server sends to what the SDK accepts: one bad tool or content block must not cost the others.

The SDK (2.3.0) validates strictly: one tool with `inputSchema: {}` fails the whole `tools/list`, one malformed block
the whole `tools/call`, and a result that does not match its `outputSchema` is lost. Real servers send all of these
(https://github.com/cognizant-ai-lab/neuro-san/issues/1341, https://github.com/MervinPraison/PraisonAI/issues/3111).
Everything here changes parsed JSON in place and reports what it did.
"""

from collections.abc import Callable
from typing import Any

import orjson

from openai_proxy.dialects import json_text
from openai_proxy.tools.mcp.results import MEDIA_CAP, omitted
from openai_proxy.tools.result import MAX_RESULT_BYTES, bound

TOOL_CAP = 500
"""Maximum tools per server: validating 5,000 of 2 KB stalls the loop for 4 s, and no model reads them."""

SCHEMA_CAP = 128 * 1024
"""Maximum bytes of one input schema as JSON."""

SCHEMA_DEPTH = 48
"""Maximum nesting of one input schema: schema tools recurse."""

OLDEST_PROTOCOL = "2024-11-05"
"""The protocol of a server that does not name one."""

Note = Callable[[str], None]
"""Called with what was repaired or dropped, for the log and the status."""


def repair_tool(tool: Any, note: Note) -> dict[str, Any] | None:
    """The tool as `{name, description, inputSchema}`, or None if it cannot be used.

    Nothing else is kept: `outputSchema` would make the SDK discard results, annotations are untrusted hints
    (https://modelcontextprotocol.io/specification/2026-07-28/server/tools), and models do not see icons and titles.
    """
    if not isinstance(tool, dict):
        note("dropped a tool that is not an object")
        return None
    name = tool.get("name")
    if not isinstance(name, str) or not 0 < len(name) <= 128:
        note("dropped a tool without a usable name")
        return None
    schema = _repair_schema(tool.get("inputSchema"), name, note)
    if schema is None:
        return None
    repaired: dict[str, Any] = {"name": name, "inputSchema": schema}
    for key in ("description", "title"):
        if isinstance(text := tool.get(key), str) and text.strip():
            repaired.setdefault("description", text)
    return repaired


def repair_initialize(result: dict[str, Any], note: Note) -> None:
    """The answer to `initialize` in the shape that the SDK requires: the server's self-description has no effect."""
    info = result.get("serverInfo")
    if not (isinstance(info, dict) and isinstance(info.get("name"), str) and isinstance(info.get("version"), str)):
        note("sent a malformed serverInfo; repaired")
    known = info if isinstance(info, dict) else {}
    result["serverInfo"] = {
        "name": str(known.get("name") or "unknown")[:200],
        "version": str(known.get("version") or "unknown")[:200],
    }
    abilities = result.get("capabilities")
    if not isinstance(abilities, dict):
        note("answered initialize without capabilities; repaired")
        abilities = {"tools": {}}
    # `"tools": true` and the like mean what an empty object means.
    result["capabilities"] = {
        name: value if isinstance(value, dict) else {}
        for name, value in abilities.items()
        if value is not None and value is not False
    }
    if not isinstance(result.get("protocolVersion"), str):
        note(f"answered initialize without a protocolVersion; assuming {OLDEST_PROTOCOL}")
        result["protocolVersion"] = OLDEST_PROTOCOL
    for name, kind in (("instructions", str), ("_meta", dict)):
        if not isinstance(result.get(name, kind()), kind):
            del result[name]


def _repair_schema(schema: Any, name: str, note: Note) -> dict[str, Any] | None:
    """A schema with `type: object` at its root, as the protocol requires; None if it means something else."""
    if schema is None or schema is True:
        note(f"gave tool {name!r} an empty input schema: it had none")
        return {"type": "object", "properties": {}}
    if not isinstance(schema, dict):
        note(f"dropped tool {name!r}: its input schema is not an object")
        return None
    kind = schema.get("type")
    if kind != "object":
        if kind is not None and not (isinstance(kind, list) and "object" in kind):
            note(f"dropped tool {name!r}: its input schema is not that of an object")
            return None
        note(f"added the missing type to the input schema of tool {name!r}")
        schema = {**schema, "type": "object"}
    if not _fits(schema):
        note(f"dropped tool {name!r}: its input schema is too large or too deep")
        return None
    return _repair_members(schema, name, note)


def _repair_members(schema: dict[str, Any], name: str, note: Note) -> dict[str, Any]:
    properties = schema.get("properties")
    if properties is not None and not isinstance(properties, dict):
        note(f"dropped malformed properties from the input schema of tool {name!r}")
        schema = {**schema, "properties": {}}
    elif properties is not None and not all(isinstance(value, dict | bool) for value in properties.values()):
        note(f"replaced malformed properties in the input schema of tool {name!r}: anything is allowed")
        schema = {**schema, "properties": {k: v if isinstance(v, dict | bool) else {} for k, v in properties.items()}}
    required = schema.get("required")
    if "required" in schema and not (isinstance(required, list) and all(isinstance(item, str) for item in required)):
        note(f"dropped a malformed required list from the input schema of tool {name!r}")
        schema = {key: value for key, value in schema.items() if key != "required"}
    if "$schema" in schema and not isinstance(schema["$schema"], str):
        schema = {key: value for key, value in schema.items() if key != "$schema"}
    return schema


def _fits(schema: dict[str, Any]) -> bool:
    """True if `schema` is within SCHEMA_CAP and SCHEMA_DEPTH."""
    level: list[Any] = [schema]
    for _ in range(SCHEMA_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if isinstance(node, dict) else node)
            if isinstance(child, dict | list)
        ]
        if not level:
            break
    else:
        return False
    try:
        return len(orjson.dumps(schema)) <= SCHEMA_CAP
    except TypeError:  # an integer beyond 64 bits, or a lone surrogate, which no provider would accept either
        return False


def repair_call_result(result: dict[str, Any], note: Note) -> None:
    """Make a `tools/call` result acceptable: malformed parts become text, so that nothing is lost."""
    content = result.get("content")
    if not isinstance(content, list):
        if content is not None:
            note("treated malformed content as text")
        content = [] if content is None else [content]
    result["content"] = blocks = [block if _is_block(block) else _as_text(block, note) for block in content]
    if "structuredContent" in result and not isinstance(result["structuredContent"], dict):
        structured = result.pop("structuredContent")
        if structured is not None and not any(block["type"] == "text" for block in blocks):
            blocks.append({"type": "text", "text": _dump(structured)})
    if "isError" in result and not isinstance(result["isError"], bool):
        result["isError"] = str(result["isError"]).lower() not in ("none", "0", "", "false", "no")
    if "_meta" in result and not isinstance(result["_meta"], dict):
        del result["_meta"]


_MEMBERS: dict[str, tuple[str, ...]] = {
    "text": ("text",),
    "image": ("data", "mimeType"),
    "audio": ("data", "mimeType"),
    "resource_link": ("uri", "name"),
}


def _is_block(block: Any) -> bool:
    """True for a content block that the SDK accepts; optional members that it might reject are removed."""
    if not isinstance(block, dict):
        return False
    kind = block.get("type")
    if kind == "resource":
        resource = block.get("resource")
        if not isinstance(resource, dict) or not isinstance(resource.get("uri"), str):
            return False
        members = {
            key: value for key in ("uri", "mimeType", "text", "blob") if (value := resource.get(key)) is not None
        }
        if not ("text" in members or "blob" in members) or not all(isinstance(v, str) for v in members.values()):
            return False
        block["resource"] = members
    elif not isinstance(kind, str) or not all(isinstance(block.get(m), str) for m in _MEMBERS.get(kind, ("?",))):
        return False
    elif kind == "resource_link":
        for key in ("mimeType", "description", "title"):
            if key in block and not isinstance(block[key], str):
                del block[key]
        for key in ("size", "icons"):
            block.pop(key, None)
    for key in ("annotations", "_meta"):
        block.pop(key, None)
    return True


def _as_text(block: Any, note: Note) -> dict[str, Any]:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    note("treated a malformed content block as text")
    if isinstance(block, dict) and block.get("type") == "text" and block.get("text") is None:
        return {"type": "text", "text": ""}
    return {"type": "text", "text": _dump(block)}


def _dump(value: Any) -> str:
    try:
        return json_text.text(value)
    except TypeError:
        return str(value)


def slim_message(message: Any) -> int:
    """Cut a large parsed message down to what will be kept, before it is validated.

    A page keeps only the first TOOL_CAP tools, a result only as much text as a model may get. Meant to run in a thread,
    right after parsing. Returns how many tools were left out.
    """
    result = message.get("result") if isinstance(message, dict) else None
    if not isinstance(result, dict):
        return 0
    if isinstance(content := result.get("content"), list):
        result["content"] = [_slim_block(block) for block in content]
        if any(isinstance(b, dict) and b.get("type") == "text" and b.get("text") for b in content):
            result.pop("structuredContent", None)
    tools = result.get("tools")
    if not isinstance(tools, list) or len(tools) <= TOOL_CAP:
        return 0
    result["tools"] = tools[:TOOL_CAP]
    return len(tools) - TOOL_CAP


def _slim_block(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    match block.get("type"), block.get("text"), block.get("data"):
        case "text", str(text), _ if len(text) > MAX_RESULT_BYTES:
            return {"type": "text", "text": bound(text)}
        case "image" | "audio" as kind, _, str(data) if len(data) > MEDIA_CAP:
            return {"type": "text", "text": omitted(kind, str(block.get("mimeType")), data)}
        case _:
            return block
