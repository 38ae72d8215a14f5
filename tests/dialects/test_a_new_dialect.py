"""A new dialect is a folder and a row: both carriers serve it, in every pairing with those that are there."""

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
    monkeypatch.delitem(dialects._loaded, "tiny", raising=False)
    return dialect("tiny")


async def asked(spoken: Dialect, answer: Scripted, chat: dict[str, Any]) -> tuple[UpstreamResponse, list[Any]]:
    """The answer of a provider that speaks `spoken`, as a chat answer, and the questions that were put."""
    questions: list[UpstreamRequest] = []

    async def send(question: UpstreamRequest) -> UpstreamResponse:
        questions.append(question)
        return answer

    translator = Translator("main", spoken, LessonTable().of("main"))
    response = await translator.ask(UpstreamRequest("POST", "/chat/completions"), chat, send)
    return response, [(question.path, orjson.loads(question.body)) for question in questions]  # type: ignore[arg-type]


CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "seed": 1}


async def test_a_provider_that_speaks_it(tiny: Dialect):
    response, questions = await asked(tiny, json_answer({"say": "hi", "tokens": 2}), CHAT)
    assert questions == [("/tiny", {"model": "m", "ask": "hello", "stream": False})]
    assert (b"X-Proxy-Dropped", b"seed") in list(response.headers)
    completion = orjson.loads(await response.read(9999))
    assert completion["choices"][0]["message"]["content"] == "hi"
    response, _ = await asked(tiny, Scripted(503, [b"busy"]), CHAT)
    assert (response.status, orjson.loads(await response.read(999))["error"]["message"]) == (503, "busy")


async def test_a_client_that_speaks_it(tiny: Dialect):
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
async def test_every_client_with_a_provider_that_speaks_it(tiny: Dialect, inward: str, cut: int):
    spoken = dialect(inward)
    documents = {
        "tiny": {"model": "m", "ask": "hello", "stream": True},
        "chat": {**CHAT, "stream": True},
        "messages": {"model": "m", "max_tokens": 9, "messages": CHAT["messages"], "stream": True},
    }
    request = spoken.read_request("/", documents[inward])
    raw = b"+he\n+llo\n.\n"
    scripted = Scripted(200, [raw[at : at + cut] for at in range(0, len(raw), cut)])
    response, questions = await asked(tiny, scripted, {**request.chat, "model": "m"})
    assert questions == [("/tiny", {"model": "m", "ask": "hello", "stream": True})]
    answer = await as_dialect(response, spoken, request, "m", connection="main")
    body = await answer.read(9999)
    assert b"he" in body
    assert b"llo" in body
    ends = {"tiny": b".\n", "chat": b"data: [DONE]\n\n", "messages": b'{"type":"message_stop"}\n\n'}
    assert body.endswith(ends[inward])
    answer.close()
    assert scripted.closed


async def test_both_sides_translated_hand_chunks_over_directly(tiny: Dialect, monkeypatch: pytest.MonkeyPatch):
    """No chat bytes are written to be parsed again."""
    from openai_proxy.upstream import translator

    def never(*_: object) -> bytes:
        raise AssertionError("chunks were made bytes")

    monkeypatch.setattr(translator.ChatWriter, "chunk", never)
    request = tiny.read_request("/tiny", {"model": "m", "ask": "hello", "stream": True})
    response, _ = await asked(tiny, Scripted(200, [b"+hi\n.\n"]), request.chat)
    answer = await as_dialect(response, tiny, request, "m", connection="main")
    assert await answer.read(999) == b"+hi\n.\n"


async def test_a_break_is_raised_and_can_be_told_in_its_words(tiny: Dialect):
    request = tiny.read_request("/tiny", {"model": "m", "ask": "hello", "stream": True})
    response, _ = await asked(tiny, Scripted(200, [b"+hi\n"]), request.chat)
    answer = await as_dialect(response, tiny, request, "m", connection="main")
    assert await answer.chunk() == b"+hi\n"
    with pytest.raises(UpstreamTruncated) as broken:
        await answer.chunk()
    assert answer.broken(broken.value) == b"!The provider broke off in the middle of its answer.\n"  # type: ignore[attr-defined]
