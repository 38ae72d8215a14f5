"""Issue 7: a conversation with tools through each kind of connection, with the real `openai` client."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import HOLD
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.kinds.conftest import MINE, kinds_conf
from tests.kinds.vendors import CALL, TEXT, VENDORS

TOOL: Any = {"type": "function", "function": {"name": "theirs", "parameters": {"type": "object", "properties": {}}}}
MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
OURS = ("call_0000000000000000000000002", "double", '{"number":21}')

both_modes = pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
every_vendor = pytest.mark.parametrize("kind", list(VENDORS))


@pytest.fixture
def client(kinds: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=kinds.url, api_key="any", max_retries=0, timeout=30) as client:
        yield client


def ask(client: openai.OpenAI, model: str, play: Play | None, *, stream: bool, **more: Any) -> Any:
    """The completion, whole or assembled by the client's own accumulator."""
    asked: Any = {"model": model, "messages": MESSAGES, **more}
    if play is not None:
        asked["extra_headers"] = {"X-Play": play.model}
    if not stream:
        return client.chat.completions.create(**asked)
    with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
        for _ in events:
            continue
        return events.get_final_completion()


@every_vendor
@both_modes
def test_text(client: openai.OpenAI, upstream: Upstream, kind: str, stream: bool) -> None:
    vendor = VENDORS[kind]
    play = upstream.rounds(vendor.says(TEXT, stream=stream))
    answer = ask(client, f"{kind}:m", play, stream=stream)
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (10, 5)
    (seen,) = play.requests
    assert seen.target.split("?")[0] == vendor.chat_path
    assert CANARY in (seen.header(vendor.key_header) or "")
    assert seen.header("authorization") is None or vendor.key_header == "authorization"
    assert seen.json()["model"] == "m"


@every_vendor
@both_modes
def test_a_tool_of_the_clients(client: openai.OpenAI, upstream: Upstream, kind: str, stream: bool) -> None:
    vendor = VENDORS[kind]
    play = upstream.rounds(vendor.calls(CALL, stream=stream, text="One moment."), vendor.says(TEXT, stream=stream))
    first = ask(client, f"{kind}:m", play, stream=stream, tools=[TOOL])
    message = first.choices[0].message
    assert first.choices[0].finish_reason == "tool_calls"
    assert message.content == "One moment."
    (call,) = message.tool_calls
    assert (call.id, call.function.name) == CALL[:2]
    assert json.loads(call.function.arguments) == json.loads(CALL[2])
    history = [*MESSAGES, message.model_dump(exclude_none=True)]
    history.append({"role": "tool", "tool_call_id": call.id, "content": "it is on"})
    last = ask(client, f"{kind}:m", play, stream=stream, tools=[TOOL], messages=history)
    assert last.choices[0].message.content == TEXT
    assert vendor.results(play.bodies()[1]) == [(CALL[0], "it is on")]


@every_vendor
@both_modes
def test_a_tool_of_ours(client: openai.OpenAI, upstream: Upstream, kind: str, stream: bool) -> None:
    """An augmented model on each kind; the vendor's signatures and reasoning are returned with the call."""
    vendor = VENDORS[kind]
    play = upstream.rounds(vendor.calls(OURS, stream=stream), vendor.says(TEXT, stream=stream))
    answer = ask(client, f"augmented/{kind}", play, stream=stream)
    assert (answer.model, answer.choices[0].message.content) == (f"augmented/{kind}", TEXT)
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (20, 10)
    second = play.bodies()[1]
    assert second["model"] == f"m-{kind}"
    assert vendor.results(second) == [(OURS[0], "42")]
    if kind == "google":
        assert "c2lnbmF0dXJl" in json.dumps(second["messages"])
    if kind == "anthropic":
        assert '"signature": "c2ln"' in json.dumps(second["messages"])


@every_vendor
@both_modes
def test_a_mixed_turn(client: openai.OpenAI, upstream: Upstream, kind: str, stream: bool) -> None:
    vendor = VENDORS[kind]
    play = upstream.rounds(
        vendor.calls(OURS, stream=stream), vendor.calls(CALL, stream=stream), vendor.says(TEXT, stream=stream)
    )
    messages = [{"role": "user", "content": f"A mixed turn, {kind}, {stream}"}]
    first = ask(client, f"augmented/{kind}", play, stream=stream, tools=[TOOL], messages=messages)
    message = first.choices[0].message
    (call,) = message.tool_calls
    history = [*messages, message.model_dump(exclude_none=True)]
    history.append({"role": "tool", "tool_call_id": call.id, "content": "on"})
    last = ask(client, f"augmented/{kind}", play, stream=stream, tools=[TOOL], messages=history)
    assert last.choices[0].message.content == TEXT
    assert vendor.results(play.bodies()[2]) == [(OURS[0], "42"), (CALL[0], "on")]


@both_modes
def test_the_owners_own_function(client: openai.OpenAI, stream: bool) -> None:
    def say(text: str, model: str = "local:m", **more: Any) -> Any:
        return ask(client, model, None, stream=stream, messages=[{"role": "user", "content": text}], **more)

    answer = say("one two three")
    assert answer.choices[0].message.content == "one two three "
    assert answer.usage.completion_tokens > 0
    called = say("call theirs", tools=[TOOL])
    assert called.choices[0].finish_reason == "tool_calls"
    (call,) = called.choices[0].message.tool_calls
    assert (call.function.name, call.function.arguments) == ("theirs", '{"a":1}')
    with pytest.raises(openai.APIError):
        say("fail")
    ours = say("call double", "augmented/local")
    assert ours.choices[0].message.content == "42 ", "the echo function must see the tool's result as the last message"


@both_modes
def test_echo(client: openai.OpenAI, stream: bool) -> None:
    def say(text: str, model: str) -> Any:
        return ask(client, model, None, stream=stream, messages=[{"role": "user", "content": text}], tools=[TOOL])

    assert say("Hi there", "echo:echo").choices[0].message.content == "Hi there"
    (call,) = say("call theirs(a=1)", "echo:echo").choices[0].message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("theirs", {"a": 1})
    assert say('call double {"number": 21}', "augmented/echo").choices[0].message.content == "double: 42"


@every_vendor
@pytest.mark.parametrize("model", ["plain", "augmented"])
def test_a_client_that_leaves(kinds: Daemon, upstream: Upstream, kind: str, model: str) -> None:
    play = upstream.play(VENDORS[kind].begins("word"), HOLD)
    name = f"{kind}:m" if model == "plain" else f"augmented/{kind}"
    with kinds.wire() as wire:
        wire.chat(name, stream=True, headers=[("X-Play", play.model)]).read_head()
        wire.read_until(b"word")
        seen = play.begun()
    assert seen.gone(), "the vendor still works for a client that has disconnected"


def test_a_client_that_leaves_the_owners_function(kinds: Daemon) -> None:
    """The next request is answered: one at a time, and the first has ended."""
    with kinds.wire() as wire:
        wire.chat("local:m", stream=True, messages=[{"role": "user", "content": "forever"}]).read_head()
        wire.read_until(b"word")
    answer = kinds.chat("local:m", messages=[{"role": "user", "content": "done"}])
    assert answer.json()["choices"][0]["message"]["content"] == "done "


def test_nothing_large_is_imported(kinds: Daemon) -> None:
    """Models run in a child; the daemon never maps anything of torch, whichever kinds it has served."""
    for kind in ("local:m", "echo:echo", *(f"augmented/{vendor}" for vendor in ("local", "echo"))):
        assert kinds.chat(kind).status == 200
    maps = Path(f"/proc/{kinds.process.pid}/maps").read_text()
    assert "torch" not in maps
    assert "numpy" not in maps


def test_unused_kinds_use_almost_no_memory(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    """A daemon with an unused connection of every kind is as small as one with a plain connection."""
    plain = make_daemon({"connections": {"openai": connection(upstream.url)}})
    every = make_daemon(kinds_conf(upstream), files={"mine.py": MINE})
    for daemon in (plain, every):
        eventually(lambda daemon=daemon: daemon.get("/v1/models").json()["data"], "the models are listed")  # type: ignore[misc]
    assert every.children() == [], "no child may run before the first question"
    assert every.rss() - plain.rss() < 6 * 2**20
