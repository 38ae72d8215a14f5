"""One answer for the client, whatever happened behind it: rounds with our tools, over real sockets."""

import json
from typing import Any

import pytest

from tests.agent.support import chunk, completion, events
from tests.augmented.talk import (
    CLIENT_TOOL,
    MODE_IDS,
    MODES,
    ask,
    chat,
    checked,
    conversation,
    names,
    request,
    roles,
    sse,
)
from tests.harness.answers import check_error
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import HOLD, plain
from tests.harness.upstream import Upstream

both_modes = pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)


@both_modes
def test_a_tool_of_ours_runs_and_the_client_sees_the_answer(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    play = conversation(upstream, [("c1", "calculator", '{"expression":"6*7"}')], "It is 42.", stream=stream)
    seen = chat(augmented_daemon, "tools", play, stream=stream, usage_asked=True)
    assert (seen.content, seen.calls, seen.finish) == ("It is 42.", [], "stop")
    assert seen.usage is not None
    assert (seen.usage["prompt_tokens"], seen.usage["completion_tokens"], seen.usage["total_tokens"]) == (20, 10, 30)
    assert seen.usage["prompt_tokens_details"]["cached_tokens"] == 8
    first, second = play.bodies()
    assert first["model"] == second["model"] == "m-tools"
    assert roles(first) == ["system", "user"]
    assert first["messages"][0]["content"] == "You are the house."
    assert roles(second) == ["system", "user", "assistant", "tool"]
    assert second["messages"][2]["tool_calls"][0]["id"] == "c1"
    assert second["messages"][3] == {"role": "tool", "tool_call_id": "c1", "content": "42"}
    assert names(first) == sorted(names(first)), "tools must be listed in a stable order"
    assert json.dumps(first["tools"]) == json.dumps(second["tools"])


@both_modes
def test_custom_tools_of_all_three_kinds(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    calls = [
        ("a", "upper", '{"text":"loud"}'),
        ("b", "double", '{"number":21}'),
        ("c", "area", '{"w":3,"h":4}'),
    ]
    play = conversation(upstream, calls, "Done.", stream=stream)
    assert chat(augmented_daemon, "tools", play, stream=stream).content == "Done."
    results = [(m["tool_call_id"], m["content"]) for m in play.bodies()[1]["messages"] if m["role"] == "tool"]
    assert results == [("a", "LOUD"), ("b", "42"), ("c", "area=12")]


FAILING = {
    "raises": ("boom", "{}"),
    "no text": ("nonsense", "{}"),
    "unknown": ("nobody", "{}"),
    "bad arguments": ("double", '{"number":"many"}'),
    "missing arguments": ("area", "{}"),
    "no JSON": ("double", '{"number":'),
    "a huge power": ("calculator", '{"expression":"9**9**9"}'),
    "a long number": ("calculator", json.dumps({"expression": "1" * 100_000})),
    "deep nesting": ("calculator", json.dumps({"expression": "(" * 5000 + ")" * 5000})),
}


@both_modes
@pytest.mark.parametrize("name", FAILING)
def test_a_failing_tool_is_reported_to_the_model(
    augmented_daemon: Daemon, upstream: Upstream, name: str, stream: bool
) -> None:
    tool, arguments = FAILING[name]
    play = conversation(upstream, [("c1", tool, arguments)], "Sorry.", stream=stream)
    assert chat(augmented_daemon, "tools", play, stream=stream).content == "Sorry."
    result = play.bodies()[1]["messages"][-1]
    assert (result["role"], result["tool_call_id"]) == ("tool", "c1")
    assert result["content"]
    assert CANARY not in result["content"]
    assert "/etc/secret" not in result["content"]
    assert "Traceback" not in result["content"]


def test_a_tool_that_hangs_ends_at_its_timeout(augmented_daemon: Daemon, upstream: Upstream) -> None:
    play = conversation(upstream, [("c1", "never", "{}")], "Sorry.", stream=True)
    assert chat(augmented_daemon, "hasty", play, stream=True).content == "Sorry."
    assert "never" in play.bodies()[1]["messages"][-1]["content"]


def test_a_long_result_keeps_its_head_and_its_tail(augmented_daemon: Daemon, upstream: Upstream) -> None:
    play = conversation(upstream, [("c1", "long_text", '{"size":1000000}')], "Done.", stream=True)
    chat(augmented_daemon, "tools", play, stream=True)
    result = play.bodies()[1]["messages"][-1]["content"]
    assert result.startswith("HEAD")
    assert result.endswith("TAIL")
    assert len(result) < 200_000


@both_modes
def test_after_max_tool_rounds_the_model_must_answer(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    def call(number: int) -> list[tuple[str, str, str]]:
        return [(f"c{number}", "double", json.dumps({"number": number}))]

    play = conversation(upstream, call(1), call(2), "Enough.", stream=stream)
    assert chat(augmented_daemon, "two-rounds", play, stream=stream).content == "Enough."
    bodies = play.bodies()
    assert [body.get("tool_choice") for body in bodies] == [None, None, "none"]
    assert names(bodies[2]) == names(bodies[0]), "tools must stay listed because the transcript has calls of them"


@both_modes
def test_a_forced_tool_choice_applies_to_the_first_round(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    play = conversation(upstream, [("c1", "double", '{"number":1}')], "Two.", stream=stream)
    forced: Any = {"type": "function", "function": {"name": "double"}}
    assert chat(augmented_daemon, "tools", play, stream=stream, tool_choice=forced).content == "Two."
    assert [body.get("tool_choice") for body in play.bodies()] in ([forced, "auto"], [forced, None])


@both_modes
def test_a_deadline_withdraws_the_tools_and_still_answers(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    play = conversation(upstream, [("c1", "never", "{}")], "Time is up.", stream=stream)
    assert chat(augmented_daemon, "deadline", play, stream=stream).content == "Time is up."
    assert play.bodies()[1]["tool_choice"] == "none"


@both_modes
def test_a_provider_that_exceeds_the_deadline(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    play = upstream.play(HOLD)
    assert chat(augmented_daemon, "deadline", play, stream=stream).content == "Sorry, that took too long."
    assert play.begun().gone(), "the request to the provider must be closed"


@both_modes
@pytest.mark.parametrize("given", [1, 2])
def test_several_choices_pass_without_a_loop(
    augmented_daemon: Daemon, upstream: Upstream, given: int, stream: bool
) -> None:
    """n > 1: nothing of ours is offered. Ollama and llama.cpp return one choice nevertheless."""
    if stream:
        parts = [chunk({"role": "assistant", "content": f"Answer {i}."}) for i in range(given)]
        ends = [chunk({}, "stop") for _ in range(given)]
        for index in range(given):
            parts[index]["choices"][0]["index"] = ends[index]["choices"][0]["index"] = index
        play = upstream.rounds(sse(events(*parts, *ends)))
    else:
        answer = json.loads(completion({"content": "Answer 0."}))
        answer["choices"] += [
            {**answer["choices"][0], "index": 1, "message": {"role": "assistant", "content": "Answer 1."}}
        ]
        answer["choices"] = answer["choices"][:given]
        play = upstream.rounds(plain(json.dumps(answer).encode()))
    got = ask(augmented_daemon, "augmented/tools", play, stream=stream, n=2)
    assert got.status == 200
    if stream:
        assert got.body.endswith(b"data: [DONE]\n\n")
        texts: dict[int, str] = {}
        finished = set()
        for line in got.body.decode().split("\n\n")[:-2]:
            (choice,) = json.loads(line.removeprefix("data: "))["choices"]
            texts[choice["index"]] = texts.get(choice["index"], "") + choice["delta"].get("content", "")
            if choice["finish_reason"]:
                finished.add(choice["index"])
        assert finished == set(texts)
    else:
        texts = {choice["index"]: choice["message"]["content"] for choice in got.json()["choices"]}
    assert texts == {index: f"Answer {index}." for index in range(given)}
    (body,) = play.bodies()
    assert body["n"] == 2
    assert "calculator" not in names(body)


@both_modes
def test_a_call_of_the_clients_tool_goes_to_the_client(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    play = conversation(upstream, ("One moment.", [("call_1", "theirs", "")]), stream=stream)
    seen = chat(augmented_daemon, "tools", play, stream=stream, tools=[CLIENT_TOOL])
    assert (seen.content, seen.finish) == ("One moment.", "tool_calls")
    (call,) = seen.calls
    assert (call["id"], call["type"], call["function"]) == (
        "call_1", "function", {"name": "theirs", "arguments": "{}"},
    )  # fmt: skip
    assert names(play.bodies()[0])[-1] == "theirs", "our tools come first because they are the stable prefix"


def test_all_models_are_listed_with_their_owner_and_description(augmented_daemon: Daemon) -> None:
    listed = {model["id"]: model for model in augmented_daemon.get("/v1/models").json()["data"]}
    model = listed["augmented/tools"]
    assert (model["object"], model["owned_by"], model["description"]) == ("model", "the-house", "Everything")
    assert augmented_daemon.get("/v1/models/augmented/tools").json() == model


def test_on_other_paths_the_model_is_its_upstream_model(augmented_daemon: Daemon, upstream: Upstream) -> None:
    body = json.dumps({"model": "augmented/bare", "input": "Hi"}).encode()
    answer = augmented_daemon.post("/v1/embeddings", body)
    assert answer.json()["model"] == "m-bare"
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\naugmented/bare\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\r\n--b--\r\n'
    )
    before = len(upstream.unclaimed)
    answer = augmented_daemon.post("/v1/audio/transcriptions", form, content_type="multipart/form-data; boundary=b")
    assert answer.json() == {"text": "good morning"}
    assert b"\r\n\r\nm-bare\r\n" in upstream.unclaimed[before].body


def test_answers_have_the_augmented_name_for_every_spelling_of_the_path(
    augmented_daemon: Daemon, upstream: Upstream
) -> None:
    play = conversation(upstream, "Hello.", stream=False)
    answer = ask(augmented_daemon, "augmented/bare", play, stream=False, path="/chat/completions")
    assert checked(answer, "augmented/bare", stream=False).content == "Hello."


def test_many_conversations_at_once_do_not_mix(augmented_daemon: Daemon, upstream: Upstream) -> None:
    """Fifty concurrent turns with tools each get their own answer."""
    gate = upstream.gate()
    plays = []
    for number in range(50):
        call = ("c1", "double", json.dumps({"number": number}))
        answers = conversation(upstream, [call], f"Answer {number}.", stream=True).answers
        plays.append(upstream.rounds((gate, *answers[0]), *answers[1:]))
    wires = [request(augmented_daemon.wire(), "augmented/tools", play, stream=True) for play in plays]
    for play in plays:
        play.begun()
    gate.open()
    for number, (wire, play) in enumerate(zip(wires, plays, strict=True)):
        assert checked(wire.answer(), "augmented/tools", stream=True).content == f"Answer {number}."
        assert play.bodies()[1]["messages"][-1]["content"] == str(2 * number)


WRONG: dict[str, dict[str, Any]] = {
    "no messages": {"messages": None},
    "messages that are text": {"messages": "hi"},
    "a message that is text": {"messages": ["hi"]},
    "a message without a role": {"messages": [{"content": "hi"}]},
    "tools that are text": {"tools": "calculator"},
    "a stream that is neither": {"stream": "yes"},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_request_that_cannot_start_a_turn_is_refused(
    augmented_daemon: Daemon, upstream: Upstream, wrong: dict[str, Any]
) -> None:
    play = conversation(upstream, [], "Never.", stream=False)
    body = {"model": "augmented/tools", "messages": [{"role": "user", "content": "Hi"}], **wrong}
    answer = augmented_daemon.post("/v1/chat/completions", json.dumps(body).encode(), headers=[("X-Play", play.model)])
    assert check_error(answer, 400, "invalid_request")["param"] in wrong
    assert play.requests == []
