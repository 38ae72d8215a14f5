"""The loop with the built-in offline model and the built-in tools: the first minute with a fresh clone."""

import orjson
import pytest

from openai_proxy.exchange import UpstreamRequest, UpstreamResponse
from openai_proxy.tools.builtin import BUILTIN
from openai_proxy.tools.toolbox import Toolbox, build_toolset
from openai_proxy.tools.workers import Workers
from openai_proxy.upstream.echo import EchoProvider
from tests.agent.grammar import check
from tests.agent.support import stream, whole

ECHO = EchoProvider()


async def ask(body: dict[str, object]) -> UpstreamResponse:
    return await ECHO.send(UpstreamRequest("POST", "/chat/completions", body=orjson.dumps(body)))


def toolbox() -> Toolbox:
    return build_toolset(BUILTIN, Workers()).toolbox()


@pytest.mark.parametrize("streamed", [True, False])
async def test_echo_answers_with_a_tool_result(streamed: bool) -> None:
    given = {"model": "echo", "messages": [{"role": "user", "content": 'calculator {"expression": "6*7"}'}]}
    if streamed:
        seen = check(await stream(ask, toolbox(), stream_options={"include_usage": True}, **given), usage_asked=True)
        text, usage, calls = seen.content, seen.usage, seen.calls
    else:
        answer = await whole(ask, toolbox(), **given)
        message = answer["choices"][0]["message"]
        text, usage, calls = message["content"], answer["usage"], message.get("tool_calls", [])
    assert "42" in text
    assert calls == []
    assert usage is not None
    assert usage["total_tokens"] > 0
