"""Resources and prompts of MCP servers in system prompts."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.augmented.talk import chat, conversation, names
from tests.front.configurations import front_conf
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

MCP = Path(__file__).parent.parent / "mcp"
PROMPT = """\
Facts: {{mcp_resource(server="notes", uri="memo://house")}}
Manners: {{mcp_prompt(server="notes", name="manners", tone="warm")}}
Missing: {{mcp_resource(server="notes", uri="memo://nothing")}}
Old: {{mcp_prompt(server="old", name="any")}}
"""
BROKEN = """\
{{mcp_resource(server="note", uri="memo://house")}}
{{mcp_prompt(server="notes")}}
"""


@pytest.fixture(scope="module")
def daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    servers = {
        "notes": {"command": sys.executable, "args": [str(MCP / "modern_server.py"), "stdio"]},
        "old": {"command": sys.executable, "args": [str(MCP / "fault_server.py")]},
    }
    model = {"upstream_model": "m", "template_timeout": 20}
    files = {
        "mcp/servers.yaml": json.dumps({"servers": servers}),
        "models/good.yaml": json.dumps({"name": "augmented/good", "system_prompt": PROMPT, **model}),
        "models/broken.yaml": json.dumps({"name": "augmented/broken", "system_prompt": BROKEN, **model}),
    }
    with Daemon(tmp_path_factory.mktemp("context"), front_conf(upstream), files=files).serving(leaks=False) as daemon:
        yield daemon


def test_templates_are_filled_in_and_failures_are_notes(daemon: Daemon, upstream: Upstream) -> None:
    play = conversation(upstream, "Hello.", stream=False)
    chat(daemon, "good", play, stream=False)
    (body,) = play.bodies()
    facts, manners, missing, old = body["messages"][-1]["content"].splitlines()[2:6]
    assert facts == "Facts: The boiler is in the cellar."
    assert manners == "Manners: Speak in a warm tone."
    assert missing.startswith("Missing: [mcp_resource is not available now: ")
    assert old.startswith("Old: [mcp_prompt is not available now: ")
    assert names(body) == [], "the model must not be offered mcp_resource or mcp_prompt"


def test_invalid_templates_are_problems_at_their_place(daemon: Daemon) -> None:
    def problems() -> list[str]:
        found = daemon.get("/admin/status").json()["config"]["problems"]
        return [problem["message"] for problem in found if "broken" in problem["file"]]

    first, second = eventually(problems, "the broken model is reported")
    assert 'names no MCP server of servers.yaml: "note" (did you mean "notes"?)' in first
    assert second.endswith("needs name")
