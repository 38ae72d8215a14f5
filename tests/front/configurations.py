"""The configurations of these tests, and a daemon that must leave no connection, request or child behind."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.harness.daemon import CANARY, Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

WAYS = {"spliced": [], "plain": ["--no-splice"]}
"""With and without the fast path, both held to the same tests."""

BRISK = {"connect": 0.4, "first_byte": 0.4, "idle": 0.4}
"""Short time limits of a connection: for providers that never answer, and for nothing else.

On a busy machine an answer may take longer than this, and a test would then see the limit instead of its subject.
"""

IDLE = {"connect": 30, "first_byte": 60, "idle": 0.4}
"""For answers that stall: a long limit for their beginning (to be sent in one write), and a short one for pauses."""

PACED = {"connect": 30, "first_byte": 1.5, "idle": 1.5}
"""For answers that take longer than the limit in total but pause far shorter: they must not count as silent."""


def connection(url: str, **more: Any) -> dict[str, Any]:
    """One connection with the canary key. By default without retries and with long timeouts."""
    timeout = {"connect": 30, "first_byte": 60, "idle": 60}
    return {"api_type": "openai", "api_base": url, "api_key": CANARY, "max_retries": 0, "timeout": timeout, **more}


def front_conf(upstream: Upstream, **more: Any) -> dict[str, Any]:
    """Connections: `main`, three with short timeouts and a `claude` one; `more` may add further `connections`."""
    connections = {
        "main": connection(upstream.url),
        "brisk": connection(upstream.url, timeout=BRISK),
        "idle": connection(upstream.url, timeout=IDLE),
        "paced": connection(upstream.url, timeout=PACED),
        "claude": connection(upstream.url.removesuffix("/v1"), api_type="anthropic"),
    }
    return {"connections": connections | more.pop("connections", {}), "default_connection": "main", **more}


def running_requests(daemon: Daemon) -> list[Any]:
    """The requests that the daemon reports as running, without this one."""
    requests = daemon.get("/admin/status").json()["requests"]
    return [request for request in requests if request["model"] is not None]


def check_nothing_left(daemon: Daemon) -> None:
    """Check that no connection, no running request and no child is left after the clients have disconnected."""
    daemon.close_wires()
    status = daemon.get("/admin/status")
    if status.status == 200:  # with admin keys, the status is refused
        eventually(lambda: running_requests(daemon) == [], "no request is listed as running")
    daemon.assert_nothing_leaked()


@contextlib.contextmanager
def serving(root: Path, conf: Mapping[str, Any], way: str, **options: Any) -> Iterator[Daemon]:
    """A daemon with `conf`. At the end: no client connection, no child, exit code 0, no complaints."""
    daemon = Daemon(root, conf, flags=WAYS[way], **options).start()
    try:
        yield daemon
        check_nothing_left(daemon)
        daemon.stop()
    finally:
        daemon.kill()
