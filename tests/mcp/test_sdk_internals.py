"""The SDK's undocumented parts in use are unchanged, and used in one file only."""

import ast
import importlib.metadata
import inspect
from pathlib import Path

import openai_proxy
from openai_proxy.tools.mcp import sdk_internals

PACKAGE = Path(openai_proxy.__file__).parent


def test_the_installed_sdk_is_the_reviewed_version() -> None:
    installed = importlib.metadata.version("mcp")
    assert installed == sdk_internals.READ_AGAINST, (
        f"mcp is {installed} now: read again what sdk_internals.py lists in that version, run tests/mcp and "
        "tests/gateway, then change READ_AGAINST"
    )


def test_the_used_parts_exist() -> None:
    from mcp import ClientSession
    from mcp.client.streamable_http import streamable_http_client

    assert "elicitation_callback" in inspect.signature(ClientSession.__init__).parameters
    assert "self._elicitation_callback" in inspect.getsource(ClientSession)
    assert {"http_client", "max_sse_event_size"} <= inspect.signature(streamable_http_client).parameters.keys()
    for stream in (sdk_internals.ReadStream, sdk_internals.WriteStream):
        assert "aclose" in vars(stream)


def test_no_other_file_uses_the_sdks_internals() -> None:
    offenders = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {name}"
        for path in PACKAGE.rglob("*.py")
        if path.name != "sdk_internals.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _names(node)
        if name.split(".")[0] in ("mcp", "mcp_types") and any(part.startswith("_") for part in name.split("."))
    ]
    assert not offenders


def _names(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [f"{node.module}.{alias.name}" for alias in node.names]
