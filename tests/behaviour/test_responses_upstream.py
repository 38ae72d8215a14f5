"""Models of an `openai` connection that support only the Responses API, or tools only in it: every client can use them.

The provider is as strict as OpenAI (tests/harness/strict_openai.py): a request that it refuses has failed.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from tests.augmented.configurations import TOOLS
from tests.front.configurations import connection, serving
from tests.harness import strict_openai
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.scripts import Acting, Seen
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

TOOL: Any = {"type": "function", "function": {"name": "theirs", "parameters": {"type": "object", "properties": {}}}}
USER: Any = {"role": "user", "content": "call me"}


@pytest.fixture(scope="module")
def daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    conf = {
        "connections": {
            "main": connection(upstream.url),
            "chatty": connection(upstream.url, api="chat"),
            "modern": connection(upstream.url, api="responses"),
        },
        "default_connection": "main",
        "execute_tools": True,
    }
    files = {
        **TOOLS,
        "models/house.yaml": "name: augmented/house\nupstream_model: passed\nsystem_prompt: You are the house.\n"
        "tools: [double]\nparams: {default: {temperature: 0.3}}\n",
    }
    with serving(tmp_path_factory.mktemp("strict"), conf, "spliced", files=files) as daemon:
        yield daemon


@pytest.fixture
def sdk(daemon: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=daemon.url, api_key="any", max_retries=0, timeout=30) as sdk:
        yield sdk


def strict(upstream: Upstream, kind: str = strict_openai.NEW) -> Acting:
    return upstream.acting(lambda seen: strict_openai.answer(seen, kind), "gpt")


def test_a_plain_chat_request_with_tools_uses_responses(sdk: openai.OpenAI, upstream: Upstream) -> None:
    play = strict(upstream)
    for _ in range(2):
        made = sdk.chat.completions.create(model=play.model, messages=[USER], tools=[TOOL])
        assert made.choices[0].finish_reason == "tool_calls"
        assert made.choices[0].message.tool_calls is not None
        assert made.choices[0].message.tool_calls[0].function.name == "theirs"
        assert made.usage is not None
        assert made.usage.completion_tokens_details is not None
        assert made.usage.completion_tokens_details.reasoning_tokens == 3
    made = sdk.chat.completions.create(model=play.model, messages=[USER])
    assert made.choices[0].message.content == "by chat"
    assert play.paths() == ["/chat/completions", "/responses", "/responses", "/chat/completions"]


def test_a_stream_stays_a_stream(sdk: openai.OpenAI, upstream: Upstream) -> None:
    play = strict(upstream, strict_openai.ONLY)
    for _ in range(2):
        pieces = list(sdk.chat.completions.create(model=play.model, messages=[USER], stream=True))
        said = "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices)
        assert said == "by items after 0 calls"
        assert pieces[-1].choices[0].finish_reason == "stop"
        assert len({piece.id for piece in pieces}) == 1
    assert play.paths() == ["/chat/completions", "/responses", "/responses"]


def test_the_clients_own_tool_round_has_its_reasoning(sdk: openai.OpenAI, upstream: Upstream) -> None:
    play = strict(upstream)
    first = sdk.chat.completions.create(model=play.model, messages=[USER], tools=[TOOL]).choices[0].message
    assert first.tool_calls is not None
    call = first.tool_calls[0]
    asked: Any = {"role": "assistant", "content": None, "tool_calls": [call.model_dump(exclude_none=True)]}
    result: Any = {"role": "tool", "tool_call_id": call.id, "content": "done"}
    made = sdk.chat.completions.create(model=play.model, messages=[USER, asked, result], tools=[TOOL])
    assert made.choices[0].message.content == "by items after 1 calls"
    kinds = [item.get("role", item.get("type")) for item in play.bodies()[-1]["input"]]
    assert kinds == ["user", "reasoning", "function_call", "function_call_output"]


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_an_augmented_model_keeps_its_thoughts_between_its_rounds(
    sdk: openai.OpenAI, upstream: Upstream, daemon: Daemon, stream: bool
) -> None:
    play = strict(upstream)
    asked: Any = {"role": "user", "content": "call and call"}
    headers = {"X-Play": play.model}
    if stream:
        pieces = list(sdk.chat.completions.create(
            model="augmented/house", messages=[asked], stream=True, extra_headers=headers))  # fmt: skip
        said = "".join(choice.delta.content or "" for piece in pieces for choice in piece.choices)
    else:
        made = sdk.chat.completions.create(model="augmented/house", messages=[asked], extra_headers=headers)
        said = made.choices[0].message.content or ""
    assert said.endswith("by items after 2 calls")
    rounds = [body["input"] for body in play.bodies() if "input" in body]
    kinds = [item.get("role", item.get("type")) for item in rounds[-1]]
    assert kinds == ["system", "user", *["reasoning", "function_call", "function_call_output"] * 2]
    assert [item["output"] for item in rounds[-1] if item.get("type") == "function_call_output"] == ["42", "42"]


def test_execute_tools_and_messages_go_the_same_way(sdk: openai.OpenAI, upstream: Upstream, daemon: Daemon) -> None:
    play = strict(upstream)
    double: Any = {"type": "function", "function": {"name": "double", "parameters": {"type": "object"}}}
    made = sdk.chat.completions.create(model=play.model, messages=[USER], tools=[double])
    assert made.choices[0].message.content == "by items after 1 calls"
    root = daemon.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=root, api_key="any", max_retries=0, timeout=30) as claude:
        tool: Any = {"name": "theirs", "input_schema": {"type": "object", "properties": {}}}
        message = claude.messages.create(model=play.model, max_tokens=99, messages=[USER], tools=[tool])
    assert [block.type for block in message.content] == ["thinking", "tool_use"] or message.stop_reason == "tool_use"


def test_the_owners_setting_decides(sdk: openai.OpenAI, upstream: Upstream) -> None:
    play = strict(upstream)
    with pytest.raises(openai.BadRequestError, match="Function tools"):
        sdk.chat.completions.create(model=f"chatty:{play.model}", messages=[USER], tools=[TOOL])
    made = sdk.chat.completions.create(model=f"modern:{play.model}", messages=[{"role": "user", "content": "hi"}])
    assert made.choices[0].message.content == "by items after 0 calls"
    assert play.paths() == ["/chat/completions", "/responses"]


def test_structured_output_and_a_small_token_limit(sdk: openai.OpenAI, upstream: Upstream) -> None:
    play = strict(upstream, strict_openai.ONLY)
    form: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}}
    made = sdk.chat.completions.create(
        model=play.model, messages=[{"role": "user", "content": "hi"}], response_format=form, max_completion_tokens=1
    )
    assert json.loads(made.choices[0].message.content or "") == {"city": "Paris"}
    assert play.bodies()[-1]["max_output_tokens"] == 16


def test_members_without_an_equivalent_are_named(daemon: Daemon, upstream: Upstream) -> None:
    play = strict(upstream, strict_openai.ONLY)
    body = {"model": play.model, "messages": [{"role": "user", "content": "hi"}], "stop": ["x"], "temperature": 1}
    answer = daemon.post("/v1/chat/completions", json.dumps(body).encode())
    assert answer.status == 200
    assert sorted((answer.header("x-proxy-dropped") or "").split(", ")) == ["stop", "temperature"]


def test_a_server_without_responses_is_remembered(sdk: openai.OpenAI, upstream: Upstream) -> None:
    def answer(seen: Seen) -> bytes:
        if seen.target.endswith("/responses"):
            return plain(b'{"detail":"Not Found"}', "404 Not Found")
        return strict_openai.answer(seen)

    play = upstream.acting(answer, "gpt")
    for _ in range(2):
        with pytest.raises(openai.BadRequestError, match="Function tools"):
            sdk.chat.completions.create(model=f"main:{play.model}", messages=[USER], tools=[TOOL])
    assert play.paths() == ["/chat/completions", "/responses", "/chat/completions"]
    other = strict(upstream)  # the lesson is about the connection, not the model
    with pytest.raises(openai.BadRequestError):
        sdk.chat.completions.create(model=other.model, messages=[USER], tools=[TOOL])


def test_lessons_are_reported_and_can_be_forgotten(upstream: Upstream, tmp_path: Path) -> None:
    play = strict(upstream)
    with serving(tmp_path, {"connections": {"main": connection(upstream.url)}}, "spliced") as daemon:
        body = json.dumps({"model": play.model, "messages": [USER], "tools": [TOOL]}).encode()
        assert daemon.post("/v1/chat/completions", body).status == 200

        def run_command(*arguments: str) -> str:
            command = ["-m", "openai_proxy", *arguments, "--config-dir", str(daemon.conf_dir)]
            made = subprocess.run(
                [sys.executable, *command, "--state-dir", str(daemon.state_dir)], capture_output=True, text=True,
                check=True, cwd=tmp_path, timeout=60,
            )  # fmt: skip
            return made.stdout + made.stderr

        words = "supports tools only by the responses API"
        assert f"learnt: main:{play.model} {words}" in run_command("status")
        eventually(lambda: f"learnt: this model {words}" in run_command("explain", play.model), "the lesson is stored")
        assert f"connection main, model {play.model}: {words}" in run_command("check", "--connect")
        assert words not in run_command("status", "--forget", f"main:{play.model}")
        assert daemon.post("/v1/chat/completions", body).status == 200
    assert play.paths() == ["/chat/completions", "/responses"] * 2


def test_lessons_survive_a_restart(upstream: Upstream, tmp_path: Path) -> None:
    conf = {"connections": {"main": connection(upstream.url)}}
    play = strict(upstream)
    for _ in range(2):
        with serving(tmp_path, conf, "spliced") as daemon:
            body = json.dumps({"model": play.model, "messages": [USER], "tools": [TOOL]}).encode()
            assert daemon.post("/v1/chat/completions", body).status == 200
    assert play.paths() == ["/chat/completions", "/responses", "/responses"]
