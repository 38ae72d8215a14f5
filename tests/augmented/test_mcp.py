"""An augmented model with a real MCP server behind it, from the model file to the model's answer."""

import sys
from collections.abc import Iterator

import pytest

from tests.augmented.talk import chat, conversation, names
from tests.front.configurations import front_conf
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

SERVERS = f"""\
servers:
  time:
    type: stdio
    command: {sys.executable}
    args: [-m, mcp_server_time, --local-timezone, UTC]
"""
FILES = {
    "mcp/servers.yaml": SERVERS,
    "models/all.yaml": "name: augmented/all\nupstream_model: m-all\nmcp_servers: [time]\n",
    "models/some.yaml": (
        "name: augmented/some\nupstream_model: m-some\nmcp_servers:\n  time: {whitelist: ['get_*']}\n"
        "system_prompt: 'Now: {{mcp_time_get_current_time(timezone=\"UTC\")}}'\n"
        "tool_timeout: 20\ntemplate_timeout: 20\n"
    ),
}


@pytest.fixture(scope="module")
def daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path_factory.mktemp("mcp"), front_conf(upstream), files=FILES).start()
    try:
        eventually(lambda: _server(daemon)["state"] == "ready", "the server is ready")
        yield daemon
        daemon.stop()
    finally:
        daemon.kill()


def _server(daemon: Daemon) -> dict[str, str]:
    (server,) = daemon.get("/admin/status").json()["mcp_servers"]
    return dict(server)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_its_tools_are_offered_and_run(daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    arguments = '{"source_timezone":"UTC","time":"12:00","target_timezone":"Asia/Tokyo"}'
    play = conversation(upstream, [("c1", "mcp_time_convert_time", arguments)], "21:00.", stream=stream)
    assert chat(daemon, "all", play, stream=stream).content == "21:00."
    first, second = play.bodies()
    assert names(first) == ["mcp_time_convert_time", "mcp_time_get_current_time"]
    assert "21:00" in second["messages"][-1]["content"]


def test_filters_and_templates(daemon: Daemon, upstream: Upstream) -> None:
    play = conversation(upstream, [("c1", "mcp_time_convert_time", "{}")], "Sorry.", stream=True)
    assert chat(daemon, "some", play, stream=True).content == "Sorry."
    first, second = play.bodies()
    assert names(first) == ["mcp_time_get_current_time"]
    assert "\n\nNow: " in first["messages"][-1]["content"]
    assert "UTC" in first["messages"][-1]["content"]
    assert second["messages"][-1]["role"] == "tool", "the call of a tool that was not offered must get an error result"
    assert "21:00" not in second["messages"][-1]["content"]


def test_an_error_of_the_server_is_for_the_model(daemon: Daemon, upstream: Upstream) -> None:
    call = ("c1", "mcp_time_get_current_time", '{"timezone":"Moon/Base"}')
    play = conversation(upstream, [call], "Sorry.", stream=True)
    assert chat(daemon, "all", play, stream=True).content == "Sorry."
    assert "Moon/Base" in play.bodies()[1]["messages"][-1]["content"]


def test_a_server_that_dies_comes_back(daemon: Daemon, upstream: Upstream) -> None:
    pid = _server(daemon)["pid"]
    (child,) = [child for child in daemon.children() if child.pid == pid]
    child.kill()
    eventually(
        lambda: _server(daemon)["pid"] != pid and _server(daemon)["state"] == "ready", "the server has restarted"
    )
    call = ("c1", "mcp_time_get_current_time", '{"timezone":"UTC"}')
    play = conversation(upstream, [call], "Noon.", stream=True)
    assert chat(daemon, "all", play, stream=True).content == "Noon."
    assert "UTC" in play.bodies()[1]["messages"][-1]["content"]
