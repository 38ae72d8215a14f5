"""Two daemons and one Redis: each kind of shared state is created on one and used on the other."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.augmented.configurations import augmented_conf, augmented_files
from tests.augmented.talk import CLIENT_TOOL, Call, chat, conversation
from tests.behaviour.test_refused_parameters import REFUSED
from tests.conftest import DaemonFactory, finish
from tests.front.configurations import connection
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import completion, plain
from tests.harness.redis_server import RedisServer, needs_redis
from tests.harness.scripts import Play, Seen
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Answer

pytestmark = needs_redis

OURS: Call = ("call_ours_00000000000000000001", "double", '{"number":21}')
THEIRS: Call = ("call_theirs_000000000000000001", "theirs", '{"room": "kitchen"}')
QUESTION = {"role": "user", "content": "Light and number, please"}
SECOND_KEY = "sk-second-key-of-the-provider-1234"

Pair = tuple[Daemon, Daemon]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def pair(upstream: Upstream, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two daemons with the same configuration."""
    conf = augmented_conf(
        upstream,
        storage=redis.url,
        connections={
            "two-keys": connection(upstream.url, api_key=None, api_keys=[CANARY, SECOND_KEY], max_retries=1),
        },
        admin_api_keys=["sk-admin-of-the-house"],
        groups={
            "family": {"api_keys": ["sk-family"], "limits": {"tokens_per_day": 100000}},
            "thrifty": {"api_keys": ["sk-thrifty"], "limits": {"cost_per_month": 1}},
            "counted": {"api_keys": ["sk-counted-1", "sk-counted-2"]},
        },
    )
    careful = "name: augmented/careful\nupstream_model: m-careful\ntools: [double]\nconfirm: [double]\n"
    files = {**augmented_files(), "models/careful.yaml": careful}
    daemons = [Daemon(tmp_path_factory.mktemp("daemon"), conf, files=files) for _ in range(2)]
    try:
        first, second = (daemon.start() for daemon in daemons)
        yield first, second
    finally:
        finish(daemons)


def ask(daemon: Daemon, model: str, text: str = "Hi", *, key: str = "sk-family", **more: Any) -> Answer:
    session = [("X-Session-ID", more.pop("session"))] if "session" in more else []
    body = {"model": model, "messages": [{"role": "user", "content": text}], **more}
    headers = [("Authorization", f"Bearer {key}"), *session]
    return daemon.post("/v1/chat/completions", json.dumps(body).encode(), headers=headers)


def test_a_setting_made_by_command_applies_on_the_other(pair: Pair, upstream: Upstream) -> None:
    first, second = pair
    play, other = (upstream.play(plain(completion("fine"))) for _ in range(2))

    def goes_to(wanted: Play, daemon: Daemon, model: str) -> bool:
        before = len(wanted.requests)
        return ask(daemon, model, session="kitchen").status == 200 and len(wanted.requests) > before

    assert ask(first, "any", f"!/set(model={play.model})", session="kitchen").status == 200
    eventually(lambda: goes_to(play, second, "any"), "the setting applies on the second daemon")
    assert ask(second, "any", "!/unset(model)", session="kitchen").status == 200
    eventually(lambda: goes_to(other, first, other.model), "the setting no longer applies on the first daemon")


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_a_mixed_turn_can_end_on_the_other(pair: Pair, upstream: Upstream, stream: bool) -> None:
    first, second = pair
    play = conversation(upstream, ("One moment.", [OURS, THEIRS]), "All done.", stream=stream)
    options: dict[str, Any] = {"stream": stream, "tools": [CLIENT_TOOL], "key": "sk-family"}
    begun = chat(first, "tools", play, messages=[QUESTION], **options)
    calls = [{name: value for name, value in call.items() if name != "index"} for call in begun.calls]
    history = [
        QUESTION,
        {"role": "assistant", "content": "One moment.", "tool_calls": calls},
        {"role": "tool", "tool_call_id": THEIRS[0], "content": "on"},
    ]
    assert chat(second, "tools", play, messages=history, **options).content == "All done."
    seen = play.bodies()[1]["messages"]
    assert [call["id"] for call in seen[-3]["tool_calls"]] == [OURS[0], THEIRS[0]]
    assert {message["tool_call_id"]: message["content"] for message in seen[-2:]} == {OURS[0]: "42", THEIRS[0]: "on"}


def test_a_persons_consent_may_arrive_at_the_other(pair: Pair, upstream: Upstream) -> None:
    first, second = pair
    play = conversation(upstream, [OURS], "May I?", [OURS], "Done.", [OURS], "May I?", stream=False)
    options: dict[str, Any] = {"stream": False, "key": "sk-family"}
    asked = [{"role": "user", "content": "Double it"}]
    chat(first, "careful", play, messages=asked, **options)
    yes = [*asked, {"role": "assistant", "content": "May I?"}, {"role": "user", "content": "Yes"}]
    chat(second, "careful", play, messages=yes, **options)
    results = [body["messages"][-1]["content"] for body in play.bodies()[1::2]]
    assert results[0] != "42", "the tool ran before the consent"
    assert results[1] == "42"
    chat(first, "careful", play, messages=yes, **options)
    assert play.bodies()[5]["messages"][-1]["content"] != "42", "one consent allowed a second call"


def responses(daemon: Daemon, body: dict[str, Any]) -> Answer:
    headers = [("Authorization", "Bearer sk-family")]
    return daemon.post("/v1/responses", json.dumps(body).encode(), headers=headers)


def of_family(daemon: Daemon, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
    with daemon.wire() as wire:
        raw = None if body is None else json.dumps(body).encode()
        return wire.request(method, path, body=raw, headers=[("Authorization", "Bearer sk-family")]).answer(
            method=method
        )


@pytest.fixture(scope="module")
def chatty(upstream: Upstream, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two daemons whose provider knows neither stored answers nor conversations."""
    conf = {
        "connections": {"chatty": connection(upstream.url, api="chat")},
        "groups": {"family": {"api_keys": ["sk-family"]}},
        "storage": redis.url,
    }
    daemons = [Daemon(tmp_path_factory.mktemp("daemon"), conf) for _ in range(2)]
    try:
        first, second = (daemon.start() for daemon in daemons)
        yield first, second
    finally:
        finish(daemons)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_a_stored_answer_is_available_on_the_other(chatty: Pair, upstream: Upstream, stream: bool) -> None:
    first, second = chatty
    play = conversation(upstream, "Seven.", "Eight.", stream=stream)
    model = play.model
    answer = responses(first, {"model": model, "input": "Pick a number", "stream": stream})
    assert answer.status == 200
    made = answer.json() if not stream else json.loads(answer.body.rpartition(b"data: ")[2])["response"]
    again = responses(
        second, {"model": model, "input": "And one more", "previous_response_id": made["id"], "stream": stream}
    )
    assert again.status == 200, again.body
    assert [m["content"] for m in play.bodies()[1]["messages"]] == ["Pick a number", "Seven.", "And one more"]
    assert of_family(second, "GET", f"/v1/responses/{made['id']}").json()["id"] == made["id"]
    assert of_family(second, "DELETE", f"/v1/responses/{made['id']}").status == 200
    eventually(
        lambda: of_family(first, "GET", f"/v1/responses/{made['id']}").status == 404,
        "the deleted answer is gone on the first daemon, too",
    )


def test_a_conversation_grows_on_both(chatty: Pair, upstream: Upstream) -> None:
    first, second = chatty
    play = conversation(upstream, "One.", "Two.", "Three.", stream=False)
    name = of_family(first, "POST", "/v1/conversations", {"metadata": {"room": "hall"}}).json()["id"]
    for daemon, text in ((second, "a"), (first, "b"), (second, "c")):
        assert responses(daemon, {"model": play.model, "input": text, "conversation": name}).status == 200
    assert [m["content"] for m in play.bodies()[2]["messages"]] == ["a", "One.", "b", "Two.", "c"]
    assert of_family(first, "GET", f"/v1/conversations/{name}").json()["metadata"] == {"room": "hall"}


def test_a_refused_key_rests_on_both(pair: Pair, upstream: Upstream) -> None:
    first, second = pair

    def answer(seen: Seen) -> bytes:
        refused = seen.header("authorization") == f"Bearer {SECOND_KEY}"
        error = b'{"error": {"message": "Incorrect API key provided."}}'
        return plain(error, "401 Unauthorized") if refused else plain(completion("fine"))

    play = upstream.acting(answer)
    model = f"two-keys:{play.model}"
    eventually(lambda: ask(first, model).status == 200 and _refused(play.requests), "the second key was refused")

    def resting() -> bool:
        status = second.control("GET", "/admin/status").json()
        return any(c["name"] == "two-keys" and c["resting_keys"] == 1 for c in status["connections"])

    eventually(resting, "the second daemon rests the key, too")
    before = _refused(play.requests)
    assert {ask(second, model).status for _ in range(6)} == {200}
    assert _refused(play.requests) == before
    assert SECOND_KEY not in first.stderr + second.stderr


def _refused(requests: list[Seen]) -> int:
    return sum(seen.header("authorization") == f"Bearer {SECOND_KEY}" for seen in requests)


def test_lessons_are_shared(pair: Pair, upstream: Upstream) -> None:
    first, second = pair
    play = upstream.rounds(plain(REFUSED, "400 Bad Request"), *[plain(completion("fine"))] * 4)
    assert ask(first, play.model, max_tokens=20).status == 200
    path = "/admin/status"

    def learnt() -> bool:
        connections = second.control("GET", path).json()["connections"]
        return any(play.model in known["learnt"] for known in connections)

    eventually(learnt, "the second daemon has the lesson")
    assert ask(second, play.model, max_tokens=20).status == 200
    assert len(play.bodies()) == 3
    assert "max_tokens" not in play.bodies()[2]


def test_usage_covers_both_daemons(pair: Pair, upstream: Upstream) -> None:
    first, second = pair
    play = upstream.play(plain(completion("fine")))
    assert {ask(daemon, play.model, key="sk-counted-1").status for daemon in (first, second, second)} == {200}

    def counted(daemon: Daemon) -> int:
        rows = daemon.control("GET", "/admin/usage?by=model").json()["rows"]
        return sum(row["requests"] for row in rows if row["model"] == play.model)

    for daemon in pair:
        eventually(lambda daemon=daemon: counted(daemon) == 3, "the report covers every request")  # type: ignore[misc]


def test_a_budget_is_shared(pair: Pair, upstream: Upstream) -> None:
    first, second = pair
    answer = {**json.loads(completion("fine")), "usage": {"prompt_tokens": 1, "completion_tokens": 1, "cost": 1.5}}
    play = upstream.play(plain(json.dumps(answer).encode()), name="dear")
    assert ask(first, play.model, key="sk-thrifty").status == 200
    eventually(
        lambda: ask(second, play.model, key="sk-thrifty").status == 402,
        "the second daemon knows that the budget is spent",
    )
    assert len(play.requests) <= 3


def test_a_global_command_is_written_on_both(pair: Pair, upstream: Upstream) -> None:
    first, second = pair
    play = upstream.play(plain(completion("fine")))
    answer = first.control(
        "POST", "/v1/chat/completions",
        {"model": "any", "messages": [
            {"role": "user", "content": "!/set(redact-api-keys-in-prompts=false, scope=global)"}]},
    )  # fmt: skip
    assert answer.status == 200, answer.body
    for daemon in pair:
        eventually(
            lambda daemon=daemon: "redact_api_keys_in_prompts: false" in (daemon.conf_dir / "proxy.yaml").read_text(),  # type: ignore[misc]
            "the setting is in proxy.yaml",
        )
    assert ask(second, play.model).status == 200


def test_the_status_shows_the_number_of_daemons(pair: Pair) -> None:
    for daemon in pair:
        eventually(
            lambda daemon=daemon: (  # type: ignore[misc]
                daemon.control("GET", "/admin/status").json()["storage"]["daemons"] >= 2
            ),
            "the status counts both daemons",
        )
        assert daemon.control("GET", "/admin/status").json()["storage"]["state"] == "shared"
        assert "storage" not in daemon.control("GET", "/health").json()["degraded"]


def test_a_daemon_started_while_a_provider_is_down_has_its_model_list(
    redis: RedisServer, make_daemon: DaemonFactory
) -> None:
    provider = Upstream().start()
    conf = {"connections": {"sleeper": connection(provider.url)}, "storage": redis.url}
    try:
        first = make_daemon(conf)
        listed = eventually(lambda: first.get("/v1/models").json()["data"], "the first daemon has the model list")
    finally:
        provider.stop()
    late = make_daemon(conf)
    eventually(
        lambda: late.get("/v1/models").json()["data"] == listed, "the late daemon has the first one's model list"
    )
