"""The cost of the page in a real browser: `python -m tests.page.figures` prints one line per figure.

First paint with a cold cache from loopback, what is loaded for it, the size of the compressed page, late frames while
sixty events arrive per second, and the cost of an open page for the daemon in processor time and memory.
"""

import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from openai_proxy.admin.page_build import DIST
from tests.harness.daemon import Daemon
from tests.mcp.npm import installed
from tests.page.test_page import CONFIGURATION, browser, login_of, missing

SECONDS = 10


def compressed() -> int:
    """Bytes of the whole page, as sent to a browser that accepts gzip."""
    found = (path for path in DIST.rglob("*") if path.is_file() and path.suffix != ".gz" and path.name != ".sources")
    return sum(len(gzip.compress(path.read_bytes(), 9)) for path in found)


class Walk:
    """The browser's side, which prints its steps and waits for signals to continue."""

    def __init__(self, modules: Path, base: str, login: str) -> None:
        script = Path(__file__).with_name("figures.mjs")
        command = ["node", str(script), str(modules), str(browser()), base, login, str(SECONDS)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def next(self) -> dict[str, Any]:
        """The next line."""
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def go_on(self) -> None:
        """Let it continue."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> None:
        """Wait for its end."""
        self.go_on()
        try:
            self._process.wait(30)
        finally:
            self._process.kill()


def cost(daemon: Daemon, seconds: float = SECONDS) -> tuple[float, int]:
    """The daemon's share of a core, in percent, and its resident bytes."""
    process = psutil.Process(daemon.process.pid)
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(seconds)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    return 100 * used / (time.monotonic() - began), daemon.rss()


def events(daemon: Daemon, over: threading.Event) -> None:
    """Thirty requests a second, each of which begins and ends."""
    body = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "hello"}]}).encode()
    with daemon.wire() as wire:
        due = time.monotonic()
        while not over.is_set():
            wire.request("POST", "/v1/chat/completions", body=body)
            assert wire.answer().status == 200
            due += 1 / 30
            time.sleep(max(due - time.monotonic(), 0))


def main() -> int:
    """Print the figures."""
    modules = installed("page")
    if (lack := missing()) is not None or modules is None:
        print(lack or "playwright-core cannot be installed from here", file=sys.stderr)
        return 1
    print(f"the whole page, compressed: {compressed() / 1000:.0f} KB")
    with tempfile.TemporaryDirectory() as folder:
        daemon = Daemon(Path(folder), CONFIGURATION, flags=["--no-request-log"]).start()
        try:
            walk = Walk(modules, f"http://127.0.0.1:{daemon.port}", login_of(daemon))
            print(walk.next())
            walk.next()
            without = cost(daemon)
            walk.go_on()
            walk.next()
            opened = cost(daemon)
            print(f"an open page: {opened[0]:.2f} % of a core (without: {without[0]:.2f} %), "
                  f"{(opened[1] - without[1]) / 1000:.0f} KB more")  # fmt: skip
            walk.go_on()
            print(walk.next())
            over = threading.Event()
            driver = threading.Thread(target=events, args=(daemon, over))
            driver.start()
            walk.go_on()
            print(walk.next())
            over.set()
            driver.join()
            walk.end()
            daemon.stop()
        finally:
            daemon.kill()
    return 0


if __name__ == "__main__":
    sys.exit(main())
