"""The connection to Google's endpoint: its requests, and how it reads the answers."""

from typing import Any

import orjson
import pytest

from openai_proxy.errors import UpstreamAuthError, UpstreamInvalid
from openai_proxy.exchange import UpstreamRequest
from openai_proxy.upstream.google import GoogleProvider
from tests.upstream.scripted import Provider, Scripted, json_answer

SSE = [(b"Content-Type", b"text/event-stream")]


def ask(provider: GoogleProvider, body: bytes | None = None, **more: Any) -> Any:
    chat = {"model": "gemini-3-flash", "messages": [{"role": "user", "content": "hi"}], **more}
    request = UpstreamRequest("POST", "/chat/completions", headers=[(b"Accept-Encoding", b"gzip")],
                              body=orjson.dumps(chat) if body is None else body)  # fmt: skip
    return provider.send(request, "key")


def refused(message: str, status: int = 400) -> Scripted:
    return json_answer([{"error": {"code": status, "message": message, "status": "INVALID_ARGUMENT"}}], status)


async def test_a_request_without_changes_is_sent_byte_for_byte():
    upstream = Provider(json_answer({"choices": []}))
    body = b'{ "messages":[{"role":"user","content":"\xc3\xbc"}],   "model" : "gemini-3-flash"}'
    response = await ask(GoogleProvider("g", upstream), body)
    assert upstream.asked[0][0].body == body
    assert upstream.asked[0][1] == "key"
    assert upstream.header("accept-encoding") == "identity"
    assert await response.read(99) == b'{"choices":[]}'


async def test_only_affected_members_change():
    upstream = Provider(json_answer({"choices": []}))
    body = b'{ "messages":[ ],   "model" : "models/gemini-3-flash", "store":true,  "x": 1.50}'
    await ask(GoogleProvider("g", upstream), body)
    sent = upstream.asked[0][0].body
    assert b'"messages":[ ]' in sent
    assert b'"x": 1.50' in sent
    assert orjson.loads(sent) == {"messages": [], "model": "gemini-3-flash", "x": 1.5}


async def test_a_stream_is_repaired_and_its_signature_restored():
    entry = {"id": "c1", "function": {"name": "f", "arguments": "{}"},
             "extra_content": {"google": {"thought_signature": "sig"}}}  # fmt: skip
    events = (
        b"data: " + orjson.dumps({"choices": [{"delta": {"tool_calls": [entry]}, "finish_reason": "stop"}]}) + b"\n\n"
    )
    upstream = Provider(Scripted(200, [events[:50], events[50:]], SSE), json_answer({"choices": []}))
    provider = GoogleProvider("g", upstream)
    response = await ask(provider, stream=True)
    made = orjson.loads((await response.read(9999))[6:])
    assert made["choices"][0]["finish_reason"] == "tool_calls"
    assert made["choices"][0]["delta"]["tool_calls"][0]["index"] == 0
    bare = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [bare]},
             {"role": "tool", "tool_call_id": "c1", "content": "r"}]  # fmt: skip
    await ask(provider, messages=turns)
    assert upstream.body()["messages"][1]["tool_calls"][0]["extra_content"] == entry["extra_content"]


async def test_an_unknown_field_is_omitted_reported_and_remembered():
    upstream = Provider(refused('Unknown name "seed": Cannot find field.'), json_answer({}), json_answer({}))
    provider = GoogleProvider("g", upstream)
    response = await ask(provider, seed=1)
    assert response.status == 200
    assert (b"X-Proxy-Dropped", b"seed") in list(response.headers)
    await ask(provider, seed=1)
    assert ["seed" in upstream.body(at) for at in (0, 1, 2)] == [True, False, False]


async def test_a_corrupted_signature_is_replaced_once():
    entry = {"id": "c", "function": {"name": "f"}, "extra_content": {"google": {"thought_signature": "old"}}}
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [entry]}]
    upstream = Provider(refused("Corrupted thought signature."), json_answer({}))
    assert (await ask(GoogleProvider("g", upstream), messages=turns)).status == 200
    signature = upstream.body()["messages"][1]["tool_calls"][0]["extra_content"]["google"]["thought_signature"]
    assert signature == "skip_thought_signature_validator"


async def test_other_refusals_are_passed_to_the_caller():
    upstream = Provider(refused("Please use a valid role."))
    response = await ask(GoogleProvider("g", upstream))
    assert response.status == 400
    assert orjson.loads(await response.read(999))["error"]["message"] == "Please use a valid role."
    assert len(upstream.asked) == 1
    stubborn = Provider(refused('Unknown name "a"'), refused('Unknown name "a"'))
    assert (await ask(GoogleProvider("g", stubborn), a=1)).status == 400
    one_by_one = Provider(refused('Unknown name "a"'), refused('Unknown name "b"'), json_answer({}))
    assert (await ask(GoogleProvider("g", one_by_one), a=1, b=2)).status == 200


async def test_a_quota_error_has_its_delay():
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
    error = [{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [detail]}}]
    response = await ask(GoogleProvider("g", Provider(json_answer(error, 429))))
    assert response.status == 429
    assert (b"Retry-After", b"35") in list(response.headers)


async def test_an_unreadable_body_is_not_sent():
    upstream = Provider()
    response = await ask(GoogleProvider("g", upstream), b"{")
    assert (response.status, upstream.asked) == (400, [])


async def test_other_paths_lose_only_the_prefix():
    answer = json_answer({"data": []})
    upstream = Provider(answer, json_answer({}))
    provider = GoogleProvider("g", upstream)
    request = UpstreamRequest("POST", "/embeddings", body=b'{"input":"x",  "model":"models/emb"}')
    assert await provider.send(request, "key") is answer
    assert upstream.asked[0][0].body == b'{"input":"x",  "model":"emb"}'
    binary = UpstreamRequest("POST", "/files", body=b'"models/ \xff')
    await provider.send(binary, "key")
    assert upstream.asked[1][0] is binary


async def test_the_model_list_has_no_prefix():
    listing = {"data": [{"id": "models/gemini-3-flash", "object": "model"}, {"id": "plain"}, {"odd": 1}]}
    upstream = Provider(fixed={"/models": lambda: json_answer(listing)})
    assert [m["id"] for m in await GoogleProvider("g", upstream).list_models()] == ["gemini-3-flash", "plain"]
    for status, raised in ((401, UpstreamAuthError), (500, UpstreamInvalid)):
        failing = Provider(fixed={"/models": lambda status=status: refused("no", status)})
        with pytest.raises(raised):
            await GoogleProvider("g", failing, keys=["k"]).list_models()
    with pytest.raises(UpstreamInvalid):
        await GoogleProvider("g", Provider(fixed={"/models": lambda: json_answer({})})).list_models()
