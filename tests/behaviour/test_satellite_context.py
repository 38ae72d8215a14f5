"""Home Assistant on both sides: the satellite being spoken to, its server's own prompt, tools that both sides have."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.augmented.talk import ask, conversation, names
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.plays import head, plain
from tests.harness.scripts import Acting, Seen
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

DEVICE = "io.home-assistant/device_id"
AREA = "You are in area {} and all generic commands like 'turn on the lights' should target this area."
OVERVIEW = "Call the intent tools.\n{}\nAn overview of the devices:\n- names: Lamp\n  domain: light"
TOOLS = ("intent__HassTurnOn", "homeassistant__GetLiveContext", "light__HassLightSet")

TIMER = "intent__HassStartTimer"


class Server:
    """An MCP server in the provider's thread: Home Assistant's, or another one."""

    def __init__(self, upstream: Upstream, name: str) -> None:
        self.name = name
        self.play: Acting = upstream.acting(self._answer, name)

    def _answer(self, seen: Seen) -> bytes:
        if seen.method != "POST":
            return head("405 Method Not Allowed", {"Content-Length": "0"})
        message = seen.json()
        if "id" not in message:
            return head("202 Accepted", {"Content-Length": "0"})
        params = message.get("params") or {}
        device = (params.get("_meta") or {}).get(DEVICE)
        tools = TOOLS + ((TIMER,) if str(device).startswith("timed") else ())
        results: dict[str, Any] = {
            "initialize": {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}, "prompts": {}},
                "serverInfo": {"name": self.name, "version": "1"},
            },
            "tools/list": {"tools": [{"name": n, "description": n, "inputSchema": {"type": "object"}} for n in tools]},
            "tools/call": {"content": [{"type": "text", "text": f"done for {device}"}]},
            "prompts/list": {"prompts": [{"name": "Device control"}, {"name": "Other"}]},
            "prompts/get": {
                "messages": [
                    {"role": "assistant",
                     "content": {"type": "text", "text": OVERVIEW.format(AREA.format("Kitchen" if device else "?"))}}
                ]
            },
        }  # fmt: skip
        if message["method"] not in results:
            body = {"error": {"code": -32601, "message": "Method not found"}}
        else:
            body = {"result": results[message["method"]]}
        return plain(json.dumps({"jsonrpc": "2.0", "id": message["id"], **body}).encode())

    def params_of(self, method: str) -> list[dict[str, Any]]:
        """The params of every request of `method` so far."""
        posted = [seen.json() for seen in self.play.requests if seen.method == "POST"]
        return [message.get("params") or {} for message in posted if message.get("method") == method]


@pytest.fixture(scope="module")
def assistant(upstream: Upstream) -> Server:
    return Server(upstream, "home-assistant")


@pytest.fixture(scope="module")
def other(upstream: Upstream) -> Server:
    return Server(upstream, "other")


@pytest.fixture(scope="module")
def configured_daemon(
    upstream: Upstream, assistant: Server, other: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    root = upstream.url.removesuffix("/v1")
    servers = {
        "ha": {"type": "http", "url": f"{root}/api/mcp/assist", "headers": {"X-Play": assistant.play.model}},
        "other": {"type": "http", "url": f"{root}/mcp", "headers": {"X-Play": other.play.model}},
    }
    models: dict[str, dict[str, Any]] = {
        "home": {"mcp_servers": {"ha": {"prompt": True}, "other": {}}},
        "named": {"mcp_servers": {"ha": {"prompt": "Other"}}},
        "nameless": {"mcp_servers": {"ha": {"prompt": True, "whitelist": ["*Nothing"]}}},
        "pass": {"mcp_servers": ["ha"]},
        "lamps": {"mcp_servers": {"ha": {"whitelist": ["*TurnOn"]}}},
        "prefer": {"mcp_servers": ["ha"], "client_tools": "prefer"},
        "drop": {"mcp_servers": ["ha"], "client_tools": "drop"},
    }
    files = {
        f"models/{name}.yaml": json.dumps(
            {"name": f"augmented/{name}", "upstream_model": "m", "system_prompt": "You are it.", **more}
        )
        for name, more in models.items()
    }
    files["mcp/servers.yaml"] = json.dumps({"servers": servers})
    conf = {"connections": {"main": connection(upstream.url)}, "default_connection": "main", "execute_tools": True}
    daemon = Daemon(tmp_path_factory.mktemp("room"), conf, files=files).start()

    def states() -> set[str]:
        return {server["state"] for server in daemon.get("/admin/status").json()["mcp_servers"]}

    try:
        eventually(lambda: states() == {"ready"}, "the servers are ready")
        yield daemon
        daemon.assert_nothing_leaked()
        daemon.stop()
    finally:
        daemon.kill()


def instructions(device: str) -> list[dict[str, str]]:
    system = f"You are a voice assistant for Home Assistant.\n[[ha device_id={device}]]\nAnswer in plain text."
    return [{"role": "system", "content": system}, {"role": "user", "content": "turn on the light"}]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
def test_the_satellite_is_sent_only_to_home_assistant(
    configured_daemon: Daemon, upstream: Upstream, assistant: Server, other: Server, stream: bool
) -> None:
    calls = [("c1", "mcp_ha_intent__HassTurnOn", "{}"), ("c2", "mcp_other_intent__HassTurnOn", "{}")]
    play = conversation(upstream, calls, "It is on.", stream=stream)
    assert ask(configured_daemon, "augmented/home", play, stream=stream, messages=instructions("abc123")).status == 200
    first, second = play.bodies()
    assert "abc123" not in json.dumps(first)
    assert "[[ha" not in json.dumps(first)
    assert [m["content"] for m in second["messages"] if m["role"] == "tool"] == ["done for abc123", "done for None"]
    assert assistant.params_of("tools/call")[-1]["_meta"][DEVICE] == "abc123"
    assert DEVICE not in json.dumps(other.params_of("tools/call"))


def test_execute_tools_of_a_plain_model_sends_the_satellite_too(configured_daemon: Daemon, upstream: Upstream) -> None:
    name = "mcp_ha_intent__HassTurnOn"
    play = conversation(upstream, [("c1", name, "{}")], "It is on.", stream=False)
    params_of = {"messages": instructions("abc123"), "tools": [client_tool(name)]}
    assert ask(configured_daemon, play.model, play, stream=False, **params_of).status == 200
    first, second = play.bodies()
    assert second["messages"][-1]["content"] == "done for abc123"
    assert first["messages"] == params_of["messages"], "the messages of a plain model were changed"


def test_the_servers_prompt_is_added_with_changing_values_at_the_end(
    configured_daemon: Daemon, upstream: Upstream, assistant: Server
) -> None:
    play = conversation(upstream, "Yes.", "Yes.", "Yes.", stream=False)
    for _ in range(2):
        ask(configured_daemon, "augmented/home", play, stream=False, messages=instructions("kitchen-satellite"))
    params_of = [
        params for params in assistant.params_of("prompts/get") if params["_meta"].get(DEVICE) == "kitchen-satellite"
    ]
    assert [params["name"] for params in params_of] == ["Device control"], "the prompt is fetched once a minute"
    for body in play.bodies():
        system, newest = body["messages"]
        places = [system["content"].index(t) for t in ("You are it.", "- names: Lamp", "Answer in plain text.")]
        assert places == sorted(places)
        assert "area" not in system["content"]
        assert newest["content"] == f"turn on the light\n\n{AREA.format('Kitchen')}"
    ask(configured_daemon, "augmented/named", play, stream=False)
    assert assistant.params_of("prompts/get")[-1]["name"] == "Other"


def test_an_unknown_satellite_is_ignored(configured_daemon: Daemon, upstream: Upstream, assistant: Server) -> None:
    play = conversation(upstream, [("c1", "mcp_ha_intent__HassTurnOn", "{}")], "Yes.", stream=False)
    ask(configured_daemon, "augmented/pass", play, stream=False, messages=instructions("None"))
    assert play.bodies()[1]["messages"][-1]["content"] == "done for None"
    assert "[[ha" not in json.dumps(play.bodies()[0])


def test_only_a_satellite_with_timers_gets_their_tools(
    configured_daemon: Daemon, upstream: Upstream, assistant: Server, other: Server
) -> None:
    timer, lamp = f"mcp_ha_{TIMER}", f"mcp_ha_{TOOLS[0]}"
    play = conversation(upstream, [("c1", timer, "{}")], "It is set.", "No.", "No.", "No.", "No.", stream=False)

    def offered(model: str, device: str) -> list[str]:
        ask(configured_daemon, model, play, stream=False, messages=instructions(device))
        return names(play.bodies()[-1])

    assert offered("augmented/home", "timed-1") == sorted([*OURS, timer, *(f"mcp_other_{name}" for name in TOOLS)])
    assert play.bodies()[-1]["messages"][-1]["content"] == "done for timed-1"
    assert offered("augmented/home", "silent-1") == sorted([*OURS, *(f"mcp_other_{name}" for name in TOOLS)])
    assert timer in offered("augmented/pass", "timed-1")
    assert timer not in offered("augmented/lamps", "timed-1"), "the model's filter excludes the timer"
    assert lamp in offered("augmented/lamps", "timed-1")
    looked = [params["_meta"].get(DEVICE) for params in assistant.params_of("tools/list") if "_meta" in params]
    assert looked.count("timed-1") == 1, "the tool list is fetched once a minute"
    assert DEVICE not in json.dumps(other.params_of("tools/list"))


def client_tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}


THEIRS = ["HassTurnOn", "homeassistant__GetLiveContext", "play_music"]
OURS = [f"mcp_ha_{name}" for name in sorted(TOOLS)]


@pytest.mark.parametrize(
    ("model", "offered"),
    [
        ("pass", OURS + THEIRS),
        ("prefer", ["mcp_ha_light__HassLightSet", *THEIRS]),
        ("drop", [*OURS, "play_music"]),
    ],
)
def test_tools_that_both_sides_have_are_offered_once(
    configured_daemon: Daemon, upstream: Upstream, model: str, offered: list[str]
) -> None:
    calls = [("c1", "mcp_ha_intent__HassTurnOn", "{}")]
    play = conversation(upstream, calls, "Yes.", stream=False)
    answer = ask(
        configured_daemon, f"augmented/{model}", play, stream=False, tools=list(map(client_tool, THEIRS))
    ).json()
    first, second = play.bodies()
    assert names(first) == offered
    assert answer["choices"][0]["message"]["content"] == "Yes."
    ran = second["messages"][-1]["content"] == "done for None"
    assert ran == (model != "prefer"), "the tool runs only if it was offered"


def test_forcing_an_omitted_tool_forces_ours(configured_daemon: Daemon, upstream: Upstream) -> None:
    play = conversation(upstream, "Yes.", stream=False)
    forced = {"type": "function", "function": {"name": "HassTurnOn"}}
    ask(configured_daemon, "augmented/drop", play, stream=False, tools=[client_tool("HassTurnOn")], tool_choice=forced)
    (body,) = play.bodies()
    assert body["tool_choice"]["function"]["name"] == "mcp_ha_intent__HassTurnOn"
