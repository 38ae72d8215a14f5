"""`/v1/messages`: the real `anthropic` SDK with every kind of model, augmented or not, Anthropic's or not."""

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest

from tests.augmented.talk import conversation
from tests.harness.daemon import Daemon
from tests.harness.plays import FIN, HOLD, SSE_HEAD, chunk, delta, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream

MODEL = "augmented/tools"
THEIRS: Any = {"name": "theirs", "description": "theirs", "input_schema": {"type": "object"}}
OURS = ("call_ours_00000000000000000001", "double", '{"number":21}')
CALL = ("call_theirs_000000000000000001", "theirs", '{"x":1}')


@pytest.fixture
def sdk(augmented_daemon: Daemon) -> Iterator[anthropic.Anthropic]:
    url = augmented_daemon.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0, timeout=30) as sdk:
        yield sdk


def request(play: Play | None, model: str = MODEL, **more: Any) -> Any:
    messages = [{"role": "user", "content": "Hi"}]
    headers = {"X-Play": play.model} if play else {}
    return {"model": model, "max_tokens": 500, "messages": messages, "extra_headers": headers, **more}


def test_a_tool_of_ours(sdk: anthropic.Anthropic, upstream: Upstream) -> None:
    play = conversation(upstream, [OURS], "It is 42.", stream=False)
    message = sdk.messages.create(**request(play, system="Be brief."))
    assert (message.model, message.stop_reason) == (MODEL, "end_turn")
    assert [block.type for block in message.content] == ["text"]
    assert message.content[0].text == "It is 42."
    assert message.usage.output_tokens == 10
    first = play.bodies()[0]
    assert first["messages"][0] == {"role": "system", "content": "You are the house.\n\nBe brief."}


def test_a_streamed_tool_of_ours(sdk: anthropic.Anthropic, upstream: Upstream) -> None:
    play = conversation(upstream, [OURS], "It is 42.", stream=True)
    with sdk.messages.stream(**request(play)) as stream:
        text = "".join(stream.text_stream)
        message = stream.get_final_message()
    assert text == "It is 42."
    assert (message.model, message.stop_reason, message.usage.output_tokens) == (MODEL, "end_turn", 10)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
def test_a_mixed_turn(sdk: anthropic.Anthropic, upstream: Upstream, stream: bool) -> None:
    play = conversation(upstream, ("One moment.", [OURS, CALL]), "Done.", stream=stream)

    def ask(**more: Any) -> Any:
        if not stream:
            return sdk.messages.create(**request(play, tools=[THEIRS], **more))
        with sdk.messages.stream(**request(play, tools=[THEIRS], **more)) as events:
            return events.get_final_message()

    first = ask()
    assert first.stop_reason == "tool_use"
    text, call = first.content
    assert (text.text, call.type, call.name, call.input) == ("One moment.", "tool_use", "theirs", {"x": 1})
    history = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "on"}]},
    ]
    assert ask(messages=history).content[0].text == "Done."
    sent = play.bodies()[1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert [message["content"] for message in sent[3:]] == ["42", "on"]


def test_a_plain_model_of_another_provider(sdk: anthropic.Anthropic, upstream: Upstream) -> None:
    play = conversation(upstream, [CALL], stream=False)
    message = sdk.messages.create(**request(None, play.model, tools=[THEIRS]))
    (call,) = message.content
    assert (message.stop_reason, call.type, call.name, call.input) == ("tool_use", "tool_use", "theirs", {"x": 1})
    play = conversation(upstream, "Hello there.", stream=True)
    with sdk.messages.stream(**request(None, play.model)) as stream:
        assert "".join(stream.text_stream) == "Hello there."
    (body,) = play.bodies()
    assert body["model"] == play.model
    assert body["messages"] == [{"role": "user", "content": "Hi"}]
    assert play.requests[0].target == "/v1/chat/completions"


def test_the_echo_model(sdk: anthropic.Anthropic) -> None:
    assert sdk.messages.create(**request(None, "echo:echo")).content[0].text == "Hi"
    with sdk.messages.stream(**request(None, "augmented/on-echo", messages=[
        {"role": "user", "content": 'call double {"number": 21}'}
    ])) as stream:  # fmt: skip
        assert "".join(stream.text_stream) == "double: 42"


@pytest.mark.parametrize("model", [MODEL, ""], ids=["augmented", "plain"])
def test_errors_have_anthropics_format(sdk: anthropic.Anthropic, upstream: Upstream, model: str) -> None:
    play = upstream.play(plain(b'{"error":{"message":"too long","type":"x"}}', "400 Bad Request"))
    with pytest.raises(anthropic.BadRequestError) as caught:
        sdk.messages.create(**request(play, model or play.model))
    assert caught.value.body["type"] == "error"  # type: ignore[index,call-overload]
    assert caught.value.body["error"]["message"] == "too long"  # type: ignore[index,call-overload]
    play = upstream.play(plain(b'{"error":{"message":"slow down"}}', "429 Too Many Requests"))
    with pytest.raises(anthropic.RateLimitError):
        sdk.messages.create(**request(play, model or play.model))
    play = upstream.play(FIN)
    with pytest.raises(anthropic.APIStatusError) as broken:
        sdk.messages.create(**request(play, model or play.model))
    assert broken.value.status_code == 502


@pytest.mark.parametrize("model", [MODEL, ""], ids=["augmented", "plain"])
def test_a_broken_stream_is_an_error(sdk: anthropic.Anthropic, upstream: Upstream, model: str) -> None:
    play = upstream.play(SSE_HEAD, chunk(delta("half")), FIN)
    with sdk.messages.stream(**request(play, model or play.model)) as stream, pytest.raises(anthropic.APIError):
        list(stream.text_stream)


@pytest.mark.parametrize("model", [MODEL, ""], ids=["augmented", "plain"])
def test_a_client_that_disconnects(
    augmented_daemon: Daemon, sdk: anthropic.Anthropic, upstream: Upstream, model: str
) -> None:
    play = upstream.play(SSE_HEAD, chunk(delta("half")), HOLD)
    with sdk.messages.stream(**request(play, model or play.model)) as stream:
        assert next(iter(stream.text_stream)) == "half"
        seen = play.begun()
    assert seen.gone(), "the provider still works for a client that has disconnected"


def test_counting_tokens(sdk: anthropic.Anthropic) -> None:
    counted = sdk.messages.count_tokens(model=MODEL, messages=[{"role": "user", "content": "one two three"}])
    assert counted.input_tokens > 0
