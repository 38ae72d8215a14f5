"""Home Assistant's integrations as clients: the request bodies they send, and their set-up probe."""

import json
from typing import Any

import pytest

from tests.agent import support
from tests.augmented.talk import MODE_IDS, MODES, Call, ask, chat, checked, conversation, names, sse
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream

both_modes = pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)

SDK_HEADERS = [
    ("Authorization", "Bearer sk-0000000000000000000"),
    ("Accept", "application/json"),
    ("Accept-Encoding", "gzip, deflate, zstd"),
    ("User-Agent", "AsyncOpenAI/Python 3.26.0"),
    ("x-stainless-retry-count", "0"),
    ("x-stainless-read-timeout", "600"),
]
TIME = "Current time is 12:34:56. Today's date is 2026-08-22."
SYSTEM = f"You are a voice assistant for Home Assistant.\nAnswer in plain text.\n{TIME}"
HASS_TOOL = {
    "type": "function",
    "function": {
        "name": "HassTurnOn",
        "description": "Turns on a device",
        "parameters": {"type": "object", "properties": {"name": {"type": "string"}}, "required": []},
    },
}
INJECTED = {"role": "tool", "tool_call_id": "injected_content", "content": '{"date": "2026-08-22"}'}
LEGACY = {"name": "execute_services", "description": "", "parameters": {"type": "object", "properties": {}}}


def parts(text: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": text}]


BODIES: dict[str, dict[str, Any]] = {
    "llama_cpp": {
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Six times seven?"}],
        "tools": [HASS_TOOL], "max_tokens": 3000, "top_p": 1.0, "temperature": 0.7, "user": "01JCONVERSATION",
    },
    "litellm": {
        "user": "01JCONVERSATION",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Six times seven?"}],
    },
    "local_openai": {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": parts("Hello")},
            {"role": "assistant", "content": "Hello!"},
            INJECTED,
            {"role": "user", "content": parts("Six times seven?")},
        ],
        "tools": [HASS_TOOL], "temperature": 0.6, "parallel_tool_calls": True,
        "chat_template_kwargs": {"enable_thinking": False}, "metadata": {"session_id": "abc"},
    },
    "extended": {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "reasoning_content": "Hm.", "proxy_trace": {"a": 1}},
            {"role": "user", "content": "Six times seven?"},
        ],
        "top_p": 1, "temperature": 0.5, "max_tokens": 150, "user": "01JCONVERSATION",
        "tools": [HASS_TOOL], "tool_choice": "auto",
    },
    "home-llm": {
        "max_tokens": 512, "temperature": 0.6, "top_p": 0.9,
        "messages": [
            {"role": "system", "content": parts(SYSTEM)},
            {"role": "user", "content": parts("Six times seven?")},
        ],
        "tools": [HASS_TOOL],
    },
}  # fmt: skip


@both_modes
@pytest.mark.parametrize("client", BODIES)
def test_their_requests_are_answered_with_a_tool_of_ours(
    augmented_daemon: Daemon, upstream: Upstream, client: str, stream: bool
) -> None:
    play = conversation(upstream, [("c1", "calculator", '{"expression":"6*7"}')], "It is 42.", stream=stream)
    seen = chat(augmented_daemon, "tools", play, stream=stream, headers=SDK_HEADERS, **BODIES[client])
    assert (seen.content, seen.finish) == ("It is 42.", "stop")
    first, second = play.bodies()
    for name, value in BODIES[client].items():
        if name not in ("messages", "tools"):
            assert first[name] == value
    assert first["messages"][0]["content"].startswith("You are the house.")
    assert second["messages"][-1]["content"] == "42"
    assert "proxy_trace" not in json.dumps(first["messages"])


@pytest.mark.parametrize("client", BODIES)
def test_the_time_is_moved_after_the_constant_part(augmented_daemon: Daemon, upstream: Upstream, client: str) -> None:
    """So that the provider's prompt cache can be used: the line changes in every turn."""
    play = conversation(upstream, "Hello.", stream=True)
    chat(augmented_daemon, "bare", play, stream=True, **BODIES[client])
    messages = play.bodies()[0]["messages"]
    assert TIME not in json.dumps(messages[:-1])
    assert TIME in json.dumps(messages[-1])
    assert messages[-1]["role"] == "user"


@both_modes
def test_legacy_functions_pass_unchanged(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    """extended_openai_conversation may send `functions` and `role: function` messages."""
    history = [
        {"role": "user", "content": "Lights on"},
        {"role": "assistant", "content": None, "function_call": {"name": "execute_services", "arguments": "{}"}},
        {"role": "function", "name": "execute_services", "content": "[]"},
    ]
    play = conversation(upstream, "They are on.", stream=stream)
    given = {"functions": [LEGACY], "function_call": "auto"}
    seen = chat(augmented_daemon, "bare", play, stream=stream, messages=history, **given)
    assert seen.content == "They are on."
    (body,) = play.bodies()
    assert body["functions"] == [LEGACY]
    assert body["messages"][1:] == history


PROBE = {
    "messages": [{"role": "user", "content": "What is the capital of France?"}],
    "max_tokens": 3,
    "tools": [
        {"type": "function", "function": {"name": "test_function", "description": "A test function",
         "parameters": {"type": "object", "properties": {}}}}
    ],
}  # fmt: skip


@both_modes
@pytest.mark.parametrize("model", ["tools", "templates"])
@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens"])
def test_the_set_up_probe_runs_no_tool_and_does_not_wait(
    augmented_daemon: Daemon, upstream: Upstream, model: str, limit: str, stream: bool
) -> None:
    """If the streamed one fails, the integration never streams again. It must not wait for a slow template."""
    ours: list[Call] = [("c1", "calculator", '{"expression":"6*7"}')]
    play = conversation(upstream, ours, stream=stream)
    body = {**PROBE, limit: PROBE["max_tokens"]}
    if limit != "max_tokens":
        body["max_tokens"] = None if model == "templates" else 5000  # either of the two is enough
    seen = chat(augmented_daemon, model, play, stream=stream, headers=SDK_HEADERS, **body)
    (sent,) = play.bodies()
    assert names(sent) == ["test_function"]
    assert sent[limit] == 3
    assert seen.finish == "tool_calls"


@both_modes
def test_a_probe_cut_off_by_its_own_limit_is_successful(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    data = sse(support.says("The", "length")) if stream else plain(support.completion({"content": "The"}, "length"))
    seen = chat(augmented_daemon, "tools", upstream.rounds(data), stream=stream, **PROBE)
    assert (seen.content, seen.finish) == ("The", "length")


@pytest.mark.parametrize("path", ["/models", "/v1/models"])
def test_models_are_listed_while_every_provider_is_silent(augmented_daemon: Daemon, path: str) -> None:
    answer = augmented_daemon.get(path, headers=SDK_HEADERS)
    assert answer.status == 200
    assert "augmented/tools" in {model["id"] for model in answer.json()["data"]}


def test_a_path_without_v1_is_answered(augmented_daemon: Daemon, upstream: Upstream) -> None:
    play = conversation(upstream, "Hello.", stream=True)
    answer = ask(augmented_daemon, "augmented/tools", play, stream=True, path="/chat/completions", headers=SDK_HEADERS)
    assert checked(answer, "augmented/tools", stream=True).content == "Hello."
    assert answer.header("content-encoding") is None, "a stream must not be compressed"
