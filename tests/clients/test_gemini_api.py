"""Gemini's API for every model."""

import json
from typing import Any

import pytest

from tests.clients.conftest import FRIEND, KEY
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, FIN, completion, delta, event, plain, stream
from tests.harness.upstream import Upstream
from tests.harness.wire import Answer

ASK = {"contents": [{"role": "user", "parts": [{"text": "Hello"}]}]}


def post(daemon: Daemon, target: str, body: dict[str, Any] = ASK, *, key: str | None = KEY) -> Answer:
    headers = [("x-goog-api-key", key)] if key else []
    return daemon.post(target, json.dumps(body).encode(), headers=headers)


def parts(document: dict[str, Any]) -> list[dict[str, Any]]:
    return list(document["candidates"][0]["content"]["parts"])


def events(answer: Answer) -> list[dict[str, Any]]:
    assert answer.header("content-type") == "text/event-stream"
    return [json.loads(data.removeprefix(b"data: ")) for data in answer.body.split(b"\r\n\r\n") if data]


@pytest.mark.parametrize("root", ["/v1beta", "/v1"])
@pytest.mark.parametrize("model", ["echo", "augmented/home", "augmented%2Fhome"])
def test_every_model_answers_whole_as_events_and_as_an_array(daemon: Daemon, root: str, model: str) -> None:
    whole = post(daemon, f"{root}/models/{model}:generateContent")
    assert (whole.status, parts(whole.json())) == (200, [{"text": "Hello"}])
    assert whole.json()["usageMetadata"]["totalTokenCount"] > 0
    streamed = events(post(daemon, f"{root}/models/{model}:streamGenerateContent?alt=sse"))
    assert [part["text"] for document in streamed for part in parts(document)][-2:] == ["Hello", ""]
    assert streamed[-1]["candidates"][0]["finishReason"] == "STOP"
    array = post(daemon, f"{root}/models/{model}:streamGenerateContent")
    assert array.header("content-type") == "application/json"
    assert {"text": "Hello"} in [part for document in array.json() for part in parts(document)]


def test_the_key_may_be_in_the_query_and_is_never_forwarded(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Hi")))
    for target, key in ((f"?key={KEY}", None), ("", KEY)):
        assert post(daemon, f"/v1beta/models/{play.model}:generateContent{target}", key=key).status == 200
        seen = play.wait(len(play.requests))
        assert seen.target == "/v1/chat/completions"
        assert KEY not in str(seen.headers)
    assert post(daemon, "/v1beta/models/echo:generateContent?key=wrong", key=None).status == 401
    assert post(daemon, f"/v1beta/models/{play.model}:generateContent", key=FRIEND).status == 404


def test_tools_in_both_directions(daemon: Daemon, upstream: Upstream) -> None:
    entry = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    called = event({"choices": [{"index": 0, "delta": {"tool_calls": [entry]}, "finish_reason": None}]})
    play = upstream.rounds(
        stream(called, delta("", finish="tool_calls"), DONE), stream(delta("Done."), delta("", finish="stop"), DONE)
    )
    target = f"/v1beta/models/{play.model}:streamGenerateContent?alt=sse"
    declared = {"name": "f", "parameters": {"type": "OBJECT", "properties": {"x": {"type": "INTEGER"}}}}
    body: dict[str, Any] = {**ASK, "tools": [{"functionDeclarations": [declared]}, {"googleSearch": {}}]}
    answer = post(daemon, target, body)
    assert answer.header("x-proxy-dropped") == "tools.googleSearch"
    (called_part,) = parts(events(answer)[0])
    assert called_part == {"functionCall": {"id": "call_1", "name": "f", "args": {"x": 1}}}
    result = {"functionResponse": {"id": "call_1", "name": "f", "response": {"result": "2"}}}
    turns = [{"role": "model", "parts": [called_part]}, {"role": "user", "parts": [result]}]
    body["contents"] = [*ASK["contents"], *turns]
    assert parts(events(post(daemon, target, body))[0]) == [{"text": "Done."}]
    assert play.wait(1).json()["tools"][0]["function"]["parameters"]["properties"] == {"x": {"type": "integer"}}
    assert play.wait(2).json()["messages"][-1] == {"role": "tool", "tool_call_id": "call_1", "content": "2"}


def test_counts_and_embeddings(daemon: Daemon) -> None:
    assert 0 < post(daemon, "/v1beta/models/echo:countTokens").json()["totalTokens"] < 20
    content = {"content": {"parts": [{"text": "a"}]}}
    one = post(daemon, "/v1beta/models/m-small:embedContent", content)
    assert one.json() == {"embedding": {"values": [0.25, -0.5, 1.0]}}
    many = post(daemon, "/v1beta/models/m-small:batchEmbedContents", {"requests": [content]})
    assert many.json() == {"embeddings": [{"values": [0.25, -0.5, 1.0]}]}


def test_a_stream_that_breaks_ends_with_an_error(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(stream(delta("It is "), delta("on"), end=b""), FIN)
    last = events(post(daemon, f"/v1beta/models/{play.model}:streamGenerateContent?alt=sse"))[-1]
    assert last["error"]["message"]
    array = post(daemon, f"/v1beta/models/{play.model}:streamGenerateContent").json()
    assert array[-1]["error"]["message"]


@pytest.mark.parametrize(
    ("target", "body", "status", "name"),
    [
        ("/v1beta/models/echo:generateContent", {}, 400, "INVALID_ARGUMENT"),
        ("/v1beta/models/echo:generateContent", {"contents": [{"parts": [{"odd": 1}]}]}, 400, "INVALID_ARGUMENT"),
        ("/v1beta/models/echo:predict", ASK, 405, "UNIMPLEMENTED"),
        ("/v1beta/cachedContents", ASK, 404, "NOT_FOUND"),
        ("/v1beta/models/m-small:generateContent", {**ASK, "cachedContent": "x"}, 400, "INVALID_ARGUMENT"),
    ],
)
def test_our_errors_have_googles_format(
    daemon: Daemon, target: str, body: dict[str, Any], status: int, name: str
) -> None:
    answer = post(daemon, target, body)
    assert (answer.status, answer.json()["error"]["status"]) == (status, name)
    assert answer.json()["error"]["code"] == status


def test_the_providers_errors_have_googles_format(daemon: Daemon, upstream: Upstream) -> None:
    error = {"error": {"message": "Too many.", "type": "rate_limit_error", "param": None, "code": None}}
    play = upstream.play(plain(json.dumps(error).encode(), "429 Too Many Requests"))
    answer = post(daemon, f"/v1beta/models/{play.model}:generateContent")
    assert (answer.status, answer.json()["error"]["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert answer.json()["error"]["message"] == "Too many."


def test_commands_run_and_secrets_are_removed(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Hi")))
    text = f"!/set(model={play.model}) My key is {KEY}."
    answer = post(daemon, "/v1beta/models/echo:generateContent", {"contents": [{"parts": [{"text": text}]}]})
    assert parts(answer.json()) == [{"text": "Hi"}]
    content = play.wait().json()["messages"][-1]["content"]
    assert "!/set" not in content
    assert KEY not in content
    alone = post(daemon, "/v1beta/models/echo:generateContent", {"contents": [{"parts": [{"text": "!/hello"}]}]})
    assert "openai_proxy" in parts(alone.json())[0]["text"]
