"""Contract §3 "Augmented": a turn that calls our tools and the client's is reassembled for the provider."""

import json
import stat
from collections.abc import Callable
from typing import Any

import pytest

from tests.augmented.configurations import augmented_conf, augmented_files
from tests.augmented.talk import CLIENT_TOOL, MODE_IDS, MODES, Call, chat, conversation, roles
from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream

Message = dict[str, Any]

OTHER_TOOL = {"type": "function", "function": {"name": "other", "parameters": {"type": "object"}}}
OURS: Call = ("call_ours_00000000000000000001", "double", '{"number":21}')
THEIRS: Call = ("call_theirs_000000000000000001", "theirs", '{"room": "kitchen"}')
SECOND: Call = ("call_theirs_000000000000000002", "other", "{}")
QUESTION: Message = {"role": "user", "content": "Light and number, please"}

both_modes = pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)


def assistant(calls: list[Message], text: str | None = None) -> Message:
    """The assistant message that a client builds from what it saw."""
    return {
        "role": "assistant",
        "content": text,
        "tool_calls": [{k: v for k, v in c.items() if k != "index"} for c in calls],
    }


def result(call_id: str | None, text: str) -> Message:
    return {"role": "tool", "content": text} | ({"tool_call_id": call_id} if call_id is not None else {})


def true_turn(body: dict[str, Any]) -> list[tuple[str, Any]]:
    """The part of a body after the question: assistant messages by their call ids, results by id and text."""
    shown: list[tuple[str, Any]] = []
    for message in body["messages"]:
        if message["role"] == "assistant":
            shown.append(("assistant", [call["id"] for call in message.get("tool_calls", ())] or message["content"]))
        elif message["role"] == "tool":
            shown.append((message["tool_call_id"], message["content"]))
    return shown


@both_modes
def test_ours_run_at_once_and_are_restored_with_the_clients_results(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    play = conversation(upstream, ("One moment.", [OURS, THEIRS]), "All done.", stream=stream)
    first = chat(augmented_daemon, "tools", play, stream=stream, messages=[QUESTION], tools=[CLIENT_TOOL])
    assert first.content == "One moment."
    assert [call["id"] for call in first.calls] == [THEIRS[0]]
    assert json.loads(first.calls[0]["function"]["arguments"]) == {"room": "kitchen"}
    history = [QUESTION, assistant(first.calls, "One moment."), result(THEIRS[0], "on")]
    last = chat(augmented_daemon, "tools", play, stream=stream, messages=history, tools=[CLIENT_TOOL])
    assert last.content == "All done."
    body = play.bodies()[1]
    assert roles(body) == ["system", "user", "assistant", "tool", "tool"]
    assert true_turn(body) == [("assistant", [OURS[0], THEIRS[0]]), (OURS[0], "42"), (THEIRS[0], "on")]
    assert body["messages"][2]["content"] == "One moment."
    assert [call["function"]["arguments"] for call in body["messages"][2]["tool_calls"]] == [OURS[2], THEIRS[2]]


@both_modes
def test_hidden_rounds_are_restored(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    play = conversation(upstream, [OURS], [THEIRS], "Done.", stream=stream)
    first = chat(augmented_daemon, "tools", play, stream=stream, messages=[QUESTION], tools=[CLIENT_TOOL])
    history = [QUESTION, assistant(first.calls), result(THEIRS[0], "on")]
    chat(augmented_daemon, "tools", play, stream=stream, messages=history, tools=[CLIENT_TOOL])
    assert true_turn(play.bodies()[2]) == [
        ("assistant", [OURS[0]]),
        (OURS[0], "42"),
        ("assistant", [THEIRS[0]]),
        (THEIRS[0], "on"),
    ]


def turned_round(calls: list[Message]) -> list[Message]:
    return [result(SECOND[0], "second"), result(THEIRS[0], "first")]


def without_ids(calls: list[Message]) -> list[Message]:
    return [result(None, "first"), result(None, "second")]


def one_missing(calls: list[Message]) -> list[Message]:
    return [result(THEIRS[0], "first")]


RESULTS: dict[str, tuple[Callable[[list[Message]], list[Message]], str]] = {
    "another order": (turned_round, "second"),
    "no ids": (without_ids, "second"),
    "one missing": (one_missing, "(The client gave no result for this call.)"),
}


@both_modes
@pytest.mark.parametrize("how", RESULTS)
def test_several_client_calls(augmented_daemon: Daemon, upstream: Upstream, how: str, stream: bool) -> None:
    """In whatever order their results arrive, if at all, the upstream sees every call answered, in call order."""
    play = conversation(upstream, [THEIRS, OURS, SECOND], "Done.", stream=stream)
    tools = [CLIENT_TOOL, OTHER_TOOL]
    question = {"role": "user", "content": f"Several calls, {how}, {stream}"}
    first = chat(augmented_daemon, "tools", play, stream=stream, messages=[question], tools=tools)
    assert [call["id"] for call in first.calls] == [THEIRS[0], SECOND[0]]
    results, second = RESULTS[how]
    history = [question, assistant(first.calls), *results(first.calls)]
    chat(augmented_daemon, "tools", play, stream=stream, messages=history, tools=tools)
    assert true_turn(play.bodies()[1]) == [
        ("assistant", [THEIRS[0], OURS[0], SECOND[0]]),
        (THEIRS[0], "first"),
        (OURS[0], "42"),
        (SECOND[0], second),
    ]


@both_modes
def test_clients_that_replace_ids_and_reformat_arguments(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    play = conversation(upstream, [OURS, THEIRS], "Done.", stream=stream)
    question = {"role": "user", "content": f"Ids are replaced, {stream}"}
    first = chat(augmented_daemon, "tools", play, stream=stream, messages=[question], tools=[CLIENT_TOOL])
    (call,) = first.calls
    mine = {
        "id": "chatcmpl-tool-1",
        "type": "function",
        "function": {"name": "theirs", "arguments": '{ "room":"kitchen" }'},
    }
    assert call["id"] != mine["id"]
    history = [question, assistant([mine]), result("chatcmpl-tool-1", "on")]
    chat(augmented_daemon, "tools", play, stream=stream, messages=history, tools=[CLIENT_TOOL])
    assert true_turn(play.bodies()[1]) == [("assistant", [OURS[0], THEIRS[0]]), (OURS[0], "42"), (THEIRS[0], "on")]


@both_modes
def test_several_mixed_rounds_in_one_conversation(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    """The conversation continues; every mixed turn is reassembled, wherever it is in the history."""
    question = {"role": "user", "content": f"Several rounds, {stream}"}
    rounds = [
        [(f"o{n}", "double", json.dumps({"number": n})), (f"t{n}", "theirs", json.dumps({"n": n}))] for n in (1, 2)
    ]
    play = conversation(upstream, *rounds, "Done.", "And more.", stream=stream)
    history: list[Message] = [question]
    for number in (1, 2):
        seen = chat(augmented_daemon, "tools", play, stream=stream, messages=history, tools=[CLIENT_TOOL])
        assert [call["id"] for call in seen.calls] == [f"t{number}"]
        history += [assistant(seen.calls), result(f"t{number}", f"result {number}")]
    seen = chat(augmented_daemon, "tools", play, stream=stream, messages=history, tools=[CLIENT_TOOL])
    history += [{"role": "assistant", "content": seen.content}, {"role": "user", "content": "More?"}]
    chat(augmented_daemon, "tools", play, stream=stream, messages=history, tools=[CLIENT_TOOL])
    whole = [
        ("assistant", ["o1", "t1"]), ("o1", "2"), ("t1", "result 1"),
        ("assistant", ["o2", "t2"]), ("o2", "4"), ("t2", "result 2"),
    ]  # fmt: skip
    bodies = play.bodies()
    assert true_turn(bodies[1]) == whole[:3]
    assert true_turn(bodies[2]) == whole
    assert true_turn(bodies[3]) == [*whole, ("assistant", "Done.")]


def test_a_hidden_turn_belongs_to_its_caller(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    keys = {"anna": "sk-anna-000000000001", "ben": "sk-ben-0000000000002"}
    groups = {name: {"api_keys": [key]} for name, key in keys.items()}
    daemon = make_daemon(augmented_conf(upstream, groups=groups), files=augmented_files())
    play = conversation(upstream, [OURS, THEIRS], "To Ben.", "To Anna.", stream=False)

    def ask(key: str, messages: list[Message]) -> Any:
        return chat(daemon, "tools", play, stream=False, messages=messages, tools=[CLIENT_TOOL], key=key)

    first = ask(keys["anna"], [QUESTION])
    history = [QUESTION, assistant(first.calls), result(THEIRS[0], "on")]
    ask(keys["ben"], history)
    ask(keys["anna"], history)
    assert true_turn(play.bodies()[1]) == [("assistant", [THEIRS[0]]), (THEIRS[0], "on")]
    assert true_turn(play.bodies()[2])[0] == ("assistant", [OURS[0], THEIRS[0]])


def test_a_hidden_turn_survives_a_restart(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(augmented_conf(upstream), files=augmented_files())
    play = conversation(upstream, [OURS, THEIRS], "Done.", stream=True)
    first = chat(daemon, "tools", play, stream=True, messages=[QUESTION], tools=[CLIENT_TOOL])
    daemon.stop()
    assert stat.S_IMODE((daemon.state_dir / "turns.json").stat().st_mode) == 0o600, (
        "the file contains conversations and must be private"
    )
    daemon.start()
    history = [QUESTION, assistant(first.calls), result(THEIRS[0], "on")]
    chat(daemon, "tools", play, stream=True, messages=history, tools=[CLIENT_TOOL])
    assert true_turn(play.bodies()[1]) == [("assistant", [OURS[0], THEIRS[0]]), (OURS[0], "42"), (THEIRS[0], "on")]


@both_modes
@pytest.mark.parametrize("model", ["remember", "tools"])
def test_finished_hidden_rounds_are_restored_only_if_configured(
    augmented_daemon: Daemon, upstream: Upstream, model: str, stream: bool
) -> None:
    play = conversation(upstream, [OURS], "It is 42.", "Gladly.", stream=stream)
    question = {"role": "user", "content": f"Remember this, {stream}"}
    seen = chat(augmented_daemon, model, play, stream=stream, messages=[question])
    history = [question, {"role": "assistant", "content": seen.content}, {"role": "user", "content": "Thanks"}]
    chat(augmented_daemon, model, play, stream=stream, messages=history)
    hidden = [("assistant", [OURS[0]]), (OURS[0], "42")] if model == "remember" else []
    assert true_turn(play.bodies()[2]) == [*hidden, ("assistant", "It is 42.")]
