"""A tool in `confirm`, called by MCP clients that can ask their person, and by ones that cannot."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from mcp_types import ElicitResult

from .conftest import GatewayDaemon

MODE = pytest.mark.parametrize("mode", ["legacy", "auto"], ids=["handshake", "stateless"])
MODEL = {"name": "augmented/careful", "upstream_model": "echo", "tools": ["double"], "confirm": ["double"]}
CAPABLE = {"io.modelcontextprotocol/clientCapabilities": {"elicitation": {}}}


@pytest.fixture(scope="module")
def careful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayDaemon]:
    found = GatewayDaemon(tmp_path_factory.mktemp("careful"))
    found.daemon.write("models/careful.yaml", json.dumps(MODEL))
    with found.serving():
        yield found


class Person:
    """Answers every question with `action`, and records them."""

    def __init__(self, action: str) -> None:
        self.action = action
        self.asked: list[str] = []

    async def __call__(self, context: Any, params: Any) -> ElicitResult:
        self.asked.append(params.message)
        return ElicitResult(action=self.action, content={} if self.action == "accept" else None)


@MODE
@pytest.mark.parametrize("path", ["", "augmented/careful"])
async def test_the_person_is_asked_and_agrees(careful: GatewayDaemon, mode: str, path: str) -> None:
    person = Person("accept")
    async with careful.client(path, mode=mode, elicitation_callback=person) as client:
        result = await client.call_tool("double", {"number": 21})
    assert result.content[0].text == "42"
    assert person.asked == ['May double run with {"number":21}?']


@MODE
async def test_a_refusal_is_respected(careful: GatewayDaemon, mode: str) -> None:
    async with careful.client(mode=mode, elicitation_callback=Person("decline")) as client:
        result = await client.call_tool("double", {"number": 21})
    assert result.is_error
    assert "has declined" in result.content[0].text


@MODE
async def test_a_client_that_cannot_ask_gets_an_explanation(careful: GatewayDaemon, mode: str) -> None:
    async with careful.client(mode=mode) as client:
        result = await client.call_tool("double", {"number": 21})
    assert result.is_error
    assert "needs a person's consent" in result.content[0].text


def ask(careful: GatewayDaemon, **members: Any) -> dict[str, Any]:
    params = {"name": "double", "arguments": {"number": 21}, "_meta": CAPABLE, **members}
    return dict(careful.post("tools/call", params, modern=True).json()["result"])


def test_an_answer_is_valid_once_for_its_question(careful: GatewayDaemon) -> None:
    asked = ask(careful)
    assert asked["resultType"] == "input_required"
    state, yes = asked["requestState"], {"confirm": {"action": "accept", "content": {}}}
    for other in (
        {"requestState": "made up", "inputResponses": yes},
        {"requestState": state, "inputResponses": yes, "arguments": {"number": 22}},
        {"requestState": state, "inputResponses": {}},
        {"inputResponses": yes},
    ):
        assert ask(careful, **other)["resultType"] == "input_required"
    done = ask(careful, requestState=state, inputResponses=yes)
    assert done["content"][0]["text"] == "42"
    assert ask(careful, requestState=state, inputResponses=yes)["resultType"] == "input_required"


def test_an_answer_without_a_question_is_accepted_without_effect(careful: GatewayDaemon) -> None:
    body = json.dumps({"jsonrpc": "2.0", "id": "confirm-x", "result": {"action": "accept"}}).encode()
    assert careful.daemon.post("/mcp", body, headers=[("mcp-protocol-version", "2025-11-25")]).status == 202
