"""`/v1/responses` for every model: the real `openai` SDK, stored answers, and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.augmented.configurations import TOOLS
from tests.augmented.talk import conversation
from tests.dialects.responses.chunks import check, events
from tests.front.configurations import connection, serving
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, FIN, HOLD, SSE_HEAD, chunk, completion, delta, plain, stream
from tests.harness.scripts import Play, Seen
from tests.harness.upstream import Upstream

PLAIN = "chatty:m"
AUGMENTED = "augmented/house"
OURS = ("call_ours_00000000000000000001", "double", '{"number":21}')
CALL = ("call_theirs_000000000000000001", "theirs", '{"x":1}')
THEIRS: Any = {"type": "function", "name": "theirs", "parameters": {"type": "object", "properties": {}},
               "strict": False}  # fmt: skip


@pytest.fixture(scope="module")
def daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    conf = {
        "connections": {
            "main": connection(upstream.url),
            "chatty": connection(upstream.url, api="chat"),
            "stall": connection(upstream.url, api="chat", timeout={"connect": 30, "first_byte": 60, "idle": 0.3}),
        },
        "default_connection": "chatty",
        "groups": {"a": {"api_keys": ["sk-first"]}, "b": {"api_keys": ["sk-second"]}},
    }
    files = {
        **TOOLS,
        "models/house.yaml": f"name: {AUGMENTED}\nupstream_model: 'chatty:m'\nsystem_prompt: You are the house.\n"
        "tools: [double]\n",
        "models/speaking.yaml": "name: augmented/reasoning\nupstream_model: 'chatty:m'\ntools: [double]\n"
        "tool_status: reasoning\n",
    }
    with serving(tmp_path_factory.mktemp("inbound"), conf, "spliced", files=files) as daemon:
        yield daemon


@pytest.fixture
def sdk(daemon: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=daemon.url, api_key="sk-first", max_retries=0, timeout=30) as sdk:
        yield sdk


def headers(play: Play) -> dict[str, str]:
    return {"X-Play": play.model}


def ask(daemon: Daemon, body: dict[str, Any], play: Play | None = None, **options: Any) -> Any:
    fields = [("X-Play", play.model)] if play else []
    return daemon.post("/v1/responses", json.dumps(body).encode(), headers=fields, key="sk-first", **options)


@pytest.mark.parametrize("model", [PLAIN, AUGMENTED])
def test_a_text_answer_whole_streamed_and_parsed(sdk: openai.OpenAI, upstream: Upstream, model: str) -> None:
    class City(BaseModel):
        city: str

    play = upstream.rounds(plain(completion("Hello")), stream(delta("Hel"), delta("lo", finish="stop"), DONE),
                           plain(completion('{"city":"Paris"}')))  # fmt: skip
    made = sdk.responses.create(model=model, input="Hi", instructions="Be brief.", extra_headers=headers(play))
    assert (made.output_text, made.model, made.status) == ("Hello", model, "completed")
    assert made.usage is not None
    assert made.usage.total_tokens == 5
    with sdk.responses.stream(model=model, input="Hi", extra_headers=headers(play)) as pieces:
        kinds = [piece.type for piece in pieces]
        assert pieces.get_final_response().output_text == "Hello"
    assert kinds.count("response.output_text.delta") == 2
    parsed = sdk.responses.parse(model=model, input="Hi", text_format=City, extra_headers=headers(play))
    assert parsed.output_parsed == City(city="Paris")
    first = play.bodies()[0]
    assert first["messages"][0]["role"] == "system"
    assert first["messages"][0]["content"].endswith("Be brief.")
    assert play.bodies()[2]["response_format"]["json_schema"]["strict"] is True


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "json"])
def test_tools_of_ours_are_hidden(sdk: openai.OpenAI, upstream: Upstream, streamed: bool) -> None:
    play = conversation(upstream, [OURS], "It is 42.", stream=streamed)
    if streamed:
        with sdk.responses.stream(model=AUGMENTED, input="Hi", extra_headers=headers(play)) as pieces:
            for _ in pieces:
                pass
            made: Any = pieces.get_final_response()
    else:
        made = sdk.responses.create(model=AUGMENTED, input="Hi", extra_headers=headers(play))
    assert [item.type for item in made.output] == ["message"]
    assert made.output_text == "It is 42."


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "json"])
def test_a_mixed_turn(sdk: openai.OpenAI, upstream: Upstream, streamed: bool) -> None:
    play = conversation(upstream, ("One moment.", [OURS, CALL]), "Done.", stream=streamed)

    def turn(**more: Any) -> Any:
        if not streamed:
            return sdk.responses.create(model=AUGMENTED, tools=[THEIRS], extra_headers=headers(play), **more)
        with sdk.responses.stream(model=AUGMENTED, tools=[THEIRS], extra_headers=headers(play), **more) as pieces:
            for _ in pieces:
                pass
            return pieces.get_final_response()

    first = turn(input="Hi")
    assert [item.type for item in first.output] == ["message", "function_call"]
    call = first.output[-1]
    assert (call.call_id, call.name, json.loads(call.arguments)) == (CALL[0], "theirs", {"x": 1})
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "done"}
    second = turn(input=[result], previous_response_id=first.id)
    assert second.output_text == "Done."
    again = play.bodies()[1]["messages"]
    assert [message["role"] for message in again] == ["system", "user", "assistant", "tool", "tool"]
    assert [call["id"] for call in again[2]["tool_calls"]] == [OURS[0], CALL[0]]
    assert [message["content"] for message in again[3:]] == ["42", "done"]


def test_status_is_reasoning_if_configured_else_a_heartbeat(daemon: Daemon, upstream: Upstream) -> None:
    for model, expected in (("augmented/reasoning", "reasoning"), (AUGMENTED, "message")):
        play = conversation(upstream, [OURS], "It is 42.", stream=True)
        answer = ask(daemon, {"model": model, "input": "Hi", "stream": True}, play)
        found = events(answer.body)
        check(found)
        assert found[-1]["response"]["output"][0]["type"] == expected
        assert "proxy_status" not in answer.body.decode()


def test_tools_of_every_kind_come_back_as_they_were_called(daemon: Daemon, upstream: Upstream) -> None:
    calls = [("c1", "ns__f", "{}"), ("c2", "patch", '{"input":"X"}')]
    play = conversation(upstream, calls, stream=True)
    tools = [{"type": "custom", "name": "patch"}, {"type": "web_search"}]
    space = {"type": "namespace", "name": "ns", "tools": [{"type": "function", "name": "f"}]}
    items = [{"type": "additional_tools", "role": "developer", "tools": [space]}, {"role": "user", "content": "Hi"}]
    answer = ask(daemon, {"model": PLAIN, "input": items, "tools": tools, "stream": True}, play)
    assert answer.header("x-proxy-dropped") == "tools.web_search"
    found = events(answer.body)
    check(found)
    spaced, custom = found[-1]["response"]["output"]
    assert (spaced["name"], spaced["namespace"], spaced["arguments"]) == ("f", "ns", "{}")
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "patch", "X")
    assert sorted(tool["function"]["name"] for tool in play.bodies()[0]["tools"]) == ["ns__f", "patch"]


def test_stored_answers(sdk: openai.OpenAI, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Hello")))
    first = sdk.responses.create(model=PLAIN, input="Hi", extra_headers=headers(play))
    second = sdk.responses.create(
        model=PLAIN, input="More", instructions="New.", previous_response_id=first.id, extra_headers=headers(play)
    )
    said = [(message["role"], message["content"]) for message in play.requests[-1].json()["messages"]]
    assert said == [("system", "New."), ("user", "Hi"), ("assistant", "Hello"), ("user", "More")]
    assert sdk.responses.retrieve(second.id).output_text == "Hello"
    items = sdk.responses.input_items.list(second.id, order="asc").data
    assert [getattr(item, "role", "") for item in items] == ["user", "assistant", "user"]
    with pytest.raises(openai.BadRequestError, match="background"):
        sdk.responses.cancel(second.id)
    referred: Any = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "More"}]
    sdk.responses.create(model=PLAIN, input=referred, extra_headers=headers(play))
    assert play.requests[-1].json()["messages"][0] == {"role": "assistant", "content": "Hello"}
    assert sdk.responses.delete(second.id) is None
    with pytest.raises(openai.NotFoundError):
        sdk.responses.retrieve(second.id)


def test_stored_answers_belong_to_their_caller(daemon: Daemon, sdk: openai.OpenAI, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Hello")))
    first = sdk.responses.create(model=PLAIN, input="Hi", extra_headers=headers(play))
    unkept = sdk.responses.create(model=PLAIN, input="Hi", store=False, extra_headers=headers(play))
    assert unkept.to_dict()["store"] is False
    with openai.OpenAI(base_url=daemon.url, api_key="sk-second", max_retries=0) as other:
        for client, response in ((other, first), (sdk, unkept)):
            for attempt in (
                lambda client=client, response=response: client.responses.retrieve(response.id),
                lambda client=client, response=response: client.responses.create(
                    model=PLAIN, input="More", previous_response_id=response.id),
                lambda client=client, response=response: client.responses.create(
                    model=PLAIN, input=[{"type": "item_reference", "id": response.output[0].id}]),
            ):  # fmt: skip
                with pytest.raises(openai.NotFoundError):
                    attempt()
    assert len(play.requests) == 2


def test_conversations(sdk: openai.OpenAI, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Hello")))
    made = sdk.conversations.create(items=[{"role": "user", "content": "I am Ada."}], metadata={"a": "b"})
    sdk.responses.create(model=PLAIN, input="Hi", conversation=made.id, extra_headers=headers(play))
    sdk.responses.create(model=PLAIN, input="Who am I?", conversation=made.id, extra_headers=headers(play))
    said = [message["content"] for message in play.requests[-1].json()["messages"]]
    assert said == ["I am Ada.", "Hi", "Hello", "Who am I?"]
    assert sdk.conversations.retrieve(made.id).metadata == {"a": "b"}
    sdk.conversations.update(made.id, metadata={"c": "d"})
    assert len(sdk.conversations.items.list(made.id, limit=3).data) == 3
    added: Any = sdk.conversations.items.create(made.id, items=[{"role": "user", "content": "x"}])
    item = added.data[0]
    assert sdk.conversations.items.retrieve(item.id, conversation_id=made.id).id == item.id
    sdk.conversations.items.delete(item.id, conversation_id=made.id)
    assert sdk.conversations.delete(made.id).deleted
    for attempt in (
        lambda: sdk.conversations.retrieve(made.id),
        lambda: sdk.responses.create(model=PLAIN, input="Hi", conversation=made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            attempt()


def test_tokens_are_estimated(sdk: openai.OpenAI) -> None:
    for model in (PLAIN, AUGMENTED):
        counted = sdk.responses.input_tokens.with_raw_response.count(model=model, input="Hi")
        assert counted.parse().input_tokens > 0
        assert counted.headers["x-request-id"]


BAD: list[tuple[dict[str, Any], int, str]] = [
    ({"background": True}, 400, "background"),
    ({"prompt": {"id": "pmpt_1"}}, 400, "prompt"),
    ({"previous_response_id": "resp_nobody"}, 404, "previous_response_id"),
    ({"previous_response_id": "resp_1", "conversation": "conv_1"}, 400, "previous_response_id"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, 400, "input[0].call_id"),
    ({"input": [{"type": "hologram"}]}, 400, "input[0]"),
    ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, 400, "tool_choice"),
    ({"tools": [{"type": "image_generation"}], "tool_choice": {"type": "image_generation"}}, 400, "tool_choice"),
    ({"input": 7}, 400, "input"),
]


@pytest.mark.parametrize("model", [PLAIN, AUGMENTED])
@pytest.mark.parametrize(("more", "status", "param"), BAD, ids=[param for _, _, param in BAD])
def test_bad_requests(daemon: Daemon, model: str, more: dict[str, Any], status: int, param: str) -> None:
    answer = ask(daemon, {"model": model, "input": "Hi", **more})
    assert answer.status == status
    error = answer.json()["error"]
    assert error["param"] == param
    assert error["message"]
    if status == 404:
        assert error["code"] == "previous_response_not_found"


def test_no_connection_is_made_to_a_server_named_in_a_request(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Hello")))
    before = upstream.accepted
    tool = {"type": "mcp", "server_label": "x", "server_url": f"{upstream.url}/mcp"}
    assert ask(daemon, {"model": PLAIN, "input": "Hi", "tools": [tool]}, play).status == 200
    assert "tools" not in play.requests[0].json()
    assert upstream.accepted <= before + 1


@pytest.mark.parametrize("model", [PLAIN, AUGMENTED])
def test_a_provider_that_breaks_off_is_an_error_and_nothing_is_stored(
    daemon: Daemon, upstream: Upstream, model: str
) -> None:
    play = upstream.play(SSE_HEAD, chunk(delta("one ")), FIN)
    answer = ask(daemon, {"model": model, "input": "Hi", "stream": True}, play)
    found = events(answer.body)
    assert [event["type"] for event in found[-2:]] == ["response.failed", "error"]
    check(found)
    with (
        openai.OpenAI(base_url=daemon.url, api_key="sk-first", max_retries=0) as sdk,
        pytest.raises(openai.NotFoundError),
    ):
        sdk.responses.retrieve(found[0]["response"]["id"])


def test_a_provider_that_stalls_is_an_error(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(SSE_HEAD, chunk(delta("one ")), HOLD)
    answer = ask(daemon, {"model": "stall:m", "input": "Hi", "stream": True}, play)
    assert [event["type"] for event in events(answer.body)[-2:]] == ["response.failed", "error"]


def test_errors_before_the_stream_are_plain_http(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b'{"error":{"message":"Too much.","type":"rate_limit_error","code":"x"}}', "429 Slow"))
    for streamed in (True, False):
        answer = ask(daemon, {"model": PLAIN, "input": "Hi", "stream": streamed}, play)
        assert answer.status == 429
        assert answer.json()["error"]["message"] == "Too much."


def test_a_disconnect_ends_the_providers_request(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(SSE_HEAD, chunk(delta("one ")), HOLD)
    with daemon.wire() as wire:
        body = json.dumps({"model": PLAIN, "input": "Hi", "stream": True}).encode()
        wire.request("POST", "/v1/responses", body=body, headers=[("X-Play", play.model)], key="sk-first")
        wire.read_head()
        wire.read_until(b"output_text.delta")
    assert play.begun().gone()


def test_a_plain_model_with_native_responses_passes_unchanged(daemon: Daemon, upstream: Upstream) -> None:
    answer_body = b'{"id":"resp_theirs", "object":"response","odd":1.0}'
    play = upstream.play(plain(answer_body))
    body = b'{ "model":"%b", "input":"Hi","prompt":{"id":"pmpt_1"},  "background":true}' % play.model.encode()
    answer = daemon.post("/v1/responses", body.replace(b'"gpt', b'"gpt'), headers=[], key="sk-first")
    assert answer.status == 400, "`prompt` is refused, since the default connection is translated to chat"
    named = body.replace(play.model.encode(), b"main:" + play.model.encode())
    answer = daemon.post("/v1/responses", named, key="sk-first")
    assert (answer.status, answer.body) == (200, answer_body)
    seen = play.requests[0]
    assert seen.target == "/v1/responses"
    assert seen.body == named.replace(b"main:", b"")


def test_requests_to_a_server_without_responses_are_translated_from_then_on(upstream: Upstream, tmp_path: Any) -> None:
    def answer(seen: Seen) -> bytes:
        if seen.target.endswith("/responses"):
            return plain(b'{"detail":"Not Found"}', "404 Not Found")
        return plain(completion("by chat"))

    play = upstream.acting(answer)
    conf = {"connections": {"main": connection(upstream.url)}}
    with serving(tmp_path, conf, "spliced") as daemon:
        for _ in range(3):
            made = daemon.post("/v1/responses", json.dumps({"model": play.model, "input": "Hi"}).encode())
            assert made.json()["output"][0]["content"][0]["text"] == "by chat"
    assert play.paths() == ["/responses", *["/chat/completions"] * 3]


def test_an_unknown_model_gets_the_servers_answer(upstream: Upstream, tmp_path: Any) -> None:
    body = b'{"error":{"message":"The model does not exist","code":"model_not_found"}}'
    play = upstream.acting(lambda seen: plain(body, "404 Not Found"))
    with serving(tmp_path, {"connections": {"main": connection(upstream.url)}}, "spliced") as daemon:
        made = daemon.post("/v1/responses", json.dumps({"model": play.model, "input": "Hi"}).encode())
        assert (made.status, made.body) == (404, body)
    assert play.paths() == ["/responses"]


def test_a_websocket_is_refused_so_that_codex_falls_back(daemon: Daemon) -> None:
    with daemon.wire() as wire:
        upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"),
                   ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")]  # fmt: skip
        answer = wire.request("GET", "/v1/responses", headers=upgrade, key="sk-first").answer(method="GET")
    assert answer.status == 426


def test_stored_answers_survive_a_restart(upstream: Upstream, tmp_path: Path) -> None:
    conf = {"connections": {"chatty": connection(upstream.url, api="chat")}}
    play = upstream.acting(lambda seen: plain(completion("Blue.")))
    fields = [("X-Play", play.model)]
    state = tmp_path / "state" / "responses.json"

    def post(daemon: Daemon, path: str, body: dict[str, Any]) -> dict[str, Any]:
        answer = daemon.post(path, json.dumps(body).encode(), headers=fields)
        assert answer.status == 200, answer.body
        made: dict[str, Any] = json.loads(answer.body)
        return made

    with serving(tmp_path, conf, "spliced") as daemon:
        begun = post(daemon, "/v1/conversations", {"items": [{"role": "user", "content": "My colour?"}]})
        first = post(daemon, "/v1/responses", {"model": "m", "input": "My colour is blue."})
    assert state.stat().st_mode & 0o777 == 0o600
    with serving(tmp_path, conf, "spliced") as daemon:
        post(daemon, "/v1/responses", {"model": "m", "input": "Which?", "previous_response_id": first["id"]})
        assert [message["content"] for message in play.bodies()[-1]["messages"]] == [
            "My colour is blue.", "Blue.", "Which?",
        ]  # fmt: skip
        assert json.loads(daemon.get(f"/v1/conversations/{begun['id']}").body)["id"] == begun["id"]
        assert daemon.get(f"/v1/responses/{first['id']}").status == 200
