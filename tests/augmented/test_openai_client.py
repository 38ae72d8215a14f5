"""The real `openai` client with augmented models: whole, streamed, with its stream helper, sync and async."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import openai
import pytest

from tests.augmented.talk import CLIENT_TOOL, conversation
from tests.harness.daemon import Daemon
from tests.harness.plays import FIN, SSE_HEAD, chunk, delta
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream

MODEL = "augmented/tools"
MESSAGES: Any = [{"role": "user", "content": "Hi"}]
TOOLS: Any = [CLIENT_TOOL]
OURS = ("call_ours_00000000000000000001", "double", '{"number":21}')
THEIRS = ("call_theirs_000000000000000001", "theirs", '{"x":1}')


@pytest.fixture
def client(augmented_daemon: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=augmented_daemon.url, api_key="any", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
async def aclient(augmented_daemon: Daemon) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=augmented_daemon.url, api_key="any", max_retries=0, timeout=30) as client:
        yield client


def by(play: Play) -> dict[str, str]:
    return {"X-Play": play.model}


def request(play: Play) -> Any:
    return {"model": MODEL, "messages": MESSAGES, "extra_headers": by(play)}


def test_a_tool_conversation(client: openai.OpenAI, upstream: Upstream) -> None:
    play = conversation(upstream, [OURS], "42.", stream=False)
    answer = client.chat.completions.create(**request(play))
    assert (answer.model, answer.choices[0].message.content) == (MODEL, "42.")
    assert answer.usage is not None
    assert answer.usage.total_tokens == 30
    assert answer._request_id


def test_a_streamed_tool_conversation_with_its_status(client: openai.OpenAI, upstream: Upstream) -> None:
    play = conversation(upstream, [OURS], "42.", stream=True)
    parts = list(client.chat.completions.create(**request(play), stream=True, stream_options={"include_usage": True}))
    assert "".join(part.choices[0].delta.content or "" for part in parts if part.choices) == "42."
    states = [
        part.model_extra["proxy_status"]["status"] for part in parts if "proxy_status" in (part.model_extra or {})
    ]
    assert "executing_tool" in states
    assert parts[-1].usage is not None
    assert parts[-1].usage.total_tokens == 30


def test_a_mixed_turn_with_the_stream_helper(client: openai.OpenAI, upstream: Upstream) -> None:
    play = conversation(upstream, ("One moment.", [OURS, THEIRS]), "Done.", stream=True)
    with client.chat.completions.stream(**request(play), tools=TOOLS) as events:
        kinds = {event.type for event in events}
        first = events.get_final_completion()
    assert {"content.delta", "tool_calls.function.arguments.done"} <= kinds
    message = first.choices[0].message
    (call,) = message.tool_calls or ()
    assert (message.content, call.id, call.function.arguments) == ("One moment.", THEIRS[0], '{"x":1}')
    history = [*MESSAGES, message.model_dump(exclude_none=True)]
    history.append({"role": "tool", "tool_call_id": call.id, "content": "on"})
    with client.chat.completions.stream(**{**request(play), "messages": history}, tools=TOOLS) as events:
        assert events.get_final_completion().choices[0].message.content == "Done."
    sent = play.bodies()[1]["messages"]
    assert [message["role"] for message in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert [message["content"] for message in sent[3:]] == ["42", "on"]


def test_a_mixed_turn_without_streaming(client: openai.OpenAI, upstream: Upstream) -> None:
    play = conversation(upstream, [THEIRS, OURS], "Done.", stream=False)
    message = client.chat.completions.create(**request(play), tools=TOOLS).choices[0].message
    (call,) = message.tool_calls or ()
    history = [*MESSAGES, message, {"role": "tool", "tool_call_id": call.id, "content": "on"}]
    answer = client.chat.completions.create(**{**request(play), "messages": history}, tools=TOOLS)
    assert answer.choices[0].message.content == "Done."
    assert [m["content"] for m in play.bodies()[1]["messages"][3:]] == ["on", "42"]


def test_the_beta_helper(client: openai.OpenAI, upstream: Upstream) -> None:
    play = conversation(upstream, [OURS], "42.", stream=True)
    with client.beta.chat.completions.stream(**request(play)) as events:
        assert events.get_final_completion().choices[0].message.content == "42."


def test_parse_into_a_type(client: openai.OpenAI, upstream: Upstream) -> None:
    """`response_format` is sent with every round."""
    from pydantic import BaseModel

    class Number(BaseModel):
        number: int

    play = conversation(upstream, [OURS], '{"number":42}', stream=False)
    answer = client.chat.completions.parse(**request(play), response_format=Number)
    assert answer.choices[0].message.parsed == Number(number=42)
    assert all("response_format" in body for body in play.bodies())


async def test_async(aclient: openai.AsyncOpenAI, upstream: Upstream) -> None:
    play = conversation(upstream, [OURS], "42.", stream=False)
    answer = await aclient.chat.completions.create(**request(play))
    assert answer.choices[0].message.content == "42."


async def test_async_streams(aclient: openai.AsyncOpenAI, upstream: Upstream) -> None:
    play = conversation(upstream, [OURS], "42.", stream=True)
    parts = await aclient.chat.completions.create(**request(play), stream=True)
    assert "".join([part.choices[0].delta.content or "" async for part in parts]) == "42."
    play = conversation(upstream, [OURS], "42.", stream=True)
    async with aclient.beta.chat.completions.stream(**request(play)) as events:
        assert (await events.get_final_completion()).choices[0].message.content == "42."


def test_a_broken_stream_raises(client: openai.OpenAI, upstream: Upstream) -> None:
    play = upstream.play(SSE_HEAD, chunk(delta("half")), FIN)
    parts = client.chat.completions.create(**request(play), stream=True)
    with pytest.raises(openai.APIError):
        list(parts)


def test_after_a_tool_has_acted_the_client_does_not_retry(augmented_daemon: Daemon, upstream: Upstream) -> None:
    """Each retry would toggle the light again."""
    play = conversation(upstream, [OURS], stream=False)  # the second request is answered with 500
    with (
        openai.OpenAI(base_url=augmented_daemon.url, api_key="any", max_retries=2, timeout=30) as client,
        pytest.raises(openai.InternalServerError),
    ):
        client.chat.completions.create(**request(play))
    assert len(play.requests) == 2


def test_models(client: openai.OpenAI) -> None:
    assert MODEL in {model.id for model in client.models.list()}
    assert client.models.retrieve(MODEL).owned_by == "the-house"
