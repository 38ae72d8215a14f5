"""Latencies, and the parameters of requests, through the admin API."""

import json
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually

ASKED = [{"role": "user", "content": "hello there"}]
PARAMS = {"temperature": 0.25, "max_tokens": 20, "reasoning_effort": "low"}


@pytest.fixture
def configured_daemon(make_daemon: DaemonFactory) -> Daemon:
    return make_daemon({"connections": {"offline": {"api_type": "echo"}}})


def ask(configured_daemon: Daemon, **more: Any) -> str:
    """Send one chat; returns the id of its request."""
    body = json.dumps({"model": "echo", "messages": ASKED, **more}).encode()
    answer = configured_daemon.post("/v1/chat/completions", body)
    assert answer.status == 200
    return str(answer.header("x-request-id"))


@pytest.mark.parametrize("by", ["hour", "day"])
def test_latency_is_reported_at_once_with_the_newest_span_last(configured_daemon: Daemon, by: str) -> None:
    ask(configured_daemon)
    ask(configured_daemon, stream=True)
    rows = configured_daemon.control("GET", f"/admin/latency?since=1d&by={by}").json()["rows"]
    assert sum(row["requests"] for row in rows) == 2
    last = rows[-1]
    assert set(last) == {"at", "requests", "first_p50", "first_p95", "p50", "p95"}
    assert 0 < last["first_p50"] <= last["first_p95"] < 60
    assert 0 < last["p50"] <= last["p95"] < 60
    configured_daemon.stop()
    configured_daemon.start()
    again = configured_daemon.control("GET", "/admin/latency?since=2d&by=day").json()["rows"]
    assert sum(row["requests"] for row in again) == 2, "the latencies were lost at the restart"


@pytest.mark.parametrize("query", ["since=1h", "since=soon", "by=minute"])
def test_an_invalid_span(configured_daemon: Daemon, query: str) -> None:
    check_error(configured_daemon.control("GET", f"/admin/latency?{query}"), 400)


LONG = {"messages": [*ASKED, {"role": "user", "content": "x" * 9000}]}


def logged(configured_daemon: Daemon, name: str) -> dict[str, Any]:
    """A request as the logs report it."""

    def look() -> Any:
        answer = configured_daemon.control("GET", f"/admin/requests/{name}")
        return answer.json() if answer.status == 200 else None

    return dict(eventually(look, "the request is logged"))


@pytest.mark.parametrize("more", [{}, {"stream": True}, LONG])
def test_a_request_is_shown_with_its_parameters(configured_daemon: Daemon, more: dict[str, Any]) -> None:
    with_params = ask(configured_daemon, **PARAMS, response_format={"type": "text"}, **more)
    without = ask(configured_daemon)
    assert logged(configured_daemon, with_params)["params"] == PARAMS
    assert logged(configured_daemon, without)["params"] == {}
