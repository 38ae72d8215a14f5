"""Contract §11: what answers cost, where the price comes from, and who pays; an unknown cost is never 0."""

import json
import signal
import sqlite3
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Answer

KEY = "sk-anna-0123456789"


def usage_answer(prompt: int, answer: int, **usage: Any) -> bytes:
    """A chat answer with this usage."""
    choice = {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
    reported = {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer, **usage}
    return json.dumps(
        {"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], "usage": reported}
    ).encode()


def ask(daemon: Daemon, model: str, *fields: tuple[str, str], **more: Any) -> Answer:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    headers = [("Authorization", f"Bearer {KEY}"), *fields]
    return daemon.post("/v1/chat/completions", json.dumps(body).encode(), headers=headers)


def rows(daemon: Daemon, by: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.control("GET", f"/admin/usage?by={by}").json()["rows"]
    return found


@pytest.fixture
def daemon(make_daemon: DaemonFactory, upstream: Upstream) -> Daemon:
    conf = {
        "connections": {"main": connection(upstream.url)},
        "groups": {"family": {"api_keys": [KEY]}},
        "prices": {"listed*": {"input": 2, "output": 4}},
    }
    return make_daemon(conf)


def test_reported_listed_bundled_and_unknown_costs(daemon: Daemon, upstream: Upstream) -> None:
    reported = upstream.play(plain(usage_answer(10, 10, cost=0.75)), name="listed").model
    listed = upstream.play(plain(usage_answer(1_000_000, 500_000)), name="listed").model
    unknown = upstream.play(plain(usage_answer(10, 10)), name="nobodys").model
    for model in (reported, listed, "gpt-4o", unknown):
        assert ask(daemon, model).status == 200
    eventually(lambda: len(rows(daemon, "model")) == 4, "all models are counted")
    costs = {row["model"]: row["cost"] for row in rows(daemon, "model")}
    assert costs[reported] == 0.75
    assert costs[listed] == 4.0
    assert costs["gpt-4o"] == pytest.approx(3 * 2.5e-6 + 2 * 10e-6), "gpt-4o has its bundled price"
    assert costs[unknown] is None
    (total,) = rows(daemon, "group")
    assert total["cost"] == pytest.approx(4.75 + costs["gpt-4o"])
    assert total["unpriced_requests"] == 1
    (group,) = daemon.control("GET", "/admin/groups").json()["groups"]
    assert group["keys"][0]["month"]["cost"] == pytest.approx(total["cost"])
    metrics = daemon.control("GET", "/metrics").body.decode()
    assert f'openai_proxy_cost_total{{connection="main",currency="USD",model="{reported}"}} 0.75' in metrics
    assert f'openai_proxy_unpriced_requests{{connection="main",model="{unknown}"}} 1.0' in metrics
    eventually(lambda: daemon.children() == [], "the child that read the prices has ended")


def test_without_bundled_prices_and_in_another_currency(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    listed = upstream.play(plain(usage_answer(1_000_000, 0)), name="listed").model
    conf = {"connections": {"main": connection(upstream.url)}, "bundled_prices": False, "currency": "EUR",
            "prices": {"listed*": {"input": 2}}}  # fmt: skip
    daemon = make_daemon(conf)
    assert [daemon.chat(model).status for model in (listed, "gpt-4o")] == [200, 200]
    eventually(lambda: len(rows(daemon, "model")) == 2, "both models are counted")
    report = daemon.control("GET", "/admin/usage?by=model").json()
    assert report["currency"] == "EUR"
    assert {row["model"]: row["cost"] for row in report["rows"]} == {listed: 2.0, "gpt-4o": None}


def test_costs_by_caller(daemon: Daemon, upstream: Upstream) -> None:
    assert ask(daemon, "x", user="anna").status == 200
    assert ask(daemon, "x", ("X-OpenWebUI-User-Email", "ben@example.org")).status == 200
    claude = (("X-Claude-Code-Session-Id", "s-1"), ("X-Claude-Code-Agent-Id", "a-1"))
    assert ask(daemon, "x", *claude, metadata={"user_id": "carl"}).status == 200
    eventually(lambda: sum(row["requests"] for row in rows(daemon, "month")) == 3, "all requests are counted")
    found = {(row["user"], row["session"], row["agent"]) for row in rows(daemon, "user,session,agent")}
    assert found == {("anna", "", ""), ("ben@example.org", "", ""), ("carl", "s-1", "a-1")}
    (month,) = rows(daemon, "key,month")
    assert len(month["month"]) == 7


def test_a_translated_answer_keeps_the_cost_reported_by_the_provider(daemon: Daemon, upstream: Upstream) -> None:
    model = upstream.play(plain(usage_answer(10, 10, cost=0.5)), name="told").model
    body = {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    answer = daemon.post("/v1/messages", json.dumps(body).encode(), headers=[("x-api-key", KEY)])
    assert answer.status == 200
    eventually(
        lambda: [row["cost"] for row in rows(daemon, "model")] == [0.5], "the cost is the one reported by the provider"
    )


def test_a_kill_loses_at_most_a_second(daemon: Daemon, upstream: Upstream) -> None:
    model = upstream.play(plain(usage_answer(7, 3)), name="listed").model
    for _ in range(5):
        assert ask(daemon, model).status == 200

    def written() -> int:
        book = sqlite3.connect(f"file:{daemon.state_dir}/usage.sqlite3?mode=ro", uri=True)
        try:
            return int(book.execute("SELECT sum(requests) FROM usage").fetchone()[0] or 0)
        except sqlite3.Error:
            return 0
        finally:
            book.close()

    path = daemon.state_dir / "usage.sqlite3"
    eventually(lambda: path.exists() and written() == 5, "the usage is on disk without a stop")
    daemon.close_wires()
    daemon.signal(signal.SIGKILL)
    daemon.exit_code()
    daemon.start()
    assert [row["requests"] for row in rows(daemon, "day")] == [5]


def test_costs_left_unpriced_at_a_stop_are_priced_later(daemon: Daemon) -> None:
    assert ask(daemon, "gpt-4o").status == 200
    daemon.stop()
    daemon.start()
    assert [row["cost"] for row in rows(daemon, "model")] == [pytest.approx(3 * 2.5e-6 + 2 * 10e-6)]
