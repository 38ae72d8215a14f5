"""The Anthropic connection: its requests, and how it reads the answers."""

from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion

from openai_proxy.errors import UpstreamAuthError, UpstreamInvalid, UpstreamTruncated
from openai_proxy.exchange import UpstreamRequest
from openai_proxy.upstream.anthropic import AnthropicProvider
from tests.upstream.anthropic_oracle import TOOLS_STREAM, client_reads, vendor_reads
from tests.upstream.scripted import Provider, Scripted, json_answer, sse

ENTRY = {"id": "c", "type": "model", "max_tokens": 4096, "created_at": "2026-01-01T00:00:00Z", "display_name": "C"}
BIG = {**ENTRY, "id": "big", "max_tokens": 64000}
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "c-2026", "stop_reason": "tool_use",
    "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"x": 1}}],
    "usage": {"input_tokens": 3, "output_tokens": 5, "cache_read_input_tokens": 2},
}  # fmt: skip


def models() -> Scripted:
    return json_answer({"data": [ENTRY, BIG], "has_more": False, "last_id": "big"})


def upstream(*answers: Scripted) -> Provider:
    return Provider(*answers, fixed={"/models": models})


def ask(provider: AnthropicProvider, headers: Any = (), **more: Any) -> Any:
    chat = {"model": "c", "messages": [{"role": "user", "content": "hi"}], **more}
    return provider.send(UpstreamRequest("POST", "/chat/completions", headers=headers, body=orjson.dumps(chat)), "sk-1")


def error(status: int, kind: str, message: str, headers: Any = ()) -> Scripted:
    return json_answer(
        {"type": "error", "error": {"type": kind, "message": message}, "request_id": "r"}, status, headers
    )


async def test_a_whole_answer():
    scripted = upstream(json_answer(MESSAGE, headers=[(b"request-id", b"req_9"), (b"retry-after", b"3"),
                                                      (b"anthropic-ratelimit-tokens-remaining", b"7")]))  # fmt: skip
    provider = AnthropicProvider("claude", scripted, keys=["sk-1"])
    response = await ask(
        provider, headers=[(b"authorization", b"Bearer x"), (b"X-Own", b"1"), (b"anthropic-beta", b"b")]
    )
    assert response.status == 200
    answer = orjson.loads(await response.read(1 << 20))
    ChatCompletion.model_validate(answer)
    message = answer["choices"][0]["message"]
    assert message["content"] == "Let me see."
    assert message["reasoning_content"] == "hm"
    assert message["tool_calls"][0] == {
        "id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'},
    }  # fmt: skip
    assert answer["usage"]["prompt_tokens"] == 5
    assert (answer["id"], answer["model"]) == ("msg_1", "c-2026")
    fields = {name.lower(): value for name, value in response.headers}
    assert fields[b"x-request-id"] == b"req_9"
    assert fields[b"retry-after"] == b"3"
    assert fields[b"x-ratelimit-remaining-tokens"] == b"7"
    assert scripted.asked[0][0].path == "/messages"
    assert scripted.asked[0][1] is None
    assert scripted.header("x-api-key") == "sk-1"
    assert scripted.header("anthropic-version") == "2023-06-01"
    assert scripted.header("anthropic-beta") == "b"
    assert scripted.header("authorization") is None
    assert scripted.header("x-own") == "1"
    assert scripted.body()["max_tokens"] == 4096
    await provider.aclose()


async def test_a_streamed_answer_and_the_omitted_members():
    scripted = upstream(Scripted(200, [TOOLS_STREAM[:700], TOOLS_STREAM[700:]]))
    provider = AnthropicProvider("claude", scripted)
    response = await ask(provider, stream=True, seed=4, max_tokens=9, stream_options={"include_usage": True})
    fields = {name.lower(): value for name, value in response.headers}
    assert fields[b"x-proxy-dropped"] == b"seed"
    assert fields[b"content-type"].startswith(b"text/event-stream")
    assert client_reads(await response.read(1 << 20))[:3] == vendor_reads(TOOLS_STREAM)[:3]
    assert scripted.body()["stream"] is True
    await provider.aclose()


async def test_a_long_whole_answer_is_streamed_internally():
    scripted = upstream(Scripted(200, [TOOLS_STREAM]))
    provider = AnthropicProvider("claude", scripted)
    response = await ask(provider, model="big")
    answer = orjson.loads(await response.read(1 << 20))
    ChatCompletion.model_validate(answer)
    assert scripted.body()["stream"] is True
    assert scripted.body()["max_tokens"] == 64000
    words, _, calls, _ = vendor_reads(TOOLS_STREAM)
    message = answer["choices"][0]["message"]
    assert message["content"] == words
    assert [orjson.loads(c["function"]["arguments"]) for c in message["tool_calls"]] == [c[2] for c in calls]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"
    assert answer["usage"]["completion_tokens"] == 42
    await provider.aclose()


async def test_an_error_in_an_internal_stream_has_its_status():
    failing = sse({"type": "message_start", "message": {"id": "m"}},
                  {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})  # fmt: skip
    provider = AnthropicProvider("claude", upstream(Scripted(200, [failing])))
    response = await ask(provider, model="big")
    assert response.status == 529
    assert orjson.loads(await response.read(9999))["error"]["code"] == "overloaded_error"
    await provider.aclose()


async def test_a_stream_that_breaks_is_raised_and_closed():
    broken = Scripted(200, [TOOLS_STREAM[:900]], breaks=True)
    provider = AnthropicProvider("claude", upstream(broken))
    response = await ask(provider, stream=True)
    assert await response.chunk()
    with pytest.raises(UpstreamTruncated):
        await response.chunk()
    response.close()
    assert broken.closed
    ended_early = AnthropicProvider("claude", upstream(Scripted(200, [TOOLS_STREAM[:900]])))
    with pytest.raises(UpstreamTruncated):
        await (await ask(ended_early, stream=True)).read(1 << 20)
    await provider.aclose()
    await ended_early.aclose()


@pytest.mark.parametrize(
    ("status", "kind", "message", "code"),
    [(401, "authentication_error", "invalid x-api-key", "authentication_error"),
     (429, "rate_limit_error", "slow down", "rate_limit_error"),
     (529, "overloaded_error", "Overloaded", "overloaded_error"),
     (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", "context_length_exceeded")],
)  # fmt: skip
async def test_errors_have_openais_format_and_keep_their_status(status: int, kind: str, message: str, code: str):
    provider = AnthropicProvider("claude", upstream(error(status, kind, message, [(b"retry-after", b"12")])))
    response = await ask(provider, stream=True)
    assert response.status == status
    assert orjson.loads(await response.read(9999)) == {
        "error": {"message": message, "type": kind, "param": None, "code": code}
    }
    assert (b"retry-after", b"12") in list(response.headers)
    await provider.aclose()


async def test_an_error_that_is_not_json_becomes_a_sentence():
    page = Scripted(503, [b"<html>busy"], [(b"content-type", b"text/html")])
    provider = AnthropicProvider("claude", upstream(page))
    response = await ask(provider)
    error = orjson.loads(await response.read(999))["error"]
    assert (response.status, error["message"]) == (503, "The connection 'claude' answered with status 503.")
    assert page.closed
    await provider.aclose()


async def test_refused_members_are_omitted_and_remembered():
    refusal = error(400, "invalid_request_error", "`temperature` is deprecated for this model.")
    scripted = upstream(refusal, json_answer(MESSAGE), json_answer(MESSAGE))
    provider = AnthropicProvider("claude", scripted)
    response = await ask(provider, temperature=0.5)
    assert response.status == 200
    assert (b"X-Proxy-Dropped", b"temperature") in list(response.headers)
    assert ["temperature" in scripted.body(at) for at in (0, 1)] == [True, False]
    await ask(provider, temperature=0.5)
    assert "temperature" not in scripted.body(2)
    await provider.aclose()


async def test_a_refused_default_token_limit_is_learnt():
    refusal = "max_tokens: 8192 > 4096, which is the maximum allowed number of output tokens for c"
    scripted = Provider(
        error(400, "invalid_request_error", refusal), json_answer(MESSAGE), json_answer(MESSAGE),
        error(400, "invalid_request_error", refusal), fixed={"/models": lambda: Scripted(500, [b""])},
    )  # fmt: skip
    provider = AnthropicProvider("claude", scripted)
    for _ in range(2):
        assert (await ask(provider)).status == 200
    assert [scripted.body(at)["max_tokens"] for at in range(3)] == [8192, 4096, 4096]
    assert (await ask(provider, max_tokens=8192)).status == 400  # the caller must fix its own number
    await provider.aclose()


async def test_refusals_are_learnt_one_by_one_and_any_other_is_the_answer():
    names = ("temperature", "top_p", "patience")
    scripted = upstream(*(error(400, "invalid_request_error", f"`{name}` is odd") for name in names))
    provider = AnthropicProvider("claude", scripted)
    response = await ask(provider, temperature=0.5, top_p=0.5)
    assert response.status == 400
    assert b"patience" in await response.read(999)
    assert len(scripted.asked) == 3
    await provider.aclose()


async def test_requests_without_an_equivalent_are_a_400_of_ours():
    scripted = upstream()
    provider = AnthropicProvider("claude", scripted)
    for wrong in ({"n": 2}, {"messages": []}):
        response = await ask(provider, **wrong)
        assert response.status == 400
        assert any(name == b"x-proxy-error" for name, _ in response.headers)
    broken = await provider.send(UpstreamRequest("POST", "/chat/completions", body=b"{"), None)
    assert orjson.loads(await broken.read(999))["error"]["code"] == "invalid_json"
    assert scripted.asked == []
    await provider.aclose()


async def test_without_a_model_list_requests_still_work():
    scripted = Provider(json_answer(MESSAGE), fixed={"/models": lambda: Scripted(500, [b"no"])})
    provider = AnthropicProvider("claude", scripted)
    assert (await ask(provider)).status == 200
    assert scripted.body()["max_tokens"] == 8192
    with pytest.raises(UpstreamInvalid):
        await provider.list_models()
    await provider.aclose()


async def test_the_model_list_is_read_page_by_page():
    pages = [json_answer({"data": [ENTRY], "has_more": True, "last_id": "c"}),
             json_answer({"data": [BIG], "has_more": False, "last_id": "big"})]  # fmt: skip
    scripted = Provider(fixed={"/models": lambda: pages.pop(0)})
    provider = AnthropicProvider("claude", scripted, keys=["sk-9"])
    listed = await provider.list_models()
    assert [(m["id"], m["owned_by"], m["created"]) for m in listed] == [
        ("c", "anthropic", 1767225600), ("big", "anthropic", 1767225600),
    ]  # fmt: skip
    assert [request.query for request in scripted.listed] == ["limit=1000", "limit=1000&after_id=c"]
    assert (b"x-api-key", b"sk-9") in list(scripted.listed[0].headers)


async def test_a_refused_key_is_reported_when_listing():
    provider = AnthropicProvider(
        "claude", Provider(fixed={"/models": lambda: error(401, "authentication_error", "no")})
    )
    with pytest.raises(UpstreamAuthError, match="claude"):
        await provider.list_models()


async def test_messages_requests_pass_unchanged():
    raw = Scripted(200, [b"event: x\r\n", b"data: y\r\n\r\n"], [(b"content-type", b"text/event-stream")])
    scripted = upstream(raw)
    provider = AnthropicProvider("claude", scripted)
    body = b'{"model":"c",  "messages":[] }'
    headers = [(b"x-api-key", b"client"), (b"anthropic-version", b"2024-01-01"), (b"Content-Type", b"application/json")]
    response = await provider.send(UpstreamRequest("POST", "/messages", "beta=true", headers, body), "sk-1")
    assert response is raw
    request, _ = scripted.asked[0]
    assert (request.body, request.query) == (body, "beta=true")
    assert scripted.header("x-api-key") == "sk-1"
    assert scripted.header("anthropic-version") == "2024-01-01"
    assert scripted.header("content-type") == "application/json"


async def test_a_forwarded_api_key_becomes_x_api_key_and_a_token_stays_a_bearer():
    scripted = upstream(json_answer(MESSAGE), json_answer(MESSAGE))
    provider = AnthropicProvider("claude", scripted, forward_auth=True)
    for bearer in (b"Bearer sk-ant-api03-x", b"Bearer oauth"):
        request = UpstreamRequest("POST", "/messages", body=b"{}", client_authorization=bearer)
        await provider.send(request, "sk-1")
    assert scripted.header("x-api-key", 0) == "sk-ant-api03-x"
    assert scripted.asked[0][0].client_authorization is None
    assert scripted.header("x-api-key", 1) is None
    assert scripted.asked[1][0].client_authorization == b"Bearer oauth"


async def test_a_parsed_document_is_not_parsed_again():
    scripted = upstream(json_answer(MESSAGE))
    provider = AnthropicProvider("claude", scripted)
    chat = {"model": "c", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 7}
    request = UpstreamRequest("POST", "/chat/completions", body=b"never read", document=chat)
    assert (await provider.send(request, None)).status == 200
    assert scripted.body()["max_tokens"] == 7
    await provider.aclose()
