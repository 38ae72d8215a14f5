"""Modules that an idle daemon must not import: each of these was once found in memory without being needed."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

CONF = """
connections:
  one: {{api_type: openai, api_base: "{url}", api_key: sk-upstream-0001}}
  two: {{api_type: openai, api_base: "{url}", api_key: sk-upstream-0002}}
default_connection: one
routing:
  "gpt*": "two.*"
  "fast": ["one.fast", "two.fast"]
groups:
  family: {{api_keys: [sk-family-00000001], limits: {{requests_per_minute: 600}}}}
"""
OTHERS = """
    aiohttp.client aiohttp.connector aiohttp.web aiohttp_sse anyio attr.validators bz2 calendar difflib
    email._header_value_parser genai_prices gettext google.genai html.entities http.client httpx2 jsonschema locale lzma
    mcp prometheus_client pydantic.networks re2 redis ruamel.yaml.emitter ruamel.yaml.main shutil simpleeval sqlite3
    tempfile torch watchfiles.main wyoming zipfile
"""
OURS = """
    admin.call admin.routes agent auth.budgets auth.shared_budgets auth.validators config.diff config.model_file
    config.remedies config.servers config.skills config.tool_entries decision.explain decision.visible
    dialects.chat.chunks dialects.chat.read_answer dialects.gemini dialects.messages dialects.model_lists
    dialects.ollama dialects.event_reader dialects.responses dialects.sse gateway pipeline.answer_text
    pipeline.augmented pipeline.models pipeline.realtime pipeline.responses pipeline.stored pipeline.translated
    pipeline.uploads prompt protocols.large_json records.counting.exposition records.custom_loggers.logger_threads
    runtime.augmented_models runtime.spending store.redis_link store.responses telemetry tools
    transforms.commands.builtin transforms.speech upstream.anthropic upstream.answers upstream.echo upstream.google
    upstream.inprocess upstream.local upstream.ollama upstream.translating upstream.translator upstream.tunnel
    upstream.wake wyoming.session
"""
"""Modules of openai_proxy, with everything below them."""


def test_an_idle_daemon_has_imported_only_what_its_configuration_needs(
    make_daemon: DaemonFactory, upstream: Upstream
) -> None:
    daemon = make_daemon(CONF.format(url=upstream.url), env={"PYTHONPROFILEIMPORTTIME": "1"})
    lists = daemon.state_dir / "models.json"
    eventually(
        lambda: lists.exists() and {"one", "two"} <= set(re.findall(r"\w+", lists.read_text())),
        "both model lists are stored",
    )
    loaded = imported(daemon)
    assert "openai_proxy.daemon" in loaded
    unwanted = {*OTHERS.split(), *(f"openai_proxy.{name}" for name in OURS.split())}
    assert sorted(name for name in loaded if _and_above(name) & unwanted or name.startswith("_sysconfigdata")) == []


def test_the_code_of_a_turn_is_preloaded(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    model_file = {"models/house.yaml": "name: augmented/house\nupstream_model: fast\n"}
    daemon = make_daemon(CONF.format(url=upstream.url), files=model_file, env={"PYTHONPROFILEIMPORTTIME": "1"})
    eventually(
        lambda: "openai_proxy.pipeline.augmented" in imported(daemon), "the module is imported without a request"
    )


def imported(daemon: Daemon) -> set[str]:
    """The modules `daemon` has imported so far."""
    lines = daemon.stderr.splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def _and_above(name: str) -> set[str]:
    parts = name.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts) + 1)}


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
import email
from email import policy
policy.default.header_factory.map_to_type("x-number", policy.default.header_factory.registry["subject"])
message = email.message_from_string("From: Ann <ann@example.org>\\nX-Number: 7\\n\\nText", policy=policy.default)
print(message["from"].addresses[0].username, message["x-number"], policy.default.header_factory["date"].__name__)
from attrs import define, field, validators
@define
class Checked:
    number: int = field(validator=validators.instance_of(int))
try:
    Checked("7")
except TypeError:
    print(attrs_knows := Checked(7).number)
import attr
assert attr.validators.instance_of is validators.instance_of
import calendar, idna, mimetypes
print(calendar.timegm((1970, 1, 2, 0, 0, 0)), idna.encode("bücher.de").decode(), mimetypes.guess_type("a.png")[0])
import io
from ruamel.yaml import YAML
print(YAML().load("a: [1, 2]")["a"][1])
import typing_extensions, pydantic
class Point(typing_extensions.TypedDict, total=False):
    x: int
adapter = pydantic.TypeAdapter(Point)
print(adapter.validate_python({"x": "1"}), adapter.json_schema()["properties"]["x"]["type"])
"""


WHOLE = """\
Bücher
ä&
Europe/Berlin False
ann 7 _UniqueDateHeader
7
86400 xn--bcher-kva.de image/png
2
{'x': 1} integer
"""


def test_deferred_modules_are_complete_when_used() -> None:
    """Custom tools and loggers run in the same process and may use the complete modules."""
    done = subprocess.run([sys.executable, "-c", DEFERRED], capture_output=True, text=True, timeout=30)
    assert done.stdout == WHOLE, done.stderr


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


def test_two_threads_may_import_at_the_same_time(tmp_path: Path) -> None:
    """Two tools that a model calls in parallel may do so."""
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
