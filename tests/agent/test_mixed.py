"""Mixed turns: every row of the table in agent/mixed.py, by its number, streamed and not."""

import copy
import dataclasses
import json
from typing import Any

import pytest

from openai_proxy.agent.mixed import UNANSWERED
from openai_proxy.agent.run import start
from openai_proxy.agent.store import TurnStore
from tests.agent.grammar import check
from tests.agent.support import (
    CLIENT_TOOL,
    Box,
    Upstream,
    asks,
    collect,
    completion,
    says,
    turn,
    whole_calls,
)

LONG = "call_0123456789abcdefghijklmn"
QUESTION = {"role": "user", "content": "Light on and time?"}


class TerminalChat:
    """The client's side of a conversation with one store."""

    def __init__(
        self, *, streamed: bool = True, store: TurnStore | None = None, caller: str = "me", **settings: Any
    ) -> None:
        self.streamed = streamed
        self.store = store if store is not None else TurnStore()
        self.caller = caller
        self.settings = settings
        self.messages: list[dict[str, Any]] = [{"role": "system", "content": "It is 12:00:00."}, QUESTION]
        self.box = Box(ours="OURS", other="OTHER")
        self.sent: list[dict[str, Any]] = []

    def calls(self, *calls: tuple[str, str, str], text: str = "") -> bytes:
        return asks(*calls, text=text) if self.streamed else whole_calls(*calls, text=text or None)

    def says(self, text: str) -> bytes:
        return says(text) if self.streamed else completion({"content": text})

    async def ask(self, *script: bytes) -> dict[str, Any]:
        """One request; the assistant message the client saw is added to its history."""
        upstream = Upstream(*script)
        request = turn(
            upstream, self.box, messages=copy.deepcopy(self.messages), tools=[CLIENT_TOOL], stream=self.streamed,
            turns=self.store, caller=self.caller, settings=self.settings,
        )  # fmt: skip
        answer = await start(request)
        if self.streamed:
            seen = check(await collect(answer))
            message: dict[str, Any] = {"role": "assistant", "content": seen.content or None}
            if seen.calls:
                assert seen.finish == "tool_calls"
                message["tool_calls"] = [{k: v for k, v in c.items() if k != "index"} for c in seen.calls]
        else:
            choice = (await answer.completion())["choices"][0]
            message = choice["message"]
            assert choice["finish_reason"] == ("tool_calls" if message.get("tool_calls") else "stop")
        self.messages.append(message)
        self.sent = upstream.requests[0]["messages"]
        return message

    def answer(self, **results: str) -> None:
        """The client's results, by call id."""
        self.messages += [{"role": "tool", "tool_call_id": i, "content": text} for i, text in results.items()]


def shape(messages: list[dict[str, Any]]) -> list[Any]:
    """Messages in short: text, names of calls, or (id, result)."""
    out: list[Any] = []
    for message in messages:
        if message["role"] == "tool":
            out.append((message["tool_call_id"], message["content"]))
        elif message.get("tool_calls"):
            out.append([c["id"] for c in message["tool_calls"]])
        else:
            out.append(message["content"])
    return out[1:]  # without the system message


both = pytest.mark.parametrize("streamed", [True, False])


@both
async def test_k1_r1_ours_and_theirs_in_one_message(streamed: bool) -> None:
    talk = TerminalChat(streamed=streamed)
    message = await talk.ask(talk.calls(("o1", "ours", "{}"), (LONG, "theirs", '{"on":true}'), ("o2", "other", "{}")))
    assert [c["id"] for c in message["tool_calls"]] == [LONG]
    assert [name for name, _ in talk.box.ran] == ["ours", "other"]
    talk.answer(**{LONG: "CLIENT"})
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent) == [
        QUESTION["content"], ["o1", LONG, "o2"], ("o1", "OURS"), (LONG, "CLIENT"), ("o2", "OTHER")
    ]  # fmt: skip
    assert len(talk.box.ran) == 2, "our tools ran again"


@both
async def test_k2_client_calls_after_hidden_rounds(streamed: bool) -> None:
    talk = TerminalChat(streamed=streamed)
    message = await talk.ask(talk.calls(("o1", "ours", "{}"), text="Let me see."), talk.calls((LONG, "theirs", "{}")))
    assert message["content"] == "Let me see."
    talk.answer(**{LONG: "CLIENT"})
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent) == [QUESTION["content"], ["o1"], ("o1", "OURS"), [LONG], (LONG, "CLIENT")]
    assert talk.sent[2]["content"] == "Let me see."


async def test_k3_without_hidden_rounds_nothing_is_stored() -> None:
    talk = TerminalChat()
    await talk.ask(talk.calls((LONG, "theirs", "{}")))
    assert len(talk.store) == 0
    talk.answer(**{LONG: "CLIENT"})
    await talk.ask(talk.says("Done."))
    assert talk.sent == talk.messages[:-1]


@both
async def test_k4_r12_finished_hidden_rounds_are_restored_if_configured(streamed: bool) -> None:
    for remember in (True, False):
        talk = TerminalChat(streamed=streamed, remember_tool_turns=remember)
        message = await talk.ask(talk.calls(("o1", "ours", "{}"), text="Hm."), talk.says("Noon."))
        assert message["content"] == "Hm.\n\nNoon."
        talk.messages[-1] = {"role": "assistant", "content": [{"type": "text", "text": "Hm. Noon. "}]}
        talk.messages.append({"role": "user", "content": "Thanks"})
        await talk.ask(talk.says("Welcome."))
        hidden = [["o1"], ("o1", "OURS"), "Noon."]
        shown = [[{"type": "text", "text": "Hm. Noon. "}]]
        assert shape(talk.sent) == [QUESTION["content"], *(hidden if remember else shown), "Thanks"]


@both
async def test_several_client_calls_and_several_rounds(streamed: bool) -> None:
    talk = TerminalChat(streamed=streamed)
    one, two, three = LONG + "1", LONG + "2x", LONG + "3x"
    await talk.ask(talk.calls((one, "theirs", '{"i":1}'), ("o1", "ours", "{}"), (two, "theirs", '{"i":2}')))
    talk.answer(**{two: "TWO", one: "ONE"})
    await talk.ask(talk.calls(("o2", "ours", '{"x":1}')), talk.calls(("o3", "other", "{}"), (three, "theirs", "{}")))
    talk.answer(**{three: "THREE"})
    await talk.ask(talk.says("Done."))
    first = [[one, "o1", two], (one, "ONE"), ("o1", "OURS"), (two, "TWO")]
    second = [["o2"], ("o2", "OURS"), ["o3", three], ("o3", "OTHER"), (three, "THREE")]
    assert shape(talk.sent) == [QUESTION["content"], *first, *second]


def mixed_history(talk: TerminalChat, results: list[dict[str, Any]], **changes: Any) -> None:
    talk.messages[-1]["tool_calls"][0].update(changes)
    talk.messages += results


async def two_sided(talk: TerminalChat, call_id: str = LONG) -> list[Any]:
    """A mixed turn, and what the provider should see of it next time."""
    await talk.ask(talk.calls(("o1", "ours", "{}"), (call_id, "theirs", '{"a":1,"b":2}')))
    return [QUESTION["content"], ["o1", call_id], ("o1", "OURS"), (call_id, "CLIENT")]


@both
async def test_r2_ids_replaced_by_the_client(streamed: bool) -> None:
    talk = TerminalChat(streamed=streamed)
    expected = await two_sided(talk)
    talk.messages[0]["content"] = "It is 12:00:01."
    mixed_history(talk, [{"role": "tool", "tool_call_id": "01HX", "content": "CLIENT"}], id="01HX")
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent) == expected


async def test_r2_ids_dropped_by_the_client() -> None:
    talk = TerminalChat()
    expected = await two_sided(talk)
    del talk.messages[-1]["tool_calls"][0]["id"]
    talk.messages.append({"role": "tool", "content": "CLIENT"})
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent) == expected


async def test_r2_a_fingerprint_of_another_conversation_does_not_match() -> None:
    talk = TerminalChat()
    await two_sided(talk)
    talk.messages.insert(1, {"role": "user", "content": "Earlier"})
    mixed_history(talk, [{"role": "tool", "tool_call_id": "01HX", "content": "CLIENT"}], id="01HX")
    await talk.ask(talk.says("Done."))
    assert talk.sent == talk.messages[:-1]


@pytest.mark.parametrize("arguments", ['{ "b": 2.0,\n "a": 1 }', {"b": 2, "a": 1.0}])
async def test_r3_arguments_reformatted(arguments: Any) -> None:
    talk = TerminalChat()
    expected = await two_sided(talk)
    call = {"function": {"name": "theirs", "arguments": arguments}}
    mixed_history(talk, [{"role": "tool", "content": "CLIENT"}], id="01HX", **call)
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent) == expected
    assert talk.sent[2]["tool_calls"][1]["function"]["arguments"] == '{"a":1,"b":2}'


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (
            '{"area":"","name":"Lamp","floor":null}',
            {"name": "Lamp"},
        ),  # Home Assistant's Ollama client strips empty values
        ('{"domain":"[\\"light\\"]","on":false}', {"domain": ["light"]}),  # and parses JSON inside strings
    ],
)
async def test_r3_arguments_tidied_by_the_client(given: str, kept: Any) -> None:
    talk = TerminalChat()
    await talk.ask(talk.calls(("call_0", "theirs", given), ("o1", "ours", "{}")))
    talk.messages[-1] = {
        "role": "assistant", "content": "", "tool_calls": [{"function": {"name": "theirs", "arguments": kept}}],
    }  # fmt: skip
    talk.messages.append({"role": "tool", "content": "CLIENT"})
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent)[1:] == [["call_0", "o1"], ("call_0", "CLIENT"), ("o1", "OURS")]
    assert talk.sent[2]["tool_calls"][0]["function"]["arguments"] == given


async def test_r4_results_in_another_order_or_without_ids() -> None:
    one, two = LONG + "1", LONG + "2x"
    for ids in ((one, two), (None, None)):
        talk = TerminalChat()
        await talk.ask(talk.calls((one, "theirs", '{"i":1}'), ("o1", "ours", "{}"), (two, "theirs", '{"i":2}')))
        given = [{"role": "tool", "tool_call_id": i, "content": t} for i, t in zip(ids, ("ONE", "TWO"), strict=True)]
        talk.messages += reversed(given) if ids[0] else given
        await talk.ask(talk.says("Done."))
        assert shape(talk.sent)[1:] == [[one, "o1", two], (one, "ONE"), ("o1", "OURS"), (two, "TWO")]


async def test_r5_a_call_left_out_or_unanswered_gets_a_note() -> None:
    one, two = LONG + "1", LONG + "2x"
    for left_out in (True, False):
        talk = TerminalChat()
        await talk.ask(talk.calls((one, "theirs", '{"i":1}'), (two, "theirs", '{"i":2}'), ("o1", "ours", "{}")))
        if left_out:
            del talk.messages[-1]["tool_calls"][1]
        talk.answer(**{one: "ONE"})
        await talk.ask(talk.says("Done."))
        assert shape(talk.sent)[1:] == [[one, two, "o1"], (one, "ONE"), (two, UNANSWERED), ("o1", "OURS")]


async def test_r6_calls_spread_over_several_messages() -> None:
    one, two = LONG + "1", LONG + "2x"
    talk = TerminalChat()
    await talk.ask(talk.calls((one, "theirs", '{"i":1}'), (two, "theirs", '{"i":2}'), ("o1", "ours", "{}")))
    first, second = talk.messages.pop()["tool_calls"]
    for call, text in ((first, "ONE"), (second, "TWO")):
        talk.messages.append({"role": "assistant", "content": "", "tool_calls": [call]})
        talk.answer(**{call["id"]: text})
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent)[1:] == [[one, two, "o1"], (one, "ONE"), (two, "TWO"), ("o1", "OURS")]


async def test_r7_later_turns_get_the_true_turn() -> None:
    talk = TerminalChat()
    expected = await two_sided(talk)
    talk.answer(**{LONG: "CLIENT"})
    await talk.ask(talk.says("Done."))
    talk.messages.append({"role": "user", "content": "And now?"})
    await talk.ask(talk.says("Later."))
    assert shape(talk.sent) == [*expected, "Done.", "And now?"]


async def test_r8_another_caller_gets_nothing() -> None:
    talk = TerminalChat()
    await two_sided(talk)
    talk.answer(**{LONG: "CLIENT"})
    talk.caller = "somebody else"
    await talk.ask(talk.says("Done."))
    assert talk.sent == talk.messages[:-1]


async def test_r9_the_same_id_on_another_call_does_not_match() -> None:
    talk = TerminalChat()
    await two_sided(talk, "call_0")
    other = {"function": {"name": "theirs", "arguments": "{}"}}
    mixed_history(talk, [{"role": "tool", "tool_call_id": "call_0", "content": "CLIENT"}], **other)
    await talk.ask(talk.says("Done."))
    assert talk.sent == talk.messages[:-1]


@pytest.mark.parametrize(("call_id", "matches"), [("functions.theirs:0", False), ("call_0", False), (LONG, True)])
async def test_r10_a_counted_id_under_another_question_does_not_match(call_id: str, matches: bool) -> None:
    talk = TerminalChat()
    await two_sided(talk, call_id)
    talk.messages[1] = {"role": "user", "content": "Another question"}
    talk.answer(**{call_id: "CLIENT"})
    await talk.ask(talk.says("Done."))
    assert (["o1", call_id] in shape(talk.sent)) is matches


async def test_r10_of_two_turns_with_one_counted_id_each_gets_its_own() -> None:
    talk = TerminalChat()
    await two_sided(talk, "call_0")
    talk.answer(call_0="CLIENT")
    await talk.ask(talk.says("Done."))
    talk.messages.append({"role": "user", "content": "Again"})
    talk.box = Box(ours="OURS2", other="x")
    await talk.ask(talk.calls(("o1", "ours", "{}"), ("call_0", "theirs", '{"a":1,"b":2}')))
    talk.answer(call_0="CLIENT2")
    await talk.ask(talk.says("Done."))
    assert [m for m in shape(talk.sent) if isinstance(m, tuple)] == [
        ("o1", "OURS"), ("call_0", "CLIENT"), ("o1", "OURS2"), ("call_0", "CLIENT2")
    ]  # fmt: skip


async def test_r11_a_forgotten_turn_leaves_a_valid_shorter_history() -> None:
    now = 0.0
    talk = TerminalChat(store=TurnStore(ttl=60, clock=lambda: now))
    await two_sided(talk)
    talk.answer(**{LONG: "CLIENT"})
    now = 61.0
    await talk.ask(talk.says("Done."))
    assert talk.sent == talk.messages[:-1]
    assert len(talk.store) == 0


async def test_r11_a_dump_carries_turns_over_a_restart() -> None:
    talk = TerminalChat()
    expected = await two_sided(talk)
    state = json.loads(json.dumps(talk.store.dump()))
    assert "me" not in json.dumps([e["keys"] for e in state["entries"]])
    talk.store = TurnStore()
    assert talk.store.load(state) == 1
    talk.answer(**{LONG: "CLIENT"})
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent) == expected


async def test_r13_unrelated_tool_messages_stay() -> None:
    talk = TerminalChat()
    expected = await two_sided(talk)
    talk.answer(injected_content="It is 12:00.")
    talk.answer(**{LONG: "CLIENT"})
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent) == [*expected, ("injected_content", "It is 12:00.")]


async def test_a_failing_tool_of_ours_in_a_mixed_turn_is_reported_later() -> None:
    async def raises(arguments: Any, context: Any) -> str:
        raise RuntimeError

    talk = TerminalChat()
    talk.box = Box(ours=raises)
    await talk.ask(talk.calls((LONG, "theirs", "{}"), ("o1", "ours", "{}")))
    talk.answer(**{LONG: "CLIENT"})
    await talk.ask(talk.says("Done."))
    assert shape(talk.sent)[1:] == [[LONG, "o1"], (LONG, "CLIENT"), ("o1", "ours failed (RuntimeError).")]


async def test_tools_are_listed_where_a_restored_turn_needs_them() -> None:
    talk = TerminalChat(remember_tool_turns=True)
    await talk.ask(talk.calls(("o1", "ours", "{}")), talk.says("Noon."))
    talk.messages.append({"role": "user", "content": "Thanks"})
    upstream = Upstream(talk.says("Welcome."))
    given = {"messages": talk.messages, "turns": talk.store, "caller": "me", "settings": talk.settings}
    check(await collect(await start(turn(upstream, talk.box, tool_choice="none", **given))))
    assert ["o1"] in shape(upstream.requests[0]["messages"])
    assert upstream.requests[0]["tools"]
    assert upstream.requests[0]["tool_choice"] == "none"


async def test_a_turn_is_restored_for_its_own_model_only() -> None:
    talk = TerminalChat()
    await two_sided(talk)
    talk.answer(**{LONG: "CLIENT"})
    upstream = Upstream(talk.says("Done."))
    request = turn(upstream, talk.box, messages=talk.messages, turns=talk.store, caller="me")
    await collect(await start(dataclasses.replace(request, model="another")))
    assert upstream.requests[0]["messages"] == talk.messages


async def test_the_clients_messages_are_not_changed() -> None:
    talk = TerminalChat()
    await two_sided(talk)
    talk.answer(**{LONG: "CLIENT"})
    before = copy.deepcopy(talk.messages)
    await talk.ask(talk.says("Done."))
    assert talk.messages[:-1] == before
