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


CONNECT = """
import asyncio, socket, sys, uvloop
from openai_proxy.upstream.origin import Origin
from openai_proxy.upstream.pool import Pool
from openai_proxy.upstream.watch import Watch

async def main():
    loop = asyncio.get_running_loop()
    with socket.create_server((b"127.0.0.1", 0)) as server:
        for host in ("127.0.0.1", "localhost"):
            pool = Pool("p", Origin.parse(f"http://{host}:{server.getsockname()[1]}/v1"), Watch(loop), loop)
            await pool.connect(5)
            pool.close()
    print("encodings.idna" in sys.modules)

uvloop.run(main())
"""


def test_connecting_to_a_provider_imports_no_codec_for_international_names() -> None:
    done = subprocess.run([sys.executable, "-c", CONNECT], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "False"
