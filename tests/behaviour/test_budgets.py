"""Contract §11: budgets of money, in every API, over sockets, with and without the fast path."""

import contextlib
import json
import signal
import sqlite3
from collections.abc import Iterable
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.front.test_websocket import echoing, knock
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, delta, event, plain, stream
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.websocket import TEXT, frame, take
from tests.harness.wire import Answer

KEY = "sk-anna-0123456789"
BEARER = ("Authorization", f"Bearer {KEY}")
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(params=["spliced", "plain"])
def flags(request: pytest.FixtureRequest) -> list[str]:
    return [] if request.param == "spliced" else ["--no-splice"]


PRICES = {"priced*": {"input": 1000, "output": 10_000}}  # 0.11 for 10 + 10 tokens


def chat(content: str = "fine", **usage: Any) -> bytes:
    """A chat answer whose usage includes its cost."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    told = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20, **usage}
    return plain(json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice],
                             "usage": told}).encode())  # fmt: skip


def conf(upstream: Upstream, **limits: Any) -> dict[str, Any]:
    return {
        "connections": {"main": connection(upstream.url)},
        "groups": {"family": {"api_keys": [KEY, "sk-ben-0123456789"], "limits": limits}},
        "prices": PRICES,
    }


def ask(daemon: Daemon, model: str, *, key: str = KEY, path: str = "/v1/chat/completions", **more: Any) -> Answer:
    body = {"model": model, "messages": MESSAGES, **more}
    return daemon.post(path, json.dumps(body).encode(), headers=[("Authorization", f"Bearer {key}")])


def spent(daemon: Daemon, budget: str = "cost_per_day") -> dict[str, Any]:
    groups = daemon.control("GET", "/admin/groups").json()["groups"]
    found: dict[str, Any] = groups[0]["keys"][0]["budgets"][budget]
    return found


def settled(daemon: Daemon, amount: float) -> None:
    """Wait until this much is spent and nothing is reserved."""

    def is_so() -> bool:
        found = spent(daemon)
        return abs(float(found["spent"]) - amount) < 1e-6 and not found["reserved"]

    eventually(is_so, f"{amount} are spent")


def test_a_spent_budget_is_refused_with_a_reason(
    upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]
) -> None:
    model = upstream.play(chat(), name="priced").model
    daemon = make_daemon(conf(upstream, cost_per_day=0.3, cost_per_month=50), flags=flags)
    first = ask(daemon, model, max_tokens=10)
    assert (first.status, first.header("x-proxy-budget-remaining")) == (200, None)
    settled(daemon, 0.11)
    assert ask(daemon, model, max_tokens=10).status == 200
    settled(daemon, 0.22)
    third = ask(daemon, model, max_tokens=10)
    assert third.status == 200
    settled(daemon, 0.33)
    refused = ask(daemon, model, max_tokens=10)
    error = check_error(refused, 402, "budget_exceeded")
    assert error["type"] == "insufficient_quota"
    assert error["message"] == "The budget of 0.3 USD for today is spent. It starts again tomorrow."
    assert 1 <= int(refused.header("retry-after") or 0) <= 90_000
    assert refused.header("x-proxy-budget-remaining") == "0"
    assert ask(daemon, model, key="sk-ben-0123456789", max_tokens=10).status == 200, "each key has its own budget"
    assert daemon.get("/v1/models", headers=[BEARER]).status == 200, (
        "a request that costs nothing is answered although the budget is spent"
    )
    daemon.stop()
    daemon.start()
    assert ask(daemon, model, max_tokens=10).status == 402, "the budget is still spent after a restart"


def test_the_rest_is_reported_once_four_fifths_are_spent(
    upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]
) -> None:
    model = upstream.play(chat(cost=0.85), name="told").model
    daemon = make_daemon(conf(upstream, cost_per_month=1), flags=flags)
    assert ask(daemon, model).header("x-proxy-budget-remaining") is None
    eventually(lambda: spent(daemon, "cost_per_month")["spent"] == 0.85, "the cost is counted")
    assert ask(daemon, model).header("x-proxy-budget-remaining") == "0.15"


def test_concurrent_requests_do_not_spend_the_same_money(
    upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]
) -> None:
    gate = upstream.gate()
    slow = upstream.play(gate, chat(), name="priced")
    daemon = make_daemon(conf(upstream, cost_per_day=0.15), flags=flags)
    body = json.dumps({"model": slow.model, "messages": MESSAGES, "max_tokens": 100}).encode()
    with daemon.wire() as first:
        first.request("POST", "/v1/chat/completions", body=body, headers=[BEARER])
        slow.begun()
        refused = ask(daemon, slow.model)
        assert refused.status == 402
        assert "is reserved" in refused.json()["error"]["message"]
        assert refused.header("retry-after") == "2"
        gate.open()
        assert first.answer().status == 200, "a request that has begun is completed"
    settled(daemon, 0.11)


def test_failures_and_disconnects_release_their_reservation(
    upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]
) -> None:
    broken = upstream.play(plain(b'{"error": {"message": "no"}}', "400 Bad Request"), name="priced").model
    never = upstream.play(upstream.gate(), name="priced")
    daemon = make_daemon(conf(upstream, cost_per_day=5), flags=flags)
    assert ask(daemon, broken).status == 400
    settled(daemon, 0)
    with daemon.wire() as gone:
        body = json.dumps({"model": never.model, "messages": MESSAGES, "max_tokens": 10}).encode()
        gone.request("POST", "/v1/chat/completions", body=body, headers=[BEARER])
        never.begun()
        eventually(lambda: spent(daemon)["reserved"] > 0, "the cost is reserved")
    settled(daemon, 0)


def test_streams_are_charged_and_never_cut_off_by_a_budget(
    upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]
) -> None:
    usage = event({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [],
                   "usage": {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}})  # fmt: skip
    model = upstream.play(stream(delta("all of it"), delta("", finish="stop"), usage, DONE), name="priced").model
    daemon = make_daemon(conf(upstream, cost_per_day=0.05), flags=flags)
    answer = ask(daemon, model, stream=True)
    assert answer.status == 200
    assert answer.body.endswith(b"data: [DONE]\n\n")
    settled(daemon, 0.11)
    assert ask(daemon, model, stream=True).status == 402


AUGMENTED = """
name: augmented/home
upstream_model: {model}
tools: [calculator]
"""


def test_every_round_of_an_augmented_model_is_charged(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    call = {"id": "t1", "type": "function", "function": {"name": "calculator", "arguments": '{"expression": "1+1"}'}}
    choice = {"index": 0, "message": {"role": "assistant", "content": None, "tool_calls": [call]},
              "finish_reason": "tool_calls"}  # fmt: skip
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    calling = plain(json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice],
                                "usage": usage}).encode())  # fmt: skip
    rounds = upstream.rounds(calling, chat("two"), name="priced")
    daemon = make_daemon(
        conf(upstream, cost_per_day=0.2), files={"models/home.yaml": AUGMENTED.format(model=rounds.model)}
    )
    assert ask(daemon, "augmented/home").status == 200
    settled(daemon, 0.22)
    assert ask(daemon, "augmented/home").status == 402


def doors(model: str) -> Iterable[tuple[str, dict[str, Any]]]:
    """A request in every API."""
    contents = [{"role": "user", "parts": [{"text": "hi"}]}]
    yield "/v1/messages", {"model": model, "max_tokens": 9, "messages": MESSAGES}
    yield "/v1/responses", {"model": model, "input": "hi"}
    yield "/api/chat", {"model": model, "messages": MESSAGES, "stream": False}
    yield f"/v1beta/models/{model}:generateContent", {"contents": contents}
    yield "/v1/embeddings", {"model": model, "input": "hi"}
    yield "/v1/images/generations", {"model": model, "prompt": "hi"}
    yield "/v1/audio/speech", {"model": model, "input": "hi"}


def test_the_refusal_has_the_shape_of_each_api(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    model = upstream.play(chat(cost=2.0), name="told").model
    daemon = make_daemon(conf(upstream, cost_per_day=1))
    assert ask(daemon, model).status == 200
    settled(daemon, 2.0)
    sentence = "The budget of 1 USD for today is spent. It starts again tomorrow."
    for path, body in doors(model):
        answer = daemon.post(path, json.dumps(body).encode(), headers=[BEARER])
        assert (answer.status, answer.header("x-proxy-error")) == (402, "budget_exceeded"), path
        assert answer.header("retry-after"), path
        document = answer.json()
        if path == "/v1/messages":
            assert document["type"] == "error"
            assert document["error"]["type"] == "billing_error"
        text = document["error"] if isinstance(document["error"], str) else document["error"]["message"]
        assert text == sentence, path


def test_translated_answers_embeddings_and_images_are_charged(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    usage = {"prompt_tokens": 10, "total_tokens": 10}
    vectors = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}], "model": "m"}
    embedding = upstream.play(plain(json.dumps({**vectors, "usage": usage}).encode()), name="priced").model
    drawn = {
        "created": 1,
        "data": [{"b64_json": ""}],
        "usage": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20},
    }
    image = upstream.play(plain(json.dumps(drawn).encode()), name="priced").model
    spoken = upstream.play(chat(), name="priced").model
    daemon = make_daemon(conf(upstream, cost_per_day=9))
    body = json.dumps({"model": embedding, "input": "hi"}).encode()
    assert daemon.post("/v1/embeddings", body, headers=[BEARER]).status == 200
    settled(daemon, 0.01)
    body = json.dumps({"model": image, "prompt": "hi"}).encode()
    assert daemon.post("/v1/images/generations", body, headers=[BEARER]).status == 200
    settled(daemon, 0.12)
    body = json.dumps({"model": spoken, "max_tokens": 9, "messages": MESSAGES}).encode()
    assert daemon.post("/v1/messages", body, headers=[BEARER]).status == 200
    settled(daemon, 0.23)
    body = json.dumps({"model": spoken, "messages": MESSAGES, "stream": True}).encode()
    assert daemon.post("/api/chat", body, headers=[BEARER]).status == 200
    settled(daemon, 0.34)


def test_speech_is_charged_by_its_text_or_its_reported_usage(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    sound = plain(b"ID3 sound", content_type="audio/mpeg")
    done = {"type": "speech.audio.done", "usage": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20}}
    streamed = plain(event(done), content_type="text/event-stream")
    by_sound, told = upstream.play(sound, name="priced").model, upstream.play(streamed, name="priced").model
    by_text = upstream.play(sound, name="voice").model
    daemon = make_daemon({**conf(upstream, cost_per_day=0.115), "prices": {**PRICES, "voice*": {"input": 1000}}})

    def say(voice: str) -> int:
        body = json.dumps({"model": voice, "input": "x" * 40, "voice": "alloy"}).encode()
        return daemon.post("/v1/audio/speech", body, headers=[BEARER]).status

    assert say(by_sound) == 200
    eventually(
        lambda: by_sound in daemon.stderr.partition("reports no tokens")[0],
        "the model without a known cost is in the log",
    )
    settled(daemon, 0)
    assert say(by_text) == 200
    settled(daemon, 0.01)
    assert say(told) == 200
    settled(daemon, 0.12)
    assert say(by_text) == 402


def test_each_answer_of_a_realtime_conversation_counts_when_it_is_complete(
    upstream: Upstream, make_daemon: DaemonFactory
) -> None:
    """The conversation may last for hours; when it is over, nothing is counted again."""
    daemon = make_daemon(conf(upstream, cost_per_day=1, tokens_per_day=300))
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15, "input_token_details": {"audio_tokens": 4},
             "output_token_details": {"audio_tokens": 5}}  # fmt: skip
    sentence = json.dumps({"type": "response.done", "response": {"id": "r", "usage": usage}}).encode()
    wire, _ = knock(daemon, echoing(upstream, []), "/v1/realtime?model=priced-voice", key=KEY)
    assert wire.read_head(method="GET").status == 101
    row: dict[str, Any] = {}
    for answers in (1, 2):
        for message in (sentence, b'{"type": "response.done"}', b'"response.done"'):
            wire.send(frame(TEXT, message, masked=True))
            assert take(wire.read_exactly) == (TEXT, message)
        settled(daemon, 0.06 * answers)
        row = daemon.control("GET", "/admin/usage?by=model").json()["rows"][0]
        assert (row["requests"], row["input_tokens"], row["output_tokens"]) == (1, 10 * answers, 5 * answers)
        assert (row["cost"], row["unpriced_requests"]) == (pytest.approx(0.06 * answers), 0)
    for limit, status in (("cost_per_day", 402), ("tokens_per_day", 429)):
        changed = conf(upstream, **{limit: 0.1 if status == 402 else 30})
        daemon.edit_conf(lambda present: present.update(changed))  # noqa: B023
        assert ask(daemon, "priced", max_tokens=5).status == status, f"{limit} counts the conversation"
    eventually(lambda: b"0.12" in _read(daemon, "budgets.json"), "the cost is on disk while the conversation goes on")
    wire.close()
    eventually(lambda: daemon.clients() == 0, "the conversation is over")
    assert daemon.control("GET", "/admin/usage?by=model").json()["rows"] == [row]
    counted = [line for line in daemon.control("GET", "/metrics").body.decode().splitlines() if "priced-voice" in line]
    assert [line.rsplit(" ", 1)[1] for line in counted if "_tokens_total" in line] == ["20.0", "10.0"]


def test_answers_of_an_open_realtime_conversation_stay_charged_after_a_kill(
    upstream: Upstream, make_daemon: DaemonFactory
) -> None:
    daemon = make_daemon(conf(upstream, cost_per_day=1))
    usage = {"input_tokens": 20, "output_tokens": 10}
    wire, _ = knock(daemon, echoing(upstream, []), "/v1/realtime?model=priced-voice", key=KEY)
    assert wire.read_head(method="GET").status == 101
    wire.send(frame(TEXT, json.dumps({"type": "response.done", "response": {"usage": usage}}).encode(), masked=True))
    take(wire.read_exactly)
    eventually(lambda: b"0.12" in _read(daemon, "budgets.json"), "the cost is on disk without a stop")
    eventually(lambda: _stored_tokens(daemon) == 20, "the usage is on disk, too")
    daemon.close_wires()
    daemon.signal(signal.SIGKILL)
    daemon.exit_code()
    daemon.write("proxy.yaml", conf(upstream, cost_per_day=0.1))
    daemon.start()
    assert ask(daemon, "priced", max_tokens=5).status == 402


def _stored_tokens(daemon: Daemon) -> int:
    """The input tokens in the database, read beside the daemon."""
    path = f"file:{daemon.state_dir}/usage.sqlite3?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(path, uri=True)) as usage:
            return int(usage.execute("SELECT coalesce(sum(input), 0) FROM usage").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet
        return 0


def test_an_answer_without_usage_passes_and_is_logged(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    drawn = upstream.play(plain(b'{"created": 1, "data": [{"url": "https://example/1.png"}]}'), name="priced").model
    daemon = make_daemon(conf(upstream, cost_per_day=1))
    body = json.dumps({"model": drawn, "prompt": "hi"}).encode()
    assert {daemon.post("/v1/images/generations", body, headers=[BEARER]).status for _ in range(2)} == {200}
    eventually(lambda: drawn in daemon.stderr.partition("reports no tokens")[0], "the model is named in the log")
    settled(daemon, 0)
    assert daemon.stderr.count("reports no tokens") == 1
    assert daemon.control("GET", "/admin/usage?by=model").json()["rows"][0]["cost"] is None


def test_a_spent_key_may_still_read_stored_answers(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    dear = upstream.play(chat(cost=2.0)).model
    daemon = make_daemon(conf(upstream, cost_per_day=1))
    assert ask(daemon, dear).status == 200
    settled(daemon, 2)
    assert daemon.get("/v1/videos/video_1", headers=[BEARER]).status == 200
    assert daemon.get("/v1/batches/batch_1", headers=[BEARER]).status == 200
    assert daemon.post("/v1/videos", b'{"model": "sora-2", "prompt": "hi"}', headers=[BEARER]).status == 402
    rows = daemon.control("GET", "/admin/usage?by=model").json()["rows"]
    assert all(row["cost"] is not None for row in rows), "reading a stored answer has a cost of 0, not an unknown one"


def test_a_model_without_a_price_costs_nothing_and_is_logged_once(
    upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]
) -> None:
    model = upstream.play(chat(), name="nobodys").model
    daemon = make_daemon(conf(upstream, cost_per_day=0.0001), flags=flags)
    assert {ask(daemon, model).status for _ in range(4)} == {200}
    eventually(lambda: model in daemon.stderr.partition("no price is known")[2], "the model is named in the log")
    settled(daemon, 0)
    assert daemon.stderr.count("no price is known") == 1


def test_the_bundled_price_applies_from_the_first_request(
    upstream: Upstream, make_daemon: DaemonFactory, flags: list[str]
) -> None:
    daemon = make_daemon(conf(upstream, cost_per_day=0.00002), flags=flags)
    assert ask(daemon, "gpt-4o").status == 200
    settled(daemon, 3 * 2.5e-6 + 2 * 10e-6)
    assert ask(daemon, "gpt-4o").status == 402


def test_spending_survives_a_kill(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    model = upstream.play(chat(), name="priced").model
    daemon = make_daemon(conf(upstream, cost_per_day=0.1, requests_per_day=50))
    assert ask(daemon, model, max_tokens=5).status == 200
    settled(daemon, 0.11)
    eventually(lambda: b"0.1" in _read(daemon, "budgets.json"), "the cost is on disk without a stop")
    eventually(lambda: b'"version":1' in _read(daemon, "limits.json"), "the other limits are on disk, too")
    daemon.close_wires()
    daemon.signal(signal.SIGKILL)
    daemon.exit_code()
    daemon.start()
    assert ask(daemon, model, max_tokens=5).status == 402


def _read(daemon: Daemon, name: str) -> bytes:
    path = daemon.state_dir / name
    return path.read_bytes() if path.exists() else b""


def test_an_edited_budget_applies_from_the_next_request(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    model = upstream.play(chat(), name="priced").model
    daemon = make_daemon(conf(upstream, cost_per_day=0.1))
    assert ask(daemon, model, max_tokens=5).status == 200
    settled(daemon, 0.11)
    assert ask(daemon, model, max_tokens=5).status == 402
    daemon.write("proxy.yaml", conf(upstream, cost_per_day=10))
    eventually(lambda: ask(daemon, model, max_tokens=5).status == 200, "the larger budget is in effect")
