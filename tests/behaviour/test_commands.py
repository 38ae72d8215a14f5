"""In-chat commands as a person uses them: the real `openai` client, the real daemon, a scripted provider."""

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.behaviour.chat import Chat, Sent, texts, where
from tests.behaviour.configurations import conf
from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon
from tests.harness.plays import completion, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream

pytestmark = pytest.mark.usefixtures("somebody_new")


@pytest.fixture(scope="module")
def daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One daemon for all tests; each test is a new person."""
    with Daemon(tmp_path_factory.mktemp("commands"), conf(upstream)).serving(leaks=False) as running:
        yield running


@pytest.mark.parametrize("stream", [False, True])
def test_model_and_backend_change_during_a_chat(daemon: Daemon, seen: Sent, stream: bool) -> None:
    chat = Chat(daemon, "m-small", stream=stream)
    assert chat.say("Hi") == "Hello world"
    assert chat.say("!/set(model=vendor/m-large)") == "Model is now vendor/m-large."
    assert len(seen) == 1
    chat.say("And now?")
    assert where(seen[-1]) == ("one", "vendor/m-large")
    assert texts(seen[-1]) == ["Hi", "Hello world", "And now?"]
    assert chat.answered_model == "vendor/m-large"
    chat.say("!/set(backend=two) Who are you?")
    assert where(seen[-1]) == ("two", "vendor/m-large")
    assert texts(seen[-1])[-1] == "Who are you?"
    chat.say("Still?")
    assert where(seen[-1]) == ("two", "vendor/m-large")
    assert texts(seen[-1])[2:] == ["And now?", "Hello world", "Who are you?", "Hello world", "Still?"]
    assert "as configured" in chat.say("!/unset(model, backend)")
    chat.say("Back")
    assert where(seen[-1]) == ("one", "m-small")


def test_a_failover_route_survives_a_failing_upstream(daemon: Daemon, seen: Sent) -> None:
    chat = Chat(daemon, "m-small")
    assert "created" in chat.say("!/create-failover-route(name=mine, policy=ordered)")
    assert chat.say("!/route-append(name=mine, target=dead.m-small)") == "Route mine (ordered): dead.m-small."
    assert chat.say("!/route-append(name=mine, target=two:vendor/m-large)").endswith("two.vendor/m-large.")
    assert "now mine" in chat.say("!/set(model=mine)")
    assert len(seen) == 0
    assert chat.say("Anybody there?") == "Hello world"
    assert where(seen[-1]) == ("two", "vendor/m-large")
    assert "one.m-small, dead" in chat.say('!/route-prepend(name="mine", target=one.m-small)')
    chat.say("And now?")
    assert where(seen[-1]) == ("one", "m-small")
    assert chat.say("!/list-failover-routes").startswith("Route mine (ordered)")
    assert "no targets" in chat.say("!/route-clear(name=mine)")
    with pytest.raises(openai.BadRequestError, match="no targets"):
        chat.say("Hello?")
    chat.messages.pop()
    assert "deleted" in chat.say("!/delete-failover-route(name=mine)")
    assert "no routes" in chat.say("!/list-failover-routes")


def test_a_new_conversation_knows_nothing_of_another(daemon: Daemon, seen: Sent) -> None:
    Chat(daemon, "m-small").say("!/set(model=other) Hi")
    fresh = Chat(daemon, "m-small")
    fresh.say("Hi")
    assert where(seen[-1]) == ("one", "m-small")


@pytest.mark.parametrize("stream", [False, True])
def test_a_command_in_the_first_message_applies_to_the_conversation(daemon: Daemon, seen: Sent, stream: bool) -> None:
    chat = Chat(daemon, "m-small", stream=stream)
    chat.say("Good morning! !/set(model=other)")
    assert where(seen[-1]) == ("one", "other")
    chat.say("And now?")
    assert where(seen[-1]) == ("one", "other")
    assert texts(seen[-1]) == ["Good morning!", "Hello world", "And now?"]


@pytest.mark.parametrize(
    "options",
    [
        {"user": "01JD7Y3Q-HA-conversation"},
        {"metadata": {"session_id": "abc"}},
        {"extra_headers": {"X-Session-ID": "abc"}},
    ],
)
def test_a_named_session_needs_no_history(daemon: Daemon, seen: Sent, options: dict[str, Any]) -> None:
    """Home Assistant sends its conversation's id as `user`, and shortens histories as it likes."""
    Chat(daemon, "m-small", **options).say("!/set(model=other)")
    Chat(daemon, "m-small", **options).say("Hi")
    assert where(seen[-1]) == ("one", "other")
    Chat(daemon, "m-small").say("Hi")
    assert where(seen[-1]) == ("one", "m-small")


def test_a_caller_cannot_change_another_callers_session(
    make_daemon: DaemonFactory, upstream: Upstream, seen: Sent
) -> None:
    groups = {"family": {"api_keys": ["key-of-anna-1", "key-of-bert-2"]}}
    daemon = make_daemon(conf(upstream, groups=groups))
    same = {"extra_headers": {"X-Session-ID": "kitchen"}}
    Chat(daemon, "m-small", key="key-of-anna-1", **same).say("!/set(model=other)")
    Chat(daemon, "m-small", key="key-of-bert-2", **same).say("Hi")
    assert where(seen[-1])[1] == "m-small"
    Chat(daemon, "m-small", key="key-of-anna-1", **same).say("Hi")
    assert where(seen[-1])[1] == "other"


def test_the_session_id_is_echoed_on_every_answer(daemon: Daemon, upstream: Upstream) -> None:
    for content in ("!/help", "Hi", "!/set(backend=nothing) Hi"):
        answer = daemon.chat(
            "m-small", messages=[{"role": "user", "content": content}], headers=[("X-Session-ID", "s-1")]
        )
        assert answer.header("x-session-id") == "s-1"
        assert answer.header("x-request-id")


def test_tool_rounds_do_not_repeat_commands_and_tool_results_contain_none(daemon: Daemon, seen: Sent) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "!/set(model=other) What time is it?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "!/set(model=evil)"},
    ]
    daemon.chat("m-small", messages=messages)
    assert where(seen[-1])[1] == "m-small"
    assert texts(seen[-1]) == ["What time is it?", None, "!/set(model=evil)"]
    said = [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": "!/set(model=evil)"}]
    daemon.chat("m-small", messages=[*said, {"role": "user", "content": "Thanks"}])
    assert where(seen[-1])[1] == "m-small"
    assert texts(seen[-1])[1] == "!/set(model=evil)"
    contents = [{"parts": [{"text": "Hi"}]}, {"role": "function", "parts": [{"text": "!/set(model=evil)"}]}]
    daemon.post("/v1beta/models/m-small:generateContent", json.dumps({"contents": contents}).encode())
    assert where(seen[-1])[1] == "m-small"


def test_only_the_touched_members_change(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("ok")))
    body = (
        '{ "temperature":1.50,"messages" : [ {"role":"system","content":"\\u00e9 #!/bin/sh"},\n'
        '{"role":"user","content":[{"type":"text","text":"!/hello "},{"type":"text","text":"Hi \\/ there"}] } ], '
        f'"model":"{play.model}", "x": [ 1e5 ] }}'
    )
    assert daemon.post("/v1/chat/completions", body.encode()).status == 200
    assert play.wait().body.decode() == body.replace('{"type":"text","text":"!/hello "},', "")


def test_text_that_only_resembles_a_command_is_sent_unchanged(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("ok")))
    text = "#!/bin/sh and `!/help` and x!/set(model=a) and !/unknown(a=b) and !/set(model="
    body = json.dumps({"model": play.model, "messages": [{"role": "user", "content": text}]}).encode()
    daemon.post("/v1/chat/completions", body)
    assert play.wait().body == body


def test_unknown_commands_alone_get_a_hint(daemon: Daemon, seen: Sent) -> None:
    assert 'Did you mean "help"?' in Chat(daemon, "m-small").say("!/hlep")
    assert 'Did you mean "backend"?' in Chat(daemon, "m-small").say("!/set(bakend=one)")
    assert len(seen) == 0


def test_a_question_is_not_sent_if_its_command_failed(daemon: Daemon, seen: Sent) -> None:
    with pytest.raises(openai.BadRequestError, match="no backend"):
        Chat(daemon, "m-small").say("!/set(backend=privat) my secret question")
    assert len(seen) == 0


@pytest.mark.parametrize("stream", [False, True])
def test_every_inbound_api_answers_commands(daemon: Daemon, seen: Sent, stream: bool) -> None:
    client = openai.OpenAI(base_url=daemon.url, api_key="none", max_retries=0)
    prompt = client.completions.create(model="m-small", prompt="!/hello", stream=stream)  # type: ignore[call-overload]
    text = "".join(c.choices[0].text for c in prompt) if stream else prompt.choices[0].text
    assert "openai_proxy" in text
    if stream:
        with client.responses.stream(model="m-small", input="!/hello") as events:
            response = events.get_final_response()
    else:
        response = client.responses.create(model="m-small", input="!/hello")
    assert "openai_proxy" in response.output_text
    assert len(seen) == 0


@pytest.mark.parametrize("stream", [False, True])
def test_hosted_tools_and_stored_items_may_accompany_a_command(daemon: Daemon, seen: Sent, stream: bool) -> None:
    """Translating them would be refused, but a message that consists of a command is not translated."""
    client = openai.OpenAI(base_url=daemon.url, api_key="none", max_retries=0)
    beside: Any = {"tools": [{"type": "web_search"}], "background": True, "prompt": {"id": "pmpt_1"}}
    before = {"type": "item_reference", "id": "msg_1"}
    spoken = {"role": "user", "content": "!/hello"}
    answer = client.responses.create(model="m-small", input=[before, spoken], stream=stream, **beside)  # type: ignore[call-overload]
    response = list(answer)[-1].response if stream else answer
    assert "openai_proxy" in response.output_text
    assert response.usage.total_tokens == 0
    assert len(seen) == 0


@pytest.mark.parametrize("stream", [False, True])
def test_anthropics_client_is_answered_too(daemon: Daemon, seen: Sent, stream: bool) -> None:
    import anthropic

    client = anthropic.Anthropic(base_url=daemon.url.removesuffix("/v1"), api_key="none", max_retries=0)
    request: Any = {"model": "m-small", "max_tokens": 99, "messages": [{"role": "user", "content": "!/hello"}]}
    if stream:
        with client.messages.stream(**request) as events:
            text = events.get_final_text()
    else:
        text = client.messages.create(**request).content[0].text
    assert "openai_proxy" in text
    assert len(seen) == 0


def test_help_names_every_command(daemon: Daemon) -> None:
    text = Chat(daemon, "m-small").say("!/help")
    routes = ("create-failover-route", "delete-failover-route", "list-failover-routes")
    targets = ("route-append", "route-prepend", "route-list", "route-clear")
    for name in ("set", "unset", "hello", "show", "help", *routes, *targets):
        assert f"!/{name}(" in text
    assert "model=NAME" in Chat(daemon, "m-small").say("!/help(set)")


def test_show_lists_the_settings(daemon: Daemon) -> None:
    chat = Chat(daemon, "m-small")
    chat.say("!/set(backend=two, redact=off)")
    shown = chat.say("!/show")
    assert "backend: two (this session)" in shown
    assert "redact-api-keys-in-prompts: off (this session)" in shown
    assert "model: as requested" in shown


@pytest.mark.parametrize("stream", [False, True])
def test_interactive_mode_greets_once_and_confirms(daemon: Daemon, seen: Sent, stream: bool) -> None:
    chat = Chat(daemon, "m-small", stream=stream)
    first = chat.say("!/set(interactive=on, backend=two) Hi")
    assert first.startswith("This is openai_proxy ")
    assert "Interactive is now on, backend is now two." in first
    assert first.endswith("\n\nHello world")
    assert "one (3 models)" in first or "one" in first
    assert chat.say("And now?") == "Hello world"
    assert chat.say("!/set(model=other) So?") == "Model is now other.\n\nHello world"
    assert chat.say("!/set(interactive=off) Well?") == "Hello world"


@pytest.mark.parametrize("stream", [False, True])
def test_interactive_mode_confirms_to_anthropic_clients_too(daemon: Daemon, seen: Sent, stream: bool) -> None:
    def say(text: str) -> str:
        message = {"role": "user", "content": text}
        body = {"model": "m-small", "max_tokens": 99, "stream": stream, "messages": [message]}
        answer = daemon.post("/v1/messages", json.dumps(body).encode(), headers=[("X-Session-ID", f"a{stream}")])
        assert answer.status == 200
        return answer.body.decode()

    first = say("!/set(interactive=on) Hi")
    assert first.index("This is openai_proxy ") < first.index("Interactive is now on.") < first.index("Hello")
    assert "openai_proxy" not in say("And now?")


def test_commands_work_for_streams(daemon: Daemon, upstream: Upstream) -> None:
    play: Play = upstream.play(plain(completion("from the play")))
    chat = Chat(daemon, "m-small")
    chat.say(f"!/set(model={play.model})")
    assert chat.say("Hi") == "from the play"
    assert play.wait().header("x-connection") == "one"


@pytest.mark.parametrize(
    "text",
    [
        "Why does this not work?\n```\n!/set(model=other)\n```",
        "Why does this not work?\n```\n```python\n!/set(model=other)\n```",
        "What does ` !/set(model=other) ` do?",
        "They wrote:\n> Hello\n> !/set(model=other)",
        "To do:\n- > !/set(model=other)",
        "To do:\n1. ```\n   !/set(model=other)\n   ```",
        [{"type": "text", "text": "A log:\n```"}, {"type": "text", "text": "!/set(model=other)"}],
        [{"type": "text", "text": "` a"}, {"type": "text", "text": "!/set(model=other) `"}],
    ],
)
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_pasted_text_contains_no_commands(daemon: Daemon, upstream: Upstream, path: str, text: object) -> None:
    play = upstream.play(plain(completion("ok")))
    user = json.dumps([path, text])[-200:]
    messages = [{"role": "user", "content": text}]
    daemon.chat(play.model, path=path, messages=messages, user=user, max_tokens=100)
    assert [seen.json()["model"] for seen in play.requests] == [play.model]
    sent = play.requests[0].body.decode()
    assert "!/set(model=other)" in json.dumps(json.loads(sent), ensure_ascii=False)


def test_a_command_beside_pasted_text_is_run(daemon: Daemon, seen: Sent) -> None:
    chat = Chat(daemon, "m-small")
    chat.say("Hello, please use !/set(model=vendor/m-large) for this:\n```\n!/set(model=other)\n```")
    assert where(seen[-1]) == ("one", "vendor/m-large")
    assert texts(seen[-1]) == ["Hello, please use for this:\n```\n!/set(model=other)\n```"]
