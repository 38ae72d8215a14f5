"""Invalid tools and results are repaired, turned into text or dropped, as the SDK's own validation confirms."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import methods

from openai_proxy.tools.mcp.repair import TOOL_CAP, repair_call_result, repair_tool, slim_message
from openai_proxy.tools.mcp.results import MEDIA_CAP

VERSIONS = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(["type", "text", "data", "mimeType", "uri", "name", "resource", "annotations", "_meta", "blob"])
KINDS = st.sampled_from(["text", "image", "audio", "resource", "resource_link", "hologram"])
BLOCK = st.builds(lambda block, kind: {**block, "type": kind}, st.dictionaries(KEYS, JSON, max_size=5), KINDS)
SCHEMA = st.dictionaries(
    st.sampled_from(["type", "properties", "required", "$schema", "anyOf", "description"]),
    JSON | st.just("object"),
    max_size=4,
)
TOOL = st.fixed_dictionaries(
    {"name": JSON | st.just("tool"), "inputSchema": SCHEMA | JSON},
    optional={"description": JSON, "title": JSON, "annotations": JSON, "outputSchema": JSON, "_meta": JSON},
)


def quiet(text: str) -> None:
    """Discards notes."""


def accepted(method: str, result: dict[str, Any]) -> None:
    for version in VERSIONS:
        cacheable = {"ttlMs": 0, "cacheScope": "private"} if method == "tools/list" else {}
        methods.validate_server_result(method, version, {"resultType": "complete", **cacheable, **result})


@given(TOOL | JSON)
def test_a_tool_is_repaired_for_every_revision_or_dropped(tool: Any) -> None:
    repaired = repair_tool(tool, quiet)
    if repaired is not None:
        accepted("tools/list", {"tools": [repaired]})


@given(st.lists(BLOCK | JSON, max_size=4) | JSON, JSON, JSON)
def test_a_result_is_repaired_for_every_revision(content: Any, structured: Any, is_error: Any) -> None:
    result = {"content": content, "structuredContent": structured, "isError": is_error, "_meta": structured}
    repair_call_result(result, quiet)
    accepted("tools/call", result)


def test_a_valid_schema_is_kept_verbatim() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"a": {"oneOf": [{"const": 1}, {"$ref": "#/$defs/b"}]}},
        "$defs": {"b": {"type": "string"}},
        "additionalProperties": False,
        "x-vendor": [1, 2],
    }
    repaired = repair_tool({"name": "t", "inputSchema": schema, "outputSchema": {}}, quiet)
    assert repaired == {"name": "t", "inputSchema": schema}


@pytest.mark.parametrize(
    "schema",
    [[], "object", {"type": "string"}, {"type": "object", "description": "x" * 200_000}],
    ids=["list", "text", "string schema", "too large"],
)
def test_an_invalid_schema_drops_its_tool(schema: Any) -> None:
    notes: list[str] = []
    assert repair_tool({"name": "t", "inputSchema": schema}, notes.append) is None
    assert "'t'" in notes[0]


def test_a_schema_that_is_too_deep_drops_its_tool() -> None:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(200):
        schema = {"type": "object", "properties": {"x": schema}}
    assert repair_tool({"name": "t", "inputSchema": schema}, quiet) is None


def test_nothing_of_a_malformed_result_is_lost() -> None:
    result: dict[str, Any] = {
        "content": [{"type": "image"}, "words", {"type": "text", "text": "good", "annotations": 5}]
    }
    repair_call_result(result, quiet)
    assert [block["text"] for block in result["content"]] == ['{"type":"image"}', "words", "good"]


def test_a_large_message_is_reduced() -> None:
    tools = {"result": {"tools": [{"name": str(number)} for number in range(TOOL_CAP + 10)]}}
    assert slim_message(tools) == 10
    assert len(tools["result"]["tools"]) == TOOL_CAP
    image = {"type": "image", "mimeType": "image/png", "data": "A" * (MEDIA_CAP + 4)}
    icon = {"type": "image", "mimeType": "image/png", "data": "A" * 4096}
    result: dict[str, Any] = {
        "result": {"content": [{"type": "text", "text": "x" * 500_000}, image, icon], "structuredContent": {}}
    }
    slim_message(result)
    text, note, kept = result["result"]["content"]
    assert len(text["text"]) <= 100_000
    assert note["text"] == "[image omitted: image/png, 3072 KB]"
    assert kept == icon
    assert "structuredContent" not in result["result"]
    assert slim_message([1, 2]) == 0
