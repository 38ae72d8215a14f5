"""Ollama's API for every model: with its own library, and byte by byte."""

import json
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.clients.conftest import FRIEND, KEY
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, FIN, HOLD, chunk, completion, delta, event, head, plain, stream
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Answer

ASK = [{"role": "user", "content": "Hello"}]
NDJSON = {"Content-Type": "application/x-ndjson", "Transfer-Encoding": "chunked"}


@pytest.fixture
def client(daemon: Daemon) -> Iterator[ollama.Client]:
    made = ollama.Client(f"http://127.0.0.1:{daemon.port}", headers={"Authorization": f"Bearer {KEY}"})
    yield made
    made._client.close()


def post(daemon: Daemon, path: str, body: dict[str, Any], **more: Any) -> Answer:
    return daemon.post(path, json.dumps(body).encode(), key=more.pop("key", KEY), **more)


def lines(*documents: dict[str, Any]) -> bytes:
    return b"".join(
        json.dumps({"model": "m", "created_at": "2026-01-01T00:00:00Z", **d}).encode() + b"\n" for d in documents
    )


def piece(text: str) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": text}, "done": False}


ENDED = {**piece(""), "done": True, "done_reason": "stop", "prompt_eval_count": 9, "eval_count": 2, "total_duration": 7}


def call(name: str, arguments: str) -> bytes:
    entry = {"index": 0, "id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
    choice = {"index": 0, "delta": {"tool_calls": [entry]}, "finish_reason": None}
    return event({"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})


@pytest.mark.parametrize("model", ["echo", "echo:latest", "augmented/home", "augmented/home:latest"])
def test_chat_whole_and_streamed(client: ollama.Client, model: str) -> None:
    whole = client.chat(model, ASK)
    assert (whole.message.content, whole.done, whole.done_reason) == ("Hello", True, "stop")
    assert whole.eval_count
    pieces = list(client.chat(model, ASK, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == "Hello"
    assert [piece.done for piece in pieces][-2:] == [False, True]
    assert pieces[0].model == model


def test_generate_remembers_the_conversation(client: ollama.Client, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Bo.")))
    first = client.generate(play.model, "My name is Bo.", options={"temperature": 0})
    second = client.generate(play.model, "My name?", context=first.context, system="Be short.")
    assert (first.response, second.response) == ("Bo.", "Bo.")
    asked = play.wait(2).json()
    assert [message["content"] for message in asked["messages"]] == ["Be short.", "My name is Bo.", "Bo.", "My name?"]
    assert play.wait(1).json()["temperature"] == 0


def test_home_assistants_turn_with_tools_thoughts_and_options(daemon: Daemon, upstream: Upstream) -> None:
    thought = event({"choices": [{"index": 0, "delta": {"reasoning_content": "hm"}, "finish_reason": None}]})
    play = upstream.rounds(
        stream(thought, call("light.turn_on", ""), call("", '{"name":"lamp"}'), delta("", finish="tool_calls"), DONE),
        stream(delta("It is on."), delta("", finish="stop"), DONE),
    )
    tools = [{"type": "function", "function": {"name": "light.turn_on", "parameters": {"type": "object"}}}]
    body: dict[str, Any] = {
        "model": play.model, "stream": True, "options": {"num_ctx": 8192.0, "odd\r\nX-Odd: name": 1},
        "keep_alive": -1.0, "think": False,
        "messages": ASK, "tools": tools,
    }  # fmt: skip
    answer = post(daemon, "/api/chat", body)
    assert answer.header("content-type") == "application/x-ndjson"
    assert answer.header("x-proxy-dropped") == "options.num_ctx, keep_alive"
    first, last = [json.loads(line) for line in answer.body.splitlines()][-2:]
    assert first["message"]["tool_calls"][0]["function"]["arguments"] == {"name": "lamp"}
    assert (first["message"]["tool_calls"][0]["function"]["name"], last["done"]) == ("light.turn_on", True)
    asked = play.wait(1).json()
    assert asked["tools"][0]["function"]["name"] == "light_turn_on"
    assert asked["reasoning_effort"] == "none"
    assert not asked.keys() & {"options", "keep_alive", "think"}
    turn = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{"function": {"name": "light.turn_on", "arguments": {}}}],
    }
    body["messages"] = [*ASK, turn, {"role": "tool", "content": '{"success": true}'}]
    answer = post(daemon, "/api/chat", body)
    assert json.loads(answer.body.splitlines()[0])["message"]["content"] == "It is on."
    _, assistant, result = play.wait(2).json()["messages"]
    assert result["tool_call_id"] == assistant["tool_calls"][0]["id"]


def test_structured_output_and_images(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion('{"a":1}')))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    message = {"role": "user", "content": "what?", "images": ["iVBORw0KGgoAAAANSUhEUg=="]}
    answer = post(daemon, "/api/chat", {"model": play.model, "stream": False, "format": schema, "messages": [message]})
    assert answer.json()["message"]["content"] == '{"a":1}'
    asked = play.wait().json()
    assert asked["response_format"]["json_schema"]["schema"] == schema
    assert asked["messages"][0]["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")


def test_embeddings(client: ollama.Client) -> None:
    assert client.embed("m-small", ["a"]).embeddings == [[0.25, -0.5, 1.0]]
    assert client.embeddings("m-small", "a").embedding == [0.25, -0.5, 1.0]


def test_an_empty_prompt_loads_without_a_request_upstream(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    for path in ("/api/chat", "/api/generate"):
        answer = post(daemon, path, {"model": play.model, "keep_alive": 0})
        assert (answer.status, answer.json()["done_reason"]) == (200, "unload")
    assert play.requests == []


def test_bytes_pass_unchanged_to_an_ollama_server(daemon: Daemon, upstream: Upstream) -> None:
    sent = lines(piece("Hel"), piece("lo"), ENDED)
    play = upstream.play(
        head("200 OK", NDJSON) + chunk(sent[:70]) + chunk(sent[70:]) + chunk(b"", size="0"), name="box"
    )
    body = b'{ "model":"%b",  "messages":[{"role":"user","content":"Hello"}], "unknown": 1.50 }' % play.model.encode()
    answer = daemon.post("/api/chat", body, key=KEY)
    assert answer.body == sent
    seen = play.wait()
    assert (seen.target, seen.body) == ("/api/chat", body)
    assert seen.header("authorization") == "Bearer sk-canary-7f3e9a1c5b8d2046upstream"
    log = eventually(
        lambda: [t for p in daemon.logs_dir.glob("box*") if "Hello" in (t := p.read_text())],
        "the answer is in the chat log",
    )
    assert '"prompt_tokens":9' in log[0]


def test_members_changed_by_params_are_translated_both_ways(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(lines({**ENDED, "message": {"role": "assistant", "content": "Hi"}})), name="warm")
    answer = post(
        daemon, "/api/chat", {"model": play.model, "stream": False, "messages": ASK, "options": {"num_ctx": 7}}
    )
    assert answer.json()["message"]["content"] == "Hi"
    assert answer.json()["total_duration"] == 7
    seen = play.wait()
    assert seen.target == "/api/chat"
    assert seen.json()["options"] == {"num_ctx": 7, "temperature": 0.25}


def test_a_chat_client_reaches_an_ollama_server_with_its_options(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(lines({**ENDED, "message": {"role": "assistant", "content": "Hi"}})), name="box")
    answer = post(daemon, "/v1/chat/completions", {"model": play.model, "messages": ASK})
    assert answer.json()["choices"][0]["message"]["content"] == "Hi"
    seen = play.wait()
    assert (seen.target, seen.json()["options"], seen.json()["keep_alive"]) == ("/api/chat", {"num_ctx": 16384}, "1h")


def test_a_stream_that_breaks_ends_with_an_error_line(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(stream(delta("It is "), delta("on"), end=b""), FIN)
    answer = post(daemon, "/api/chat", {"model": play.model, "messages": ASK})
    *texts, last = [json.loads(line) for line in answer.body.splitlines()]
    assert "".join(text["message"]["content"] for text in texts) == "It is on"
    assert "done" not in last
    assert isinstance(last["error"], str)
    assert answer.complete


def test_the_providers_errors_have_ollamas_format(daemon: Daemon, upstream: Upstream, client: ollama.Client) -> None:
    error = {"error": {"message": "Too long.", "type": "invalid_request_error", "param": None, "code": None}}
    play = upstream.play(plain(json.dumps(error).encode(), "400 Bad Request"))
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(play.model, ASK)
    assert (caught.value.status_code, caught.value.error) == (400, "Too long.")


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        ("/api/chat", {"model": "echo", "messages": 3}, 400, "'messages' must be a list."),
        ("/api/chat", {"messages": ASK}, 400, "names no model"),
        ("/api/chat", {"model": 3, "messages": ASK}, 400, "string"),
        ("/api/generate", {"model": "echo", "prompt": "x", "suffix": "y"}, 400, "suffix"),
        ("/api/embed", {"model": "echo", "input": 3}, 400, "'input' must be"),
        ("/api/pull", {"model": "echo"}, 501, "Models are managed"),
        ("/api/blobs/sha256:0", {}, 501, "Models are managed"),
        ("/api/nothing", {}, 404, "nothing at this path"),
        ("/api/tags", {}, 405, "GET"),
    ],
)
def test_our_errors_have_ollamas_format(daemon: Daemon, path: str, body: Any, status: int, words: str) -> None:
    answer = post(daemon, path, body)
    assert answer.status == status
    assert answer.json().keys() == {"error"}
    assert words in answer.json()["error"]


def test_keys_and_groups_apply(daemon: Daemon) -> None:
    assert post(daemon, "/api/chat", {"model": "echo", "messages": ASK}, key=None).status == 401
    assert post(daemon, "/api/chat", {"model": "echo", "messages": ASK}, key="sk-wrong").json()["error"]
    assert post(daemon, "/api/chat", {"model": "echo", "messages": ASK}, key=FRIEND).status == 200
    assert post(daemon, "/api/chat", {"model": "m-small", "messages": ASK}, key=FRIEND).status == 404


def test_commands_run_and_secrets_are_removed(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Hi")))
    text = f"!/set(model={play.model}) My key is {KEY}."
    for path, body in (
        ("/api/chat", {"messages": [{"role": "user", "content": text}]}),
        ("/api/generate", {"prompt": text}),
    ):
        answer = post(daemon, path, {"model": "echo", "stream": False, **body})
        assert answer.status == 200, answer.body
        content = play.wait(len(play.requests)).json()["messages"][-1]["content"]
        assert "!/set" not in content
        assert KEY not in content
    assert len(play.requests) == 2


def test_a_disconnect_closes_the_upstream(daemon: Daemon, upstream: Upstream) -> None:
    play: Play = upstream.play(
        head("200 OK", {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}) + chunk(delta("Hi")), HOLD
    )
    with daemon.wire() as wire:
        body = json.dumps({"model": play.model, "messages": ASK}).encode()
        wire.request("POST", "/api/chat", body=body, key=KEY)
        seen = play.begun()
    assert seen.gone()


def test_programs_other_than_browsers_get_a_greeting(daemon: Daemon) -> None:
    assert daemon.get("/", headers=[("Accept", "*/*")]).body == b"Ollama is running"
    with daemon.wire() as wire:
        assert wire.request("HEAD", "/", headers=[("Accept", "*/*")]).answer(method="HEAD").status == 200
