"""A loopback address proves nothing: behind a reverse proxy on this machine, every client has one (contract §3)."""

from collections.abc import Iterator
from typing import Any

import pytest

from openai_proxy.admin.access import Audience
from openai_proxy.admin.routes import ROUTES, AdminRoute
from tests.front.configurations import front_conf, serving
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream

ADMIN = "key-of-the-admin"
GUARDED = [route for route in ROUTES if route.who is Audience.ADMIN]
AT_HOME = [route for route in ROUTES if route.who is Audience.AT_HOME]


@pytest.fixture(scope="module")
def open_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon without any keys."""
    with serving(tmp_path_factory.mktemp("open"), front_conf(upstream), "spliced") as running:
        yield running


@pytest.fixture(scope="module")
def locked_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with an admin key and a client key."""
    conf = front_conf(upstream, admin_api_keys=[ADMIN], groups={"family": {"api_keys": ["key-of-the-family"]}})
    with serving(tmp_path_factory.mktemp("locked"), conf, "spliced") as running:
        yield running


def target(route: AdminRoute) -> str:
    return route.path.replace("{...}", "x").replace("{}", "x")


def ask(daemon: Daemon, method: str, path: str, **options: Any) -> int:
    with daemon.wire() as wire:
        body = b"{}" if method in ("POST", "PUT", "PATCH") else None
        wire.request(method, path, body=body, **options)
        return wire.read_head(method=method).status


def test_exactly_three_routes_answer_a_local_program() -> None:
    assert {(route.method, route.path) for route in AT_HOME} == {
        ("GET", "/admin/status"), ("POST", "/admin/reload"), ("GET", "/metrics"),
    }  # fmt: skip


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: f"{route.method} {route.path}")
def test_other_routes_require_authentication(open_daemon: Daemon, locked_daemon: Daemon, route: AdminRoute) -> None:
    for daemon in (open_daemon, locked_daemon):
        for path in (target(route), target(route) + "/"):
            assert ask(daemon, route.method, path) == 401
        assert ask(daemon, route.method, target(route), headers=[("x-api-key", "guessed")]) == 401
        assert ask(daemon, route.method, target(route), key="key-of-the-family") == 401


@pytest.mark.parametrize("path", ["/admin/v1/chat/completions", "/admin/v1/models", "/admin/v1/files"])
def test_the_api_below_admin_requires_authentication(open_daemon: Daemon, locked_daemon: Daemon, path: str) -> None:
    for daemon in (open_daemon, locked_daemon):
        assert ask(daemon, "POST", path) == 401


@pytest.mark.parametrize("route", AT_HOME, ids=lambda route: route.path)
def test_the_three_routes_answer_local_programs_only(
    open_daemon: Daemon, locked_daemon: Daemon, route: AdminRoute
) -> None:
    assert ask(open_daemon, route.method, route.path) == 200
    assert ask(locked_daemon, route.method, route.path) == 401
    assert ask(locked_daemon, route.method, route.path, key=ADMIN) == 200
    for name in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto", "x-forwarded-anything"):
        assert ask(open_daemon, route.method, route.path, headers=[(name, "127.0.0.1")]) in {401, 403}
    assert ask(open_daemon, route.method, route.path, host="pi.local") in {401, 403}
    assert ask(open_daemon, route.method, route.path, headers=[("Origin", "http://evil.example")]) == 403
    assert ask(open_daemon, route.method, route.path, headers=[("Origin", "http://127.0.0.1:1")]) == 403


def test_health_shows_no_texts_without_authentication(open_daemon: Daemon, locked_daemon: Daemon) -> None:
    for daemon in (open_daemon, locked_daemon):
        assert daemon.get("/health").json()["config"]["problems"] == 0
    shown = locked_daemon.get("/health", key=ADMIN).json()["config"]["problems"]
    assert shown == []
