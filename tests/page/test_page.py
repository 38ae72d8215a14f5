"""The page in Chromium: every section by role and name, what it does, and how accessible it is.

Needs Node, Chromium and the built page (`make page`); skipped with the reason where one is missing.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from openai_proxy.admin.assets import is_built
from tests.conftest import DaemonFactory
from tests.mcp.npm import installed

WALK = Path(__file__).with_name("walk.mjs")
HOUSE = {"connections": {"offline": {"api_type": "echo"}}, "routing": {"fast": "offline.echo"}}
MODEL = "name: augmented/home\nupstream_model: echo\ntools: [calculator]\n"


def missing() -> str | None:
    """What this machine lacks."""
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
    if (lack := missing()) is not None:
        pytest.skip(lack)
    modules = installed("page")
    if modules is None:
        pytest.skip("playwright-core cannot be installed from here")
    daemon = make_daemon(HOUSE, files={"models/home.yaml": MODEL})
    login = daemon.control("POST", "/admin/ui").json()["path"]
    base = f"http://127.0.0.1:{daemon.port}"
    command = ["node", str(WALK), str(modules), str(browser()), base, login]
    if (folder := os.environ.get("PAGE_SHOTS")) is not None:
        command.append(folder)
    done = subprocess.run(command, capture_output=True, text=True, timeout=360)
    steps = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    wrong = [f"{step['step']}: {step['error']}" for step in steps if not step["ok"]]
    assert steps, done.stderr[-3000:]
    assert not wrong, "\n".join(wrong)
    assert len(steps) >= 20, done.stderr[-3000:]
