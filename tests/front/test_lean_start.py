"""What a resting daemon has not imported: each of these was found in memory once, and nobody had asked for it."""

import subprocess
import sys

PROBE = """
import sys
from openai_proxy.cli import lean
lean.prepare()
import openai_proxy.cli.serve
import openai_proxy.daemon
found = [name for name in sys.argv[1].split() if name in sys.modules]
print(" ".join(found))
"""
HEAVY = (
    "aiohttp.client aiohttp.connector aiohttp.web aiohttp_sse anyio difflib google.genai httpx2 jsonschema limits mcp "
    "openai_proxy.agent.loop openai_proxy.tools.mcp.supervisor openai_proxy.upstream.anthropic prometheus_client re2 "
    "simpleeval sqlite3 torch watchfiles.main"
)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, HEAVY], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == ""
