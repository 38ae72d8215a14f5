"""What a resting daemon has not imported: each of these was found in memory once, and nobody had asked for it."""

import os
import subprocess
import sys
from pathlib import Path

PROBE = """
import sys
from openai_proxy.cli import lean
lean.prepare()
import openai_proxy.cli.serve
import openai_proxy.daemon
found = [name for name in sys.argv[1].split() if name in sys.modules]
found += [name for name in sys.modules if name.startswith("_sysconfigdata")]  # what Python was built with: 0.2 MB
print(" ".join(found))
"""
HEAVY = (
    "aiohttp.client aiohttp.connector aiohttp.web aiohttp_sse anyio difflib google.genai html.entities httpx2 "
    "http.client "
    "jsonschema limits mcp openai_proxy.agent.loop openai_proxy.tools.mcp.supervisor openai_proxy.upstream.anthropic "
    "prometheus_client re2 simpleeval sqlite3 torch watchfiles.main"
)


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    done = subprocess.run([sys.executable, "-c", PROBE, HEAVY], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == ""


DEFERRED = """
import os
from openai_proxy.cli import lean
lean.prepare()
import html
assert html.escape("<a&'\\">") == "&lt;a&amp;&#x27;&quot;&gt;", html.escape("<a&'\\">")
assert html.escape('"', quote=False) == '"'
import html.parser
class Texts(html.parser.HTMLParser):
    def handle_data(self, data):
        print(data)
Texts().feed("<b>B&uuml;cher</b>")
print(html.unescape("&auml;&#38;"))
import urllib.request
assert isinstance(urllib.request.getproxies(), dict)
assert urllib.request.Request("http://a/").host == "a"
import zoneinfo
print(zoneinfo.ZoneInfo("Europe/Berlin").key, "PYTHONTZPATH" in os.environ)
"""


def test_what_is_put_off_is_whole_for_who_asks_for_it() -> None:
    """Custom tools and loggers run in the same process."""
    done = subprocess.run([sys.executable, "-c", DEFERRED], capture_output=True, text=True, timeout=30)
    assert done.stdout == "Bücher\nä&\nEurope/Berlin False\n", done.stderr


AT_ONCE = """
import sys, threading, types
from openai_proxy.cli import lean
sync = sys.modules["sync"] = types.ModuleType("sync")
sync.begun, sync.go = threading.Event(), threading.Event()
lean._defer("slow", {})
import slow
found = []

def ask():
    try:
        found.append(slow.value)
    except BaseException as error:
        found.append(repr(error))

first, second = threading.Thread(target=ask), threading.Thread(target=ask)
first.start()
assert sync.begun.wait(10)
second.start()
second.join(0.2)  # it has asked and waits, or was refused
sync.go.set()
first.join(10)
second.join(10)
print(found)
"""


def test_two_threads_may_ask_first_at_the_same_time(tmp_path: Path) -> None:
    """As two tools that a model calls in parallel."""
    (tmp_path / "slow.py").write_text("import sync\nsync.begun.set()\nassert sync.go.wait(10)\nvalue = 7\n")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])}
    done = subprocess.run([sys.executable, "-c", AT_ONCE], capture_output=True, text=True, timeout=30, env=env)
    assert done.stdout == "[7, 7]\n", done.stderr


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
