"""The real `openai` client, sync and async."""

import base64
from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from tests.harness import plays
from tests.harness.daemon import Daemon
from tests.harness.manners import IMAGE, SPEECH
from tests.harness.plays import DONE, FIN, SSE_HEAD, TWO, chunk
from tests.harness.upstream import Upstream

MESSAGES: list[dict[str, str]] = [{"role": "user", "content": "Hi"}]
WAV = b"RIFF" + bytes(range(256)) * 500


@pytest.fixture
def client(daemon: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=daemon.url, api_key="any", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
async def aclient(daemon: Daemon) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=daemon.url, api_key="any", max_retries=0, timeout=30) as client:
        yield client


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(model="m-small", messages=MESSAGES)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "Hello world"
    assert answer.model == "m-small"
    assert answer._request_id


def test_a_stream(client: openai.OpenAI) -> None:
    parts = client.chat.completions.create(model="m-small", messages=MESSAGES, stream=True)  # type: ignore[call-overload]
    assert "".join(part.choices[0].delta.content or "" for part in parts) == "Hello world"


def test_embeddings(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="m-small", input="Hi", encoding_format="float")
    assert answer.data[0].embedding == [0.25, -0.5, 1.0]


def test_audio_both_ways(client: openai.OpenAI) -> None:
    heard = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", WAV))
    assert heard.text == "good morning"
    with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="x") as spoken:
        assert spoken.read() == SPEECH


def test_images(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="gpt-image-1", prompt="a cat")
    assert answer.data is not None
    assert answer.data[0].b64_json == IMAGE
    edited = client.images.edit(model="gpt-image-1", prompt="a hat", image=("a.png", base64.b64decode(IMAGE)))
    assert edited.data is not None
    assert edited.data[0].b64_json == IMAGE


def test_models(client: openai.OpenAI) -> None:
    assert "vendor/m-large" in {model.id for model in client.models.list()}
    assert client.models.retrieve("vendor/m-large").id == "vendor/m-large"


def test_a_broken_stream_is_an_error_for_the_client(client: openai.OpenAI, upstream: Upstream) -> None:
    """A truncation that ends cleanly would look like a complete answer."""
    play = upstream.play(SSE_HEAD, chunk(TWO), FIN)
    parts = client.chat.completions.create(model=play.model, messages=MESSAGES, stream=True)  # type: ignore[call-overload]
    with pytest.raises(openai.APIError):
        list(parts)


def test_our_errors_are_understood(client: openai.OpenAI, upstream: Upstream) -> None:
    play = upstream.play(FIN)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=play.model, messages=MESSAGES)  # type: ignore[arg-type]
    assert caught.value.status_code == 502
    assert caught.value.code == "upstream_disconnected"


async def test_chat_async(aclient: openai.AsyncOpenAI) -> None:
    answer = await aclient.chat.completions.create(model="m-small", messages=MESSAGES)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == "Hello world"


async def test_a_stream_async(aclient: openai.AsyncOpenAI) -> None:
    parts = await aclient.chat.completions.create(model="m-small", messages=MESSAGES, stream=True)  # type: ignore[call-overload]
    assert "".join([part.choices[0].delta.content or "" async for part in parts]) == "Hello world"


async def test_other_endpoints_async(aclient: openai.AsyncOpenAI) -> None:
    assert (await aclient.embeddings.create(model="m", input="Hi", encoding_format="float")).data[0].embedding[2] == 1.0
    assert (await aclient.audio.transcriptions.create(model="whisper-1", file=("a.wav", WAV))).text == "good morning"
    images = await aclient.images.generate(model="gpt-image-1", prompt="a cat")
    assert images.data is not None
    assert images.data[0].b64_json == IMAGE


async def test_a_stream_closed_early_async(aclient: openai.AsyncOpenAI, upstream: Upstream) -> None:
    play = upstream.play(SSE_HEAD, chunk(TWO), plays.HOLD, DONE)
    parts = await aclient.chat.completions.create(model=play.model, messages=MESSAGES, stream=True)  # type: ignore[call-overload]
    async for _ in parts:
        break
    await parts.close()
    assert play.begun().gone()
