"""`execute_tools`: a plain model's calls to tools that we have are run here, whatever API the client speaks."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.augmented.configurations import TOOLS
from tests.front.configurations import connection, serving
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, completion, delta, event, plain, stream
from tests.harness.scripts import Seen
from tests.harness.upstream import Upstream

NUMBER: Final = {"type": "object", "properties": {"number": {"type": "integer"}}}
CALL: Final = {"index": 0, "id": "call_1", "type": "function",
               "function": {"name": "double", "arguments": '{"number":21}'}}  # fmt: skip
ASKS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "chat": ("/v1/chat/completions", {
        "messages": [{"role": "user", "content": "Twice 21?"}],
        "tools": [{"type": "function", "function": {"name": "double", "parameters": NUMBER}}],
    }),
    "responses": ("/v1/responses", {
        "input": "Twice 21?", "tools": [{"type": "function", "name": "double", "parameters": NUMBER}],
    }),
    "messages": ("/v1/messages", {
        "max_tokens": 99, "messages": [{"role": "user", "content": "Twice 21?"}],
        "tools": [{"name": "double", "input_schema": NUMBER}],
    }),
    "ollama": ("/api/chat", {
        "messages": [{"role": "user", "content": "Twice 21?"}],
        "tools": [{"type": "function", "function": {"name": "double", "parameters": NUMBER}}],
    }),
    "gemini": ("/v1beta/models/{}:generateContent", {
        "contents": [{"role": "user", "parts": [{"text": "Twice 21?"}]}],
        "tools": [{"functionDeclarations": [{"name": "double", "parametersJsonSchema": NUMBER}]}],
    }),
}  # fmt: skip


@pytest.fixture(scope="module")
def daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = upstream.url.removesuffix("/v1")
    conf = {
        "connections": {
            "main": connection(upstream.url),
            "claude": connection(root, api_type="anthropic"),
            "box": connection(root, api_type="ollama"),
        },
        "default_connection": "main",
        "execute_tools": True,
    }
    with serving(tmp_path_factory.mktemp("tools"), conf, "spliced", files=TOOLS) as daemon:
        yield daemon


def calls_once(seen: Seen) -> bytes:
    """A model that calls `double` and then states the result."""
    body = seen.json()
    results = [message["content"] for message in body.get("messages", ()) if message["role"] == "tool"]
    if body.get("stream"):
        if results:
            return stream(delta(f"It is {results[-1]}."), delta("", finish="stop"), DONE)
        call = {"index": 0, "delta": {"tool_calls": [CALL]}, "finish_reason": None}
        return stream(event({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [call]}),
                      delta("", finish="tool_calls"), DONE)  # fmt: skip
    if results:
        return plain(completion(f"It is {results[-1]}."))
    document = json.loads(completion(""))
    document["choices"][0] = {"index": 0, "finish_reason": "tool_calls",
                              "message": {"role": "assistant", "content": None, "tool_calls": [CALL]}}  # fmt: skip
    return plain(json.dumps(document).encode())


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", ASKS)
def test_our_tool_runs_and_the_client_gets_the_answer(
    daemon: Daemon, upstream: Upstream, api: str, streamed: bool
) -> None:
    play = upstream.acting(calls_once)
    path, body = ASKS[api]
    if api == "gemini" and streamed:
        path = path.replace("generateContent", "streamGenerateContent?alt=sse")
    asked = {"model": play.model, **body, "stream": streamed}
    if api == "gemini":
        del asked["model"], asked["stream"]
    answer = daemon.post(path.format(play.model), json.dumps(asked).encode())
    assert answer.status == 200
    assert b"It is 42." in answer.body or b"42" in answer.body  # a stream may split the sentence
    assert b"tool_use" not in answer.body
    assert b"function_call_arguments" not in answer.body
    assert play.paths() == ["/chat/completions"] * 2
    assert play.bodies()[1]["messages"][-1]["content"] == "42"


@pytest.mark.parametrize(
    ("api", "model", "tools"),
    [
        ("messages", "claude:{}", [{"name": "theirs", "input_schema": NUMBER}]),
        ("messages", "claude:{}", [{"type": "web_search_20250305", "name": "double"}]),
        ("responses", "main:{}", [{"type": "function", "name": "theirs", "parameters": NUMBER}]),
        ("ollama", "box:{}", [{"type": "function", "function": {"name": "theirs", "parameters": NUMBER}}]),
    ],
)
def test_tools_of_the_client_alone_change_nothing(
    daemon: Daemon, upstream: Upstream, api: str, model: str, tools: list[dict[str, Any]]
) -> None:
    """The provider has the client's API: it gets the client's document, and the client gets its bytes."""
    said = b'{"untouched": true}'
    play = upstream.acting(lambda seen: plain(said))
    path, body = ASKS[api]
    answer = daemon.post(path, json.dumps({**body, "model": model.format(play.model), "tools": tools}).encode())
    assert (answer.status, answer.body) == (200, said)
    assert play.bodies()[0]["tools"] == tools


def test_a_conversation_stored_by_the_provider_is_left_to_it(daemon: Daemon, upstream: Upstream) -> None:
    said = b'{"untouched": true}'
    play = upstream.acting(lambda seen: plain(said))
    path, body = ASKS["responses"]
    asked = {**body, "model": play.model, "previous_response_id": "resp_theirs"}
    answer = daemon.post(path, json.dumps(asked).encode())
    assert (answer.status, answer.body) == (200, said)
    assert play.paths() == ["/responses"]
