"""A new dialect is a folder and a row: client and provider side work, in every combination with the existing ones."""

import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from openai_proxy import dialects
from openai_proxy.dialects import dialect
from openai_proxy.dialects.base import Dialect
from openai_proxy.errors import BadRequest, UpstreamTruncated
from openai_proxy.exchange import UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.client_dialect import as_dialect
from openai_proxy.upstream.lessons import LessonTable
from openai_proxy.upstream.translator import Translator
from tests.upstream.scripted import Scripted, json_answer


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Dialect:
    monkeypatch.setitem(dialects.DIALECTS, "tiny", "tests.dialects.tiny")
    return dialect("tiny")


async def exchange(spoken: Dialect, answer: Scripted, chat: dict[str, Any]) -> tuple[UpstreamResponse, list[Any]]:
    """The answer of a provider with the dialect `spoken`, as a chat answer, and the requests to it."""
    questions: list[UpstreamRequest] = []

    async def send(question: UpstreamRequest) -> UpstreamResponse:
        questions.append(question)
        return answer

    translator = Translator("main", spoken, LessonTable().of("main"))
    response = await translator.ask(UpstreamRequest("POST", "/chat/completions"), chat, send)
    return response, [(question.path, orjson.loads(question.body)) for question in questions]  # type: ignore[arg-type]


CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "seed": 1}


async def test_a_provider_with_it(tiny: Dialect):
    response, questions = await exchange(tiny, json_answer({"say": "hi", "tokens": 2}), CHAT)
    assert questions == [("/tiny", {"model": "m", "ask": "hello", "stream": False})]
    assert (b"X-Proxy-Dropped", b"seed") in list(response.headers)
    completion = orjson.loads(await response.read(9999))
    assert completion["choices"][0]["message"]["content"] == "hi"
    response, _ = await exchange(tiny, Scripted(503, [b"busy"]), CHAT)
    assert (response.status, orjson.loads(await response.read(999))["error"]["message"]) == (503, "busy")


async def test_a_client_with_it(tiny: Dialect):
    request = tiny.read_request("/tiny", {"model": "m", "ask": "hello"})
    chat = json_answer({"choices": [{"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}]})
    answer = await as_dialect(chat, tiny, request, "m", connection="main")
    assert orjson.loads(await answer.read(999)) == {"say": "hi", "tokens": 0}
    with pytest.raises(BadRequest):
        tiny.read_request("/tiny", {})
    answer = await as_dialect(Scripted(429, [b'{"error":{"message":"slow"}}']), tiny, request, "m", connection="main")
    assert (answer.status, await answer.read(999)) == (429, b"!slow")


@pytest.mark.parametrize("inward", ["tiny", "chat", "messages"])
@pytest.mark.parametrize("cut", [1, 7, 1000])
async def test_every_client_dialect_with_a_provider_with_it(tiny: Dialect, inward: str, cut: int):
    spoken = dialect(inward)
    documents = {
        "tiny": {"model": "m", "ask": "hello", "stream": True},
        "chat": {**CHAT, "stream": True},
        "messages": {"model": "m", "max_tokens": 9, "messages": CHAT["messages"], "stream": True},
    }
    request = spoken.read_request("/", documents[inward])
    raw = b"+he\n+llo\n.\n"
    scripted = Scripted(200, [raw[at : at + cut] for at in range(0, len(raw), cut)])
    response, questions = await exchange(tiny, scripted, {**request.chat, "model": "m"})
    assert questions == [("/tiny", {"model": "m", "ask": "hello", "stream": True})]
    answer = await as_dialect(response, spoken, request, "m", connection="main")
    body = await answer.read(9999)
    assert b"he" in body
    assert b"llo" in body
    ends = {"tiny": b".\n", "chat": b"data: [DONE]\n\n", "messages": b'{"type":"message_stop"}\n\n'}
    assert body.endswith(ends[inward])
    answer.close()
    assert scripted.closed


async def test_chunks_are_passed_directly_if_both_sides_are_translated(tiny: Dialect, monkeypatch: pytest.MonkeyPatch):
    """No chat bytes are written only to be parsed again."""
    from openai_proxy.upstream import translator

    def never(*_: object) -> bytes:
        raise AssertionError("chunks were serialised")

    monkeypatch.setattr(translator.ChatWriter, "chunk", never)
    request = tiny.read_request("/tiny", {"model": "m", "ask": "hello", "stream": True})
    response, _ = await exchange(tiny, Scripted(200, [b"+hi\n.\n"]), request.chat)
    answer = await as_dialect(response, tiny, request, "m", connection="main")
    assert await answer.read(999) == b"+hi\n.\n"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("large", [False, True])
async def test_an_answer_that_may_repeat_a_large_request_is_written_off_the_event_loop(
    tiny: Dialect, monkeypatch: pytest.MonkeyPatch, stream: bool, large: bool
):
    """Ollama's `context` holds the conversation, and a response its instructions and tools."""
    writers: list[int] = []
    kind = type(tiny.write_answer(tiny.read_request("/tiny", {"model": "m", "ask": "hello"}), "m"))

    def noting(write: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*given: Any) -> Any:
            writers.append(threading.get_ident())
            return write(*given)

        return noted

    for name in ("whole", "chunk", "end"):
        monkeypatch.setattr(kind, name, noting(getattr(kind, name)))
    request = tiny.read_request("/tiny", {"model": "m", "ask": "hello", "stream": stream})
    response, _ = await exchange(
        tiny, Scripted(200, [b"+hi\n.\n"]) if stream else json_answer({"say": "hi", "tokens": 2}), request.chat
    )
    answer = await as_dialect(response, tiny, request, "m", connection="main", large=large)
    assert b"hi" in await answer.read(999)
    assert {writer != threading.get_ident() for writer in writers} == {large}


async def test_a_break_is_raised_and_can_be_written_in_its_format(tiny: Dialect):
    request = tiny.read_request("/tiny", {"model": "m", "ask": "hello", "stream": True})
    response, _ = await exchange(tiny, Scripted(200, [b"+hi\n"]), request.chat)
    answer = await as_dialect(response, tiny, request, "m", connection="main")
    assert await answer.chunk() == b"+hi\n"
    with pytest.raises(UpstreamTruncated) as broken:
        await answer.chunk()
    assert answer.broken(broken.value) == b"!The provider broke off in the middle of its answer.\n"  # type: ignore[attr-defined]
