"""The page in Chromium: every section by role and name, what it does, and how accessible it is.

Needs Node, Chromium and the built page (`make page`); skipped with the reason if one is missing.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from openai_proxy.admin.assets import is_built
from tests.augmented.talk import asks, says
from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.mcp.npm import installed
from tests.mcp.oauth_server import oauth_server

ADMIN_KEY = "sk-admin-of-the-page"
COMPLETIONS = [
    ("proxy.yaml", "wyo", "wyoming"),
    ("models/tooled.yaml", "dead", "deadline"),
    ("tools/weather.yaml", "stdi", "stdin"),
]
"""File, what is typed, and what is offered."""
CONFIGURATION = {"connections": {"offline": {"api_type": "echo"}}, "routing": {"fast": "offline.echo"}}
MODEL = "name: augmented/home\nupstream_model: echo\ntools: [calculator]\n"


def missing() -> str | None:
    """What is missing on this machine."""
    if shutil.which("node") is None:
        return "Node is not installed"
    if browser() is None:
        return "Chromium is not installed"
    return None if is_built() else "the page is not built: make page"


def browser() -> str | None:
    """Where Chromium is."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_walk_through_the_page(make_daemon: DaemonFactory) -> None:
    modules = modules_or_skip()
    daemon = make_daemon(CONFIGURATION, files={"models/home.yaml": MODEL})
    more = [folder] if (folder := os.environ.get("PAGE_SHOTS")) is not None else []
    assert len(walk("walk.mjs", modules, f"http://127.0.0.1:{daemon.port}", login_of(daemon), *more)) >= 20


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_difficult_cases(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    modules = modules_or_skip()
    turns = upstream.rounds(
        asks(("c1", "calculator", '{"expression":"6*7"}'), stream=True),
        *(says(text, stream=True) for text in ("It is 42.", "It is still 42.", "It is 42 for good.")),
    )
    with oauth_server() as oauth:
        files = {
            "models/tooled.yaml": f"name: augmented/tooled\nupstream_model: {turns.model}\ntools: [calculator]\n",
            "mcp/servers.yaml": json.dumps({"servers": {"notes": {"url": oauth.url}}}),
        }
        conf = {
            "connections": {"offline": {"api_type": "echo"}, "scripted": {"api_base": upstream.url}},
            "default_connection": "scripted",
            "routing": {"echo": "offline.echo"},
            "groups": {"family": {"api_keys": ["sk-family-key"]}},
            "admin_api_keys": [ADMIN_KEY],
        }
        daemon = make_daemon(conf, files=files, start=False)
        many_requests(daemon.logs_dir)
        long_conversation(daemon.logs_dir)
        half_a_log(daemon.logs_dir)
        daemon.start()
        asked = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "asked by the family"}]}).encode()
        assert daemon.post("/v1/chat/completions", asked, key="sk-family-key").status == 200
        facts = {
            "port": daemon.port,
            "admin_key": ADMIN_KEY,
            "logins": [login_of(daemon) for _ in range(3)],
            "model_file": str(daemon.conf_dir / "models" / "tooled.yaml"),
            "oauth_origin": oauth.origin,
            "completions": COMPLETIONS,
        }
        assert len(walk("hard.mjs", modules, json.dumps(facts))) == 13
    asked_with = [body.get("temperature") for body in turns.bodies()]
    assert asked_with == [0.25, 0.25, 0.25, 0.75]


def modules_or_skip() -> Path:
    """The npm packages of the walks; skips where anything is missing."""
    if (lack := missing()) is not None:
        pytest.skip(lack)
    modules = installed("page")
    if modules is None:
        pytest.skip("playwright-core cannot be installed from here")
    return modules


def walk(script: str, modules: Path, *more: str) -> list[dict[str, Any]]:
    """Run a walk; returns its steps, all of them successful."""
    command = ["node", str(Path(__file__).with_name(script)), str(modules), str(browser()), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=360)
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    wrong = [f"{step['step']}: {step['error']}" for step in steps if not step["ok"]]
    assert steps, done.stderr[-3000:]
    assert not wrong, "\n".join(wrong)
    return steps


def login_of(daemon: Daemon) -> str:
    """A path that signs in once."""
    return str(daemon.control("POST", "/admin/ui").json()["path"])


def write_log(folder: Path, name: str, lines: Iterable[dict[str, Any]], last: str = "") -> None:
    """A chat log of conversation `name`, from a minute ago on; `last` is appended after its last line."""
    begun = datetime.now(UTC) - timedelta(hours=1)
    with (folder / f"{name}.jsonl").open("w") as out:
        for number, line in enumerate(lines):
            stamp = (begun + timedelta(milliseconds=10 * number)).isoformat().replace("+00:00", "Z")
            kind, *rest = line.items()
            about = {"ts": stamp, "conversation_id": name.partition("_")[2], "model": name.partition("_")[0]}
            out.write(json.dumps(dict([kind]) | about | dict(rest)) + "\n")
        out.write(last)


def many_requests(folder: Path) -> None:
    """Ten thousand small requests."""

    def lines() -> Iterator[dict[str, Any]]:
        for number in range(10_000):
            asked = [{"role": "user", "content": f"number {number}"}]
            yield {"type": "request", "request_id": f"req_many_{number}", "messages": asked, "stream": False}
            yield {"type": "response", "request_id": f"req_many_{number}", "content": "yes", "duration_ms": 5.0}

    write_log(folder, "busy_many", lines())


def long_conversation(folder: Path) -> None:
    """Ten megabytes in 400 turns, each of which repeats the previous history."""

    def lines() -> Iterator[dict[str, Any]]:
        for number in range(400):
            asked = [{"role": "user", "content": f"turn {number} of the long one " + "word " * 2500}]
            yield {"type": "request", "request_id": f"req_long_{number}", "messages": asked, "stream": False}
            said = f"answer {number} " + ("<b>much</b> " * (100_000 if number == 398 else 1000))
            yield {"type": "response", "request_id": f"req_long_{number}", "content": said, "finish_reason": "stop"}

    write_log(folder, "talk_long", lines())
    assert (folder / "talk_long.jsonl").stat().st_size > 10_000_000


def half_a_log(folder: Path) -> None:
    """A log whose last line was only half written."""
    asked = [{"role": "user", "content": "before the power went"}]
    lines = [
        {"type": "request", "request_id": "req_half_1", "messages": asked, "stream": False},
        {"type": "response", "request_id": "req_half_1", "content": "This much was said", "finish_reason": "stop"},
    ]
    write_log(
        folder, "talk_half", lines, '{"type":"request","ts":"2026-11-29T15:00:00Z","request_id":"req_half_2","mess'
    )
