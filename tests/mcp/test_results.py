"""Content of every kind as text."""

from types import SimpleNamespace as Block
from typing import Any

import pytest
from mcp_types import EmbeddedResource, ImageContent, ResourceLink, TextContent, TextResourceContents

from openai_proxy.secrets import vault
from openai_proxy.tools.mcp.results import MEDIA_CAP, to_result


def text(value: str) -> Block:
    return Block(type="text", text=value)


@pytest.mark.parametrize(
    ("content", "structured", "expected"),
    [
        ([text("a"), text("b")], None, "a\nb"),
        ([], None, "(no output)"),
        ([text("")], None, "(no output)"),
        ([], {"temperature": 20}, '{"temperature":20}'),
        ([], {"result": "plain"}, "plain"),
        ([text("said")], {"ignored": 1}, "said"),
        ([Block(type="image", mime_type="image/png", data="AAAA" * 4096)], None, "[image omitted: image/png, 12 KB]"),
        ([Block(type="audio", mime_type="audio/wav", data="AAAA")], None, "[audio omitted: audio/wav, 3 bytes]"),
        (
            [Block(type="resource_link", name="notes", mime_type="text/plain", uri="memo://1")],
            None,
            "notes (text/plain) memo://1",
        ),
        ([Block(type="resource_link", name="notes", mime_type=None, uri="memo://1")], None, "notes memo://1"),
        ([Block(type="resource", resource=Block(uri="memo://1", text="inside"))], None, "memo://1\ninside"),
        (
            [Block(type="resource", resource=Block(uri="memo://1", blob="AAAA"))],
            None,
            "[resource omitted: memo://1, 3 bytes]",
        ),
        ([Block(type="hologram")], None, "[hologram omitted]"),
    ],
)
def test_kinds(content: list[Any], structured: Any, expected: str) -> None:
    assert to_result(content, structured, False).text == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ('{"success": true, "result": "a:\\n- b"}', "a:\n- b"),
        ('{"result": "plain"}', "plain"),
        ('{"success": false, "result": "no"}', '{"success": false, "result": "no"}'),
        ('{"result": {"a": 1}}', '{"result": {"a": 1}}'),
        ('{"result": "x", "more": 1}', '{"result": "x", "more": 1}'),
        ('{"result": broken', '{"result": broken'),
        ('{"speech": {}, "result": 1}', '{"speech": {}, "result": 1}'),
    ],
)
def test_only_home_assistants_wrapping_is_removed(value: str, expected: str) -> None:
    assert to_result([text(value)], None, False).text == expected


def test_a_failure_stays_a_failure() -> None:
    result = to_result([text("No entities matched the name (given name 'x')")], None, True)
    assert result.is_error
    assert result.text == "No entities matched the name (given name 'x')"


def test_a_client_that_accepts_more_than_text_gets_the_blocks() -> None:
    vault.learn(["secret-in-a-result"])
    content = [
        TextContent(type="text", text="see secret-in-a-result\u202e"),
        ImageContent(type="image", data="AAAA", mime_type="image/png"),
        ImageContent(type="image", data="A" * MEDIA_CAP, mime_type="image/png"),
        ResourceLink(type="resource_link", name="notes", uri="memo://1"),
        EmbeddedResource(type="resource", resource=TextResourceContents(uri="memo://2", text="inside")),
    ]
    result = to_result(content, {"found": ["secret-in-a-result"]}, False, rich=True)
    assert list(result.blocks) == [
        {"type": "text", "text": "see [REDACTED]"},
        {"type": "image", "data": "AAAA", "mimeType": "image/png"},
        {"type": "text", "text": "[image omitted: image/png, 3072 KB]"},
        {"type": "resource_link", "name": "notes", "uri": "memo://1"},
        {"type": "resource", "resource": {"uri": "memo://2", "text": "inside"}},
    ]
    assert result.structured == {"found": ["[REDACTED]"]}
    assert to_result(content, None, False).blocks == ()
    failed = to_result(content[:1], None, True, rich=True)
    assert (failed.is_error, failed.blocks) == (True, ())
