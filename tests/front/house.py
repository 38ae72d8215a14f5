"""The configurations the front door's tests run under, and a daemon that serves one and must leave nothing behind."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.harness.daemon import CANARY, Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

WAYS = {"spliced": [], "plain": ["--no-splice"]}
"""Both ways of serving, held to the same tests: the fast path, and aiohttp alone."""

BRISK = {"connect": 0.4, "first_byte": 0.4, "idle": 0.4}
"""Time limits of a connection that loses patience soon: for providers that never answer, and for nothing else.

On a busy machine an answer may take longer than this, and what a test then sees is the limit, not what it is about.
"""

IDLE = {"connect": 2, "first_byte": 60, "idle": 0.4}
"""Waits for the answer, but not for more of it: for answers that stall. Their beginning must come in one write."""

PACED = {"connect": 2, "first_byte": 1.5, "idle": 1.5}
"""For what must not be taken for silence: longer than the limit as a whole, with nothing in it nearly as long."""


def connection(url: str, **more: Any) -> dict[str, Any]:
    """One connection that holds the canary key. Not retried and patient, unless told otherwise."""
    timeout = {"connect": 2, "first_byte": 60, "idle": 60}
    return {"api_type": "openai", "api_base": url, "api_key": CANARY, "max_retries": 0, "timeout": timeout, **more}


def front_conf(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """A house with a `main` connection, three of little patience and a `claude` one; `more` may add `connections`."""
    connections = {
        "main": connection(upstream.url),
        "brisk": connection(upstream.url, timeout=BRISK),
        "idle": connection(upstream.url, timeout=IDLE),
        "paced": connection(upstream.url, timeout=PACED),
        "claude": connection(upstream.url.removesuffix("/v1"), api_type="anthropic"),
    }
    return {"connections": connections | more.pop("connections", {}), "default_connection": "main", **more}


def running_requests(daemon: Daemon) -> list[Any]:
    """What the daemon itself says is still running; the question itself is not counted."""
    requests = daemon.get("/admin/status").json()["requests"]
    return [request for request in requests if request["model"] is not None]


def check_nothing_left(daemon: Daemon) -> None:
    """After its clients have left: no connection, no request that runs, no child."""
    daemon.close_wires()
    status = daemon.get("/admin/status")
    if status.status == 200:  # a house with admin keys does not show it
        eventually(lambda: running_requests(daemon) == [], "no request is listed as running")
    daemon.assert_nothing_leaked()


@contextlib.contextmanager
def serving(root: Path, conf: Mapping[str, Any], way: str, **options: Any) -> Iterator[Daemon]:
    """A daemon on `conf`. At the end: no client connection, no child, exit code 0, nothing to complain about."""
    daemon = Daemon(root, conf, flags=WAYS[way], **options).start()
    try:
        yield daemon
        check_nothing_left(daemon)
        daemon.stop()
    finally:
        daemon.kill()
