"""The loop with the real toolbox: what a model gets when a call goes wrong."""

import asyncio
import json
from typing import Any

import pytest

from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.toolbox import Toolbox
from tests.agent.grammar import check
from tests.agent.support import Upstream, asks, says, stream

PARAMETERS = {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]}


class Light:
    """A tool controlled by its arguments."""

    def __init__(self) -> None:
        self.name = "light"
        self.definition = {"type": "function", "function": {"name": "light", "parameters": PARAMETERS}}
        self.calls: list[dict[str, Any]] = []

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        self.calls.append(arguments)
        if arguments.get("hang"):
            await asyncio.Event().wait()
        if arguments.get("fail"):
            return ToolResult("cannot open /etc/house/light.conf", is_error=True)
        return ToolResult("It is on.")


CASES = {
    '{"on":true}': "It is on.",
    '{"on":"yes"}': "Wrong arguments for light",
    "{}": "Wrong arguments for light",
    "": "Wrong arguments for light",
    '{"on":': "not valid JSON",
    "[true]": "must be a JSON object",
    '{"on":true,"hang":true}': "did not answer within",
    '{"on":true,"fail":true}': "cannot open [path]",
}


@pytest.mark.parametrize("arguments", CASES)
async def test_the_model_gets_the_reason(arguments: str) -> None:
    light = Light()
    upstream = Upstream(asks(("1", "light", arguments)), says("ok"))
    seen = check(await stream(upstream, Toolbox([light]), settings={"tool_timeout": 0.05}))
    assert seen.content == "ok"
    (result,) = [m["content"] for m in upstream.requests[1]["messages"] if m["role"] == "tool"]
    assert CASES[arguments] in result
    sent = upstream.requests[1]["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert isinstance(json.loads(sent), dict), "arguments sent back to the provider must be an object"


async def test_a_similar_name_is_not_run() -> None:
    light = Light()
    upstream = Upstream(asks(("1", "lights", '{"on":true}')), says("ok"))
    await stream(upstream, Toolbox([light]))
    assert light.calls == []
    assert "Did you mean light?" in upstream.requests[1]["messages"][2]["content"]
