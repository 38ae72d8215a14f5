"""Tool definitions: hashed, compared, held back."""

from openai_proxy.tools.mcp.definitions import DESCRIPTION_CAP, Change, ToolDefinition, compare, hold_back


def tool(name: str, description: str = "", **schema: object) -> ToolDefinition:
    return ToolDefinition.of(name, description, {"type": "object", **schema})


def listing(*tools: ToolDefinition) -> dict[str, ToolDefinition]:
    return {one.name: one for one in tools}


def test_a_digest_covers_name_description_and_schema_but_not_their_order() -> None:
    assert tool("a", x=1, y=2).digest == tool("a", y=2, x=1).digest
    assert len({tool("a").digest, tool("b").digest, tool("a", "d").digest, tool("a", x=1).digest}) == 4


def test_descriptions_lose_hidden_characters_and_are_capped() -> None:
    assert tool("a", "do\u202e this\U000e0041\u200b now").description == "do this now"
    assert len(tool("a", "x" * 100_000).description) == DESCRIPTION_CAP


def test_changes_are_named() -> None:
    old, new = (
        listing(tool("same"), tool("gone"), tool("other")),
        listing(tool("same"), tool("new"), tool("other", "x")),
    )
    assert compare(old, new) == Change(added=("new",), removed=("gone",), changed=("other",))
    assert not compare(old, dict(old))


def test_only_redefined_tools_are_held_back() -> None:
    old, new = listing(tool("a", "good"), tool("gone")), listing(tool("a", "evil"), tool("new"))
    kept, held = hold_back(old, new)
    assert held == ("a",)
    assert kept["a"].description == "good"
    assert set(kept) == {"a", "new"}
