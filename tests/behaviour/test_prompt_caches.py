"""Requests to the provider begin the same in every turn, so that its prompt cache can be used."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.augmented.talk import ask, conversation
from tests.conftest import DaemonFactory
from tests.front.configurations import WAYS, connection
from tests.harness.daemon import Daemon
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.kinds.vendors import Anthropic, OpenAI

INSTRUCTIONS = "You are a voice assistant for Home Assistant.\nAnswer in plain text. Keep it simple and to the point."
CLOCK = "Current time is {}. Today's date is 2026-11-29."
AREA = "You are in area {} and all generic commands like 'turn on the lights' should target this area."
SKILL = "# Cooking\n" + "Salt the water before the pasta goes in. " * 250
TICKING = '''
from openai_proxy import tool

count = 0


@tool
def ticking() -> str:
    """Says something else each time."""
    global count
    count += 1
    return f"tick {count}"
'''
MODEL = """
system_prompt: |
  You control the house. Time: {{get_current_time(timezone="Europe/Berlin")}}, {{ticking()}}
  Answer briefly.
tools: [calculator, ticking]
"""
MARK = {"type": "ephemeral"}


@pytest.fixture(scope="module")
def configured_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    claude = connection(upstream.url.removesuffix("/v1"), api_type="anthropic")
    conf = {
        "connections": {
            "main": connection(upstream.url),
            "kept": connection(upstream.url, prompt_cache=True),
            "claude": claude,
            "kept-claude": {**claude, "prompt_cache": True},
        },
        "default_connection": "main",
    }
    files = {
        "models/home.yaml": f"name: augmented/home\nupstream_model: m\n{MODEL}",
        "models/claude.yaml": f"name: augmented/claude\nupstream_model: 'claude:m'\n{MODEL}",
        "tools/ticking.py": TICKING,
        "skills/cooking.md": SKILL,
    }
    with Daemon(tmp_path_factory.mktemp("caches"), conf, files=files).serving() as daemon:
        yield daemon


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


def turn(clock: str, room: str, tools: str, *said: str) -> dict[str, Any]:
    """A request as Home Assistant sends it; `said` are the user's and the model's messages in turn."""
    system = f"{INSTRUCTIONS}\n{AREA.format(room)}\n{CLOCK.format(clock)}"
    roles = ["user", "assistant"]
    history = [{"role": roles[at % 2], "content": text} for at, text in enumerate(said)]
    messages = [{"role": "system", "content": system}, *history]
    return {"messages": messages, "tools": [tool(name) for name in tools.split()], "user": "01JCONVERSATION"}


FIRST = turn("14:30:59", "Kitchen", "light__HassLightSet intent__HassTurnOn", "turn on the light")
SECOND = turn(
    "14:31:59", "Bathroom", "intent__HassTurnOn light__HassLightSet",
    "turn on the light", "It is on.", "Error: API error: the model is away", "...", "and off again",
)  # fmt: skip


def as_read(body: dict[str, Any]) -> str:
    """A prompt in the order in which a model reads it: tools, then messages."""
    return json.dumps(body.get("tools")) + "".join(f"<{m['role']}>{m['content']}" for m in body["messages"])


def test_the_beginning_stays_the_same(configured_daemon: Daemon, upstream: Upstream) -> None:
    """At least 95 % of the first turn's prompt, with Home Assistant's instructions, the time and a skill of 10 kB."""
    play = conversation(upstream, "It is on.", "It is off.", stream=True)
    for members in (FIRST, SECOND):
        assert ask(configured_daemon, "augmented/home", play, stream=True, **members).status == 200
    first, second = map(as_read, play.bodies())
    assert len(first) > 10_000
    common = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False)))
    assert common >= 0.95 * len(first), f"only {common / len(first):.1%} of the first prompt is unchanged"
    newest = play.bodies()[1]["messages"][-1]["content"]
    for changing in ("Time: ", ", tick ", "area Bathroom", "Current time is 14:31:59"):
        assert changing in newest
    assert "Kitchen" not in second
    assert [t["function"]["name"] for t in play.bodies()[1]["tools"]] == [
        "calculator", "ticking", "intent__HassTurnOn", "light__HassLightSet",
    ]  # fmt: skip


def test_home_assistants_errors_are_removed_from_the_history(configured_daemon: Daemon, upstream: Upstream) -> None:
    play = conversation(upstream, "Yes.", stream=False)
    said = ("on", "Error: API error: boom", "off", "(no response)", "well?")
    ask(configured_daemon, "augmented/home", play, stream=False, **turn("14:30:59", "Kitchen", "a", *said))
    messages = play.bodies()[0]["messages"]
    assert [m["role"] for m in messages] == ["system", "user"]
    assert messages[1]["content"].startswith("on\n\noff\n\nwell?\n\n")


def test_an_augmented_model_has_one_cache_key_unless_the_client_sets_one(
    configured_daemon: Daemon, upstream: Upstream
) -> None:
    play = conversation(upstream, "a", "b", "c", stream=False)
    for members in ({}, {"user": "another"}, {"prompt_cache_key": "theirs"}):
        ask(configured_daemon, "augmented/home", play, stream=False, **members)
    first, second, third = (body["prompt_cache_key"] for body in play.bodies())
    assert first == second
    assert 0 < len(first) <= 64
    assert third == "theirs"


def test_a_server_that_refuses_the_cache_key_gets_requests_without_it(
    make_daemon: DaemonFactory, upstream: Upstream
) -> None:
    refusal = {"error": {"message": "Unknown parameter: 'prompt_cache_key'.", "param": "prompt_cache_key"}}
    play = upstream.rounds(
        plain(json.dumps(refusal).encode(), "400 Bad Request"), *[plain(completion("fine"))] * 2, name="keyless"
    )
    conf = {"connections": {"main": connection(upstream.url)}, "default_connection": "main"}
    files = {"models/a.yaml": f"name: augmented/a\nupstream_model: {play.model}\n"}
    daemon = make_daemon(conf, files=files)
    for _ in range(2):
        assert ask(daemon, "augmented/a", None, stream=False).json()["choices"][0]["message"]["content"]
    assert ["prompt_cache_key" in body for body in play.bodies()] == [True, False, False]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_requests_to_claude_have_cache_marks(configured_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    vendor = Anthropic()
    play = upstream.rounds(
        vendor.calls(("toolu_1", "calculator", '{"expression":"6*7"}'), stream=stream), vendor.says("42", stream=stream)
    )
    assert ask(configured_daemon, "augmented/claude", play, stream=stream, max_tokens=99, **FIRST).status == 200
    first, second = play.bodies()
    assert first["system"][-1]["cache_control"] == MARK
    said, tail = first["messages"][0]["content"]
    assert (said["text"], said["cache_control"]) == ("turn on the light", MARK)
    assert "Current time is" in tail["text"]
    assert "cache_control" not in tail
    assert "prompt_cache_key" not in first
    assert second["messages"][-1]["content"][-1]["cache_control"] == MARK, "each round of tools extends the cached part"
    assert second["messages"][0] == first["messages"][0]
    assert json.dumps(second).count("cache_control") == 3


def test_a_plain_models_requests_change_only_with_prompt_cache(configured_daemon: Daemon, upstream: Upstream) -> None:
    answers = [OpenAI().says("fine", stream=False)] * 2
    play = upstream.rounds(*answers)
    for name in (f"main:{play.model}", f"kept:{play.model}"):
        body = json.dumps({"model": name, **FIRST}, indent=1).encode()
        assert configured_daemon.post("/v1/chat/completions", body, headers=[("X-Play", play.model)]).status == 200
    bare, kept = play.requests
    model = json.dumps(play.model).encode()
    assert bare.body == json.dumps({"model": "X", **FIRST}, indent=1).encode().replace(b'"X"', model)
    sent = kept.json()
    assert sent["messages"][0]["content"] == INSTRUCTIONS
    assert sent["messages"][1]["content"].endswith(CLOCK.format("14:30:59"))
    assert [t["function"]["name"] for t in sent["tools"]] == ["intent__HassTurnOn", "light__HassLightSet"]
    assert "prompt_cache_key" not in sent


@pytest.mark.parametrize("way", WAYS)
def test_the_clock_is_moved_with_and_without_the_fast_path(
    make_daemon: DaemonFactory, upstream: Upstream, way: str
) -> None:
    conf = {"connections": {"kept": connection(upstream.url, prompt_cache=True)}}
    daemon = make_daemon(conf, flags=WAYS[way])
    play = upstream.rounds(*[OpenAI().says("fine", stream=False)] * 3)
    with daemon.wire() as wire:  # the second request on a connection takes the fast path
        for _ in range(3):
            body = json.dumps({"model": play.model, **FIRST}).encode()
            assert wire.request("POST", "/v1/chat/completions", body=body).answer().status == 200
    assert {body["messages"][0]["content"] for body in play.bodies()} == {INSTRUCTIONS}


def test_responses_passed_through_and_translated(configured_daemon: Daemon, upstream: Upstream) -> None:
    document = {
        "input": [
            {"role": "developer", "content": f"{INSTRUCTIONS}\n{CLOCK.format('14:30:59')}"},
            {"role": "user", "content": "on"},
        ],
    }
    answer = {"id": "resp_1", "object": "response", "status": "completed", "output": []}
    native = upstream.rounds(plain(json.dumps(answer).encode()))
    body = json.dumps({"model": f"kept:{native.model}", **document}).encode()
    assert configured_daemon.post("/v1/responses", body, headers=[("X-Play", native.model)]).status == 200
    items = native.bodies()[0]["input"]
    assert items[0]["content"] == INSTRUCTIONS
    assert items[1]["content"] == f"on\n\n{CLOCK.format('14:30:59')}"
    translated = upstream.rounds(Anthropic().says("fine", stream=False))
    body = json.dumps({"model": f"kept-claude:{translated.model}", **document}).encode()
    assert configured_daemon.post("/v1/responses", body, headers=[("X-Play", translated.model)]).status == 200
    (sent,) = translated.bodies()
    assert sent["system"] == [{"type": "text", "text": INSTRUCTIONS, "cache_control": MARK}]
    assert sent["messages"][0]["content"][0] == {"type": "text", "text": "on", "cache_control": MARK}


def test_claude_codes_requests_begin_the_same_on_a_local_server(configured_daemon: Daemon, upstream: Upstream) -> None:
    attribution = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.295; cch=1f2e3;"}
    document = {
        "max_tokens": 99,
        "system": [attribution, {"type": "text", "text": "You are Claude Code.", "cache_control": MARK}],
        "messages": [{"role": "user", "content": "fix it"}],
    }
    play = upstream.rounds(*[Anthropic().says("done", stream=False)] * 2)
    for name in (f"claude:{play.model}", f"kept-claude:{play.model}"):
        body = json.dumps({"model": name, **document}).encode()
        assert configured_daemon.post("/v1/messages", body, headers=[("X-Play", play.model)]).status == 200
    untouched, kept = play.bodies()
    assert {**untouched, "model": ""} == {"model": "", **document}
    assert kept["system"] == document["system"][1:]  # type: ignore[index]
    assert kept["messages"] == [{"role": "user", "content": [{"type": "text", "text": "fix it"}, attribution]}]


def test_explain_reports_how_much_came_from_the_cache(configured_daemon: Daemon, upstream: Upstream) -> None:
    usage = {"prompt_tokens": 200, "completion_tokens": 3, "total_tokens": 203,
             "prompt_tokens_details": {"cached_tokens": 150}}  # fmt: skip
    play = upstream.play(plain(json.dumps({**json.loads(completion("fine")), "usage": usage}).encode()))
    name = f"kept:{play.model}"
    body = json.dumps({"model": name, "messages": [{"role": "user", "content": "Hi"}]}).encode()
    assert configured_daemon.post("/v1/chat/completions", body, headers=[("X-Play", play.model)]).status == 200

    def lines() -> list[str]:
        explained = configured_daemon.control("GET", f"/admin/explain?model={name}").json()["lines"]
        return [line.strip() for line in explained if "prompt cache" in line]

    told = "prompt cache: 150 of 200 prompt tokens (75%) came from it in the last seven days"
    eventually(lambda: told in lines(), "the usage is counted")
    assert "prompt cache: what changes every turn is moved to the end (prompt_cache)" in lines()
