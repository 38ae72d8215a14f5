"""The prompt sent to the provider: templates filled in, skills in both modes, one system message."""

import json

import pytest

from tests.augmented.configurations import augmented_conf, augmented_files
from tests.augmented.talk import MODE_IDS, MODES, chat, conversation, names, roles
from tests.conftest import DaemonFactory
from tests.harness.daemon import CANARY, Daemon
from tests.harness.upstream import Upstream

both_modes = pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)


def system(augmented_daemon: Daemon, upstream: Upstream, model: str, **members: object) -> str:
    """The system message of a request for `model`."""
    play = conversation(upstream, "Hello.", stream=True)
    chat(augmented_daemon, model, play, stream=True, **members)
    message = play.bodies()[0]["messages"][0]
    assert message["role"] == "system"
    return str(message["content"])


def test_templates_are_filled_in_and_failures_are_notes(augmented_daemon: Daemon, upstream: Upstream) -> None:
    play = conversation(upstream, "Hello.", stream=True)
    chat(augmented_daemon, "templates", play, stream=True)
    prompt, newest = (message["content"] for message in play.bodies()[0]["messages"])
    assert prompt.startswith("Bad: [calculator is not available now: "), (
        "a constant note must stay in the system prompt"
    )
    values = newest.split("\n")[2:]
    assert values[0] == "Six times seven is 42, twice 42."
    assert values[1].startswith("Broken: [boom is not available now: ")
    assert values[2].startswith("Slow: [never is not available now: ")
    assert values[3] == 'Literal: {{nobody_has_this()}} {braces} {{ not a call }} IT\'S "OK" Ü.'
    assert CANARY not in newest
    assert "/etc/secret" not in newest


def test_ours_then_skills_then_the_clients_in_one_message(augmented_daemon: Daemon, upstream: Upstream) -> None:
    messages = [
        {"role": "system", "content": "The client's."},
        {"role": "developer", "content": "The developer's."},
        {"role": "user", "content": "Hi"},
    ]
    text = system(augmented_daemon, upstream, "injected", messages=messages)
    places = [text.index(part) for part in ("Prompt.", "Use type hints.", "The client's.", "The developer's.")]
    assert places == sorted(places)
    assert "Salt the water." not in text, "a skill the model does not name is in its prompt"


def test_all_global_skills_and_no_other_models(augmented_daemon: Daemon, upstream: Upstream) -> None:
    text = system(augmented_daemon, upstream, "all-skills")
    for part in ("Use type hints.", "Salt the water.", "Water at dawn."):
        assert part in text
    assert "Only for demand." not in text


@both_modes
def test_skills_on_demand(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    rounds = [
        [("c1", "load_skill", '{"name":"garden"}')],
        [("c2", "read_skill_file", '{"skill":"garden","path":"notes.txt"}')],
        [("c3", "read_skill_file", '{"skill":"garden","path":"../python-expert.md"}')],
    ]
    play = conversation(upstream, *rounds, "Roses.", stream=stream)
    assert chat(augmented_daemon, "demand", play, stream=stream).content == "Roses."
    bodies = play.bodies()
    prompt = bodies[0]["messages"][0]["content"]
    assert "Water at dawn." not in prompt
    assert "Knows plants." in prompt
    assert {"load_skill", "read_skill_file"} <= set(names(bodies[0]))
    (load,) = [tool for tool in bodies[0]["tools"] if tool["function"]["name"] == "load_skill"]
    (enum,) = [p["enum"] for p in load["function"]["parameters"]["properties"].values() if "enum" in p]
    assert {"garden", "cook", "python-expert", "secret"} <= set(enum)
    results = [message["content"] for message in bodies[3]["messages"] if message["role"] == "tool"]
    assert "Water at dawn." in results[0]
    assert "Roses need sun." in results[1]
    assert "type hints" not in results[2], "a file outside the skill's folder was read"


def test_execute_tools_runs_our_tools_that_the_client_offers(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(augmented_conf(upstream, execute_tools=True), files=augmented_files())

    def tool(name: str) -> dict[str, object]:
        return {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}

    for stream in (True, False):
        play = conversation(upstream, [("c1", "double", '{"number":21}')], "42.", stream=stream)
        body: dict[str, object] = {"model": play.model, "messages": [{"role": "user", "content": "Hi"}]}
        body |= {"tools": [tool("double"), tool("theirs")], "stream": stream}
        answer = daemon.post("/v1/chat/completions", json.dumps(body).encode())
        assert answer.status == 200
        assert b"42." in answer.body
        first, second = play.bodies()
        assert names(first) == ["double", "theirs"], "a plain model must get exactly the client's tools"
        assert roles(second) == ["user", "assistant", "tool"]
        assert second["messages"][-1]["content"] == "42"
    play = conversation(upstream, "Hello.", stream=True)
    body = {"model": play.model, "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    assert daemon.post("/v1/chat/completions", json.dumps(body).encode()).body.count(b"Hell") == 1


@both_modes
def test_the_models_params_apply_to_every_round(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    """First drops, then defaults, then overrides; a caller's own value beats a default."""
    play = conversation(upstream, [("c1", "double", '{"number":1}')], "2.", stream=stream)
    chat(augmented_daemon, "params", play, stream=stream, user="me", top_p=0.9)
    for body in play.bodies():
        assert (body.get("temperature"), body.get("top_p"), "user" in body) == (0.3, 0.5, False)
    play = conversation(upstream, "Hi.", stream=stream)
    chat(augmented_daemon, "params", play, stream=stream, temperature=1)
    assert play.bodies()[0]["temperature"] == 1
