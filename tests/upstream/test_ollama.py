"""Connections to Ollama servers: with their own API, and with /v1 if a server does not have it."""

from typing import Any

import orjson
import pytest

from openai_proxy.config.connection import ConnectionConfig
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.sse import DONE, EventSplitter
from openai_proxy.errors import UpstreamInvalid
from openai_proxy.exchange import UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.lessons import LessonTable
from openai_proxy.upstream.ollama import OllamaProvider
from tests.upstream.scripted import Provider, Scripted, json_answer

USER = {"role": "user", "content": "hi"}
DONE_LINE = {
    "model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop",
    "total_duration": 5_000_000_000, "prompt_eval_count": 26, "eval_count": 10, "eval_duration": 500_000_000,
}  # fmt: skip
SHOWN = {"capabilities": ["completion", "thinking"], "model_info": {"llama.context_length": 131072, "x.y": 3}}


def lines(*documents: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(document) + b"\n" for document in documents)


def piece(text: str) -> dict[str, Any]:
    return {"model": "m", "message": {"role": "assistant", "content": text}, "done": False}


def streamed(*pieces: bytes) -> Scripted:
    return Scripted(200, pieces, [(b"content-type", b"application/x-ndjson")])


def no_such_path() -> Scripted:
    return Scripted(404, [b"404 page not found"], [(b"content-type", b"text/plain")])


def provider(ask: Provider, **more: Any) -> OllamaProvider:
    return OllamaProvider("box", ask, **more)


def chat(**members: Any) -> UpstreamRequest:
    body = orjson.dumps({"model": "m", "messages": [USER], **members})
    headers = [(b"Content-Type", b"application/json"), (b"Accept-Encoding", b"gzip"), (b"X-Own", b"1")]
    return UpstreamRequest("POST", "/chat/completions", headers=headers, body=body)


async def everything(response: UpstreamResponse) -> bytes:
    data = b""
    while piece := await response.chunk():
        data += piece
    return data


async def completion(response: UpstreamResponse) -> dict[str, Any]:
    return dict(orjson.loads(await response.read(1 << 20)))


async def test_chat_goes_to_its_own_endpoint_with_the_connections_options() -> None:
    ask = Provider(json_answer({**DONE_LINE, "message": {"role": "assistant", "content": "Hello"}}))
    box = provider(ask, options={"num_ctx": 16384, "temperature": 0.1}, keep_alive="1h")
    made = await completion(await box.send(chat(temperature=0.9, options={"num_ctx": 4096}), "key"))
    request, key = ask.asked[0]
    assert (request.method, request.path, key) == ("POST", "/api/chat", "key")
    assert ask.body() == {
        "model": "m",
        "messages": [USER],
        "stream": False,
        "options": {"num_ctx": 4096, "temperature": 0.9},
        "keep_alive": "1h",
    }
    assert ask.header("accept-encoding") == "identity"
    assert ask.header("x-own") == "1"
    assert made["choices"][0]["message"]["content"] == "Hello"
    assert made["usage"] == {"prompt_tokens": 26, "completion_tokens": 10, "total_tokens": 36}
    assert made["timings"]["total_ms"] == 5000


async def test_a_stream_becomes_chunks_as_it_arrives() -> None:
    data = lines(piece("Hel"), piece("lo"), DONE_LINE)
    ask = Provider(streamed(data[:20], data[20:130], data[130:]))
    response = await provider(ask).send(chat(stream=True, stream_options={"include_usage": True}), None)
    assert ask.body()["stream"] is True
    events = EventSplitter().feed(await everything(response))
    assert events[-1].data == DONE
    fold = MessageFold()
    for event in events[:-1]:
        fold.feed(orjson.loads(event.data))
    assert (fold.message()["content"], fold.finish_reason) == ("Hello", "stop")
    assert fold.usage is not None
    assert fold.usage["completion_tokens"] == 10


async def test_an_error_in_mid_stream_is_passed_on() -> None:
    ask = Provider(streamed(lines(piece("Hel"), {"error": "out of memory"})))
    data = await everything(await provider(ask).send(chat(stream=True), None))
    assert b"out of memory" in data
    assert DONE not in data


async def test_a_server_without_the_endpoint_is_used_over_v1_from_then_on() -> None:
    def answer() -> Scripted:
        return json_answer({"choices": []})

    ask = Provider(no_such_path(), answer(), answer())
    table = LessonTable()
    box = provider(ask, lessons=table.of("box"))
    for _ in range(2):
        assert (await box.send(chat(), None)).status == 200
    assert [request.path for request, _ in ask.asked] == ["/api/chat", "/v1/chat/completions", "/v1/chat/completions"]
    assert ask.body()["messages"] == [USER]
    assert table.of("box").lacks("/api/chat")


async def test_a_missing_model_is_not_mistaken_for_a_missing_endpoint() -> None:
    ask = Provider(json_answer({"error": "model 'm' not found"}, 404))
    response = await provider(ask).send(chat(), None)
    made = await completion(response)
    assert response.status == 404
    assert made["error"]["code"] == "model_not_found"
    assert len(ask.asked) == 1


async def test_thinking_is_not_requested_again_after_a_refusal() -> None:
    good = {**DONE_LINE, "message": {"role": "assistant", "content": "Hello"}}
    ask = Provider(json_answer({"error": '"m" does not support thinking'}, 400), json_answer(good), json_answer(good))
    box = provider(ask)
    for _ in range(2):
        assert (await box.send(chat(reasoning_effort="high"), None)).status == 200
    assert ["think" in ask.body(at) for at in range(3)] == [True, False, False]
    ask.answers = [json_answer({"error": 'think value "high" is not supported for this model'}, 400), json_answer(good)]
    assert (await box.send(chat(model="n", reasoning_effort="high"), None)).status == 200
    assert (ask.body(-2)["think"], ask.body(-1)["think"]) == ("high", True)


async def test_requests_without_an_equivalent_are_a_400() -> None:
    response = await provider(Provider()).send(chat(n=2), None)
    assert response.status == 400
    assert (await completion(response))["error"]["param"] == "n"


async def test_other_paths_pass_through() -> None:
    ask = Provider(json_answer({}), json_answer({}), json_answer({}))
    box = provider(ask)
    for method, path in (("POST", "/api/generate"), ("POST", "/embeddings"), ("GET", "/models")):
        await box.send(UpstreamRequest(method, path, body=b"{}"), None)
    assert [request.path for request, _ in ask.asked] == ["/api/generate", "/v1/embeddings", "/v1/models"]


async def test_embeddings_use_the_connections_options() -> None:
    vectors = {"embeddings": [[1.0, 2.0]], "prompt_eval_count": 3}
    ask = Provider(json_answer(vectors), json_answer(vectors), no_such_path(), json_answer({}), json_answer({}))
    box = provider(ask, options={"num_ctx": 2048})

    async def embed(**members: Any) -> dict[str, Any]:
        body = orjson.dumps({"model": "m", "input": "hi", **members})
        return await completion(await box.send(UpstreamRequest("POST", "/embeddings", body=body), None))

    made = await embed()
    assert ask.body() == {"model": "m", "input": ["hi"], "options": {"num_ctx": 2048}}
    assert made["data"] == [{"object": "embedding", "index": 0, "embedding": [1.0, 2.0]}]
    assert made["usage"]["prompt_tokens"] == 3
    assert (await embed(encoding_format="base64"))["data"][0]["embedding"] == "AACAPwAAAEA="
    await embed()
    await embed()
    assert [request.path for request, _ in ask.asked[2:]] == ["/api/embed", "/v1/embeddings", "/v1/embeddings"]


async def test_its_list_has_context_and_capabilities() -> None:
    details = {"family": "llama", "parameter_size": "3.2B", "context_length": 8192}
    tags = {
        "models": [
            {"name": "a:latest", "model": "a:latest", "modified_at": "2026-01-02T03:04:05Z", "digest": "d", "size": 5},
            {"model": "b", "capabilities": ["completion"], "details": details},
        ]
    }
    shown: list[int] = []

    def show() -> Scripted:
        shown.append(1)
        return json_answer(SHOWN)

    ask = Provider(fixed={"/api/tags": lambda: json_answer(tags), "/api/show": show})
    box = provider(ask, options={"num_ctx": 16384})
    for _ in range(2):
        first, second = await box.list_models()
    assert len(shown) == 1
    assert (first["id"], first["context_length"], first["capabilities"]) == (
        "a:latest",
        16384,
        ["completion", "thinking"],
    )
    assert (first["created"], first["size"], first["digest"]) == (1767323045, 5, "d")
    assert (second["context_length"], second["capabilities"], second["details"]) == (8192, ["completion"], details)


async def test_the_model_list_decides_whether_thinking_is_requested() -> None:
    tags = {"models": [{"model": "a:latest", "capabilities": ["completion"], "details": {"context_length": 9}}]}
    ask = Provider(json_answer(DONE_LINE), fixed={"/api/tags": lambda: json_answer(tags)})
    box = provider(ask)
    await box.list_models()
    response = await box.send(chat(model="a", reasoning_effort="high"), None)
    assert "think" not in ask.body()
    assert (b"X-Proxy-Dropped", b"reasoning_effort") in response.headers


async def test_a_server_without_tags_is_listed_over_v1() -> None:
    listed = {"object": "list", "data": [{"id": "a", "created": 7}]}
    ask = Provider(
        fixed={"/api/tags": no_such_path, "/v1/models": lambda: json_answer(listed), "/api/show": no_such_path}
    )
    (model,) = await provider(ask).list_models()
    assert (model["id"], model["created"]) == ("a", 7)
    odd = Provider(fixed={"/api/tags": lambda: json_answer({"models": 3})})
    with pytest.raises(UpstreamInvalid):
        await provider(odd).list_models()


@pytest.mark.parametrize(
    ("base", "root"),
    [
        (None, "http://127.0.0.1:11434"),
        ("http://box:11434", "http://box:11434"),
        ("http://box:11434/v1/", "http://box:11434"),
        ("http://box:11434/api", "http://box:11434"),
        ("https://example.com/ollama", "https://example.com/ollama"),
    ],
)
def test_every_spelling_of_its_address_leads_to_its_root(base: str | None, root: str) -> None:
    assert ConnectionConfig.model_validate({"api_type": "ollama", "api_base": base}).api_base == root


@pytest.mark.parametrize(("value", "kept"), [("10m", "10m"), (-1, -1), ("-1", -1), (300, 300), ("1h30m", "1h30m")])
def test_keep_alive(value: Any, kept: Any) -> None:
    assert ConnectionConfig.model_validate({"api_type": "ollama", "keep_alive": value}).keep_alive == kept


@pytest.mark.parametrize(
    "members",
    [
        {"api_type": "openai", "options": {"num_ctx": 1}},
        {"api_type": "openai", "keep_alive": 5},
        {"api_type": "ollama", "keep_alive": "soon"},
        {"api_type": "ollama", "keep_alive": True},
        {"api_type": "ollama", "options": []},
    ],
)
def test_invalid_settings(members: dict[str, Any]) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # pydantic's own
        ConnectionConfig.model_validate(members)
