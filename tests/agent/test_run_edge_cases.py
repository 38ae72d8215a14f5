"""Edge cases of the agent: odd encodings, wrong labels, bad requests, limits of what is sent back."""

import gzip
import json
import zlib
from typing import Any

import pytest

from openai_proxy.agent.calls import MAX_TOTAL
from openai_proxy.agent.fingerprint import ConversationFingerprint, canonical, text
from openai_proxy.agent.run import start
from openai_proxy.agent.turn import LoopSettings
from openai_proxy.agent.usage import add_usage
from openai_proxy.errors import BadRequest, UpstreamInvalid
from openai_proxy.secrets import vault
from tests.agent.grammar import check
from tests.agent.support import (
    CLIENT_TOOL,
    Box,
    Response,
    Upstream,
    asks,
    call_deltas,
    chunk,
    collect,
    completion,
    events,
    says,
    stream,
    turn,
    whole,
    whole_calls,
)


async def test_nothing_of_our_own_calls_leaks() -> None:
    upstream = Upstream(
        asks(("hidden-id", "ours", '{"hidden":"argument"}'), ("c1", "theirs", "{}")),
    )
    data = await stream(
        upstream, Box(ours="hidden result"), tools=[CLIENT_TOOL], settings={"tool_status": "chunk"},
    )  # fmt: skip
    assert check(data).calls[0]["id"] == "c1"
    assert b"hidden" not in data
    answer = await whole(
        Upstream(whole_calls(("hidden-id", "ours", '{"hidden":1}')), completion({"content": "ok"})),
        Box(ours="hidden result"),
    )
    assert "hidden" not in json.dumps(answer)


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_answer_is_read(coding: str) -> None:
    packed = gzip.compress(says("Hi")) if coding == "gzip" else zlib.compress(says("Hi"))
    response = Response([packed[:9], packed[9:]])
    response.headers.append((b"Content-Encoding", coding.encode()))
    assert check(await stream(Upstream(response))).content == "Hi"
    response = Response([gzip.compress(completion({"content": "Hi"}))], kind=b"application/json")
    response.headers.append((b"content-encoding", b"gzip"))
    assert (await whole(Upstream(response)))["choices"][0]["message"]["content"] == "Hi"


async def test_unknown_or_broken_compression_is_an_error() -> None:
    response = Response([b"x"])
    response.headers.append((b"content-encoding", b"br"))
    with pytest.raises(UpstreamInvalid):
        await start(turn(Upstream(response)))
    response = Response([b"not gzip"])
    response.headers.append((b"content-encoding", b"gzip"))
    seen = check(await stream(Upstream(response)))
    assert seen.error is not None


async def test_wrong_labels_do_not_matter() -> None:
    labelled = Response([b"\n", completion({"content": "Hi"})], kind=b"text/plain")
    assert (await whole(Upstream(labelled)))["choices"][0]["message"]["content"] == "Hi"
    labelled = Response([says("Hi")], kind=b"application/json")
    assert check(await stream(Upstream(labelled))).content == "Hi"


async def test_halves_of_a_character_are_rejoined() -> None:
    halves = [json.dumps(chunk({"content": half})) for half in ("\ud83d", "\ude00")]
    upstream = Upstream(events(*halves, *map(chunk, [{"content": "!"}]), chunk({}, "stop")))
    data = await stream(upstream)
    assert "\U0001f600".encode() in data  # complete: half a character could not be spoken
    calls = map(chunk, call_deltas(("1", "a", "{}")))
    upstream = Upstream(events(*halves, *calls, chunk({}, "tool_calls")), says("ok"))
    await stream(upstream, Box(a="1"))
    assert upstream.requests[1]["messages"][1]["content"] == "😀"
    json.dumps(upstream.requests[1]).encode()


async def test_a_cumulative_message_beside_the_delta_is_ignored() -> None:
    last = chunk({}, "stop")
    last["choices"][0]["message"] = {"role": "assistant", "content": "Hi"}
    assert check(await stream(Upstream(events(chunk({"content": "Hi"}), last)))).content == "Hi"


@pytest.mark.parametrize("given", [{"messages": "hi"}, {"tools": {"a": 1}}, {"messages": {"role": "user"}}])
async def test_members_that_are_not_lists_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="must be a list") as caught:
        await start(turn(Upstream(), **given))
    assert caught.value.param in given


async def test_the_results_of_a_turn_are_bounded_in_total() -> None:
    big = "x" * 200_000
    upstream = Upstream(*(asks((str(i), "a", f'{{"i":{i}}}')) for i in range(5)), says("ok"))
    await stream(upstream, Box(a=big))
    sizes = [len(m["content"]) for m in upstream.requests[-1]["messages"] if m["role"] == "tool"]
    assert sizes[:2] == [200_000, 200_000]
    assert sum(sizes) <= MAX_TOTAL + 2 * 4000
    assert all(size <= 4000 for size in sizes[3:])


async def test_errors_of_the_provider_are_passed_without_secrets() -> None:
    vault.learn(["sk-very-secret-key"])
    error = {"error": {"message": "bad key sk-very-secret-key"}}
    seen = check(await stream(Upstream(events(error))))
    assert seen.error is not None
    assert "sk-very" not in seen.error["message"]
    refused = Response([json.dumps(error).encode()], status=401)
    seen = check(await stream(Upstream(asks(("1", "a", "{}")), refused), Box(a="1")))
    assert seen.error is not None
    assert "sk-very" not in seen.error["message"]


async def test_a_bug_of_ours_is_an_error_event_without_details(caplog: pytest.LogCaptureFixture) -> None:
    upstream = Upstream(Response([KeyError("inner detail")]))
    answer = await start(turn(upstream))
    seen = check(await collect(answer))
    assert seen.error == {
        "message": "The proxy failed.",
        "type": "proxy_error",
        "param": None,
        "code": "internal_error",
    }
    assert "inner detail" in caplog.text
    assert answer.error is not None


def test_settings_are_read_from_a_model_by_name() -> None:
    class Model:
        tool_status = "off"
        max_tool_rounds = 3
        deadline = 60.0
        unrelated = 1

    settings = LoopSettings.of(Model())
    assert (settings.tool_status, settings.max_tool_rounds, settings.deadline) == ("off", 3, 60.0)
    assert settings.tool_timeout == 60.0


def test_usage_is_summed_whatever_members_it_has() -> None:
    total = add_usage(None, {"a": 1, "cost": 0.5, "d": {"x": 1}, "n": None, "s": "x", "only": 2})
    total = add_usage(total, {"a": 2, "cost": 0.25, "d": {"x": 2, "y": 3}, "n": 4, "s": "y", "e": {"z": 1}})
    assert total == {"a": 3, "cost": 0.75, "d": {"x": 3, "y": 3}, "n": 4, "s": "y", "only": 2, "e": {"z": 1}}
    assert add_usage(total, None) is total
    assert add_usage(None, {}) is None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":[1.0]}', ' { "b": [1], "a": 1.0 }'),
        ("", "{}"),
        (None, "{}"),
        ('{"é":1}', {"é": 1}),
        ("{bad ", "{bad"),
    ],
)
def test_equivalent_arguments_are_equal(one: Any, other: Any) -> None:
    assert canonical(one) == canonical(other)


@pytest.mark.parametrize(("one", "other"), [('{"a":1}', '{"a":"1"}'), ('{"a":1}', '{"a":true}'), ("[1,2]", "[2,1]")])
def test_arguments_that_differ_stay_different(one: str, other: str) -> None:
    assert canonical(one) != canonical(other)


def test_a_conversation_is_identified_by_its_messages() -> None:
    def whole_of(*messages: Any) -> str:
        seen = ConversationFingerprint()
        for message in messages:
            seen.add(message)
        return seen.whole

    plain = whole_of({"role": "user", "content": "Hi  there "})
    assert plain == whole_of(
        {"role": "system", "content": "12:00"}, {"role": "user", "content": [{"type": "text", "text": "Hi there"}]}
    )
    assert plain != whole_of({"role": "assistant", "content": "Hi there"})
    assert plain != whole_of({"role": "user", "content": "Hi"}, {"role": "user", "content": "there"})
    assert whole_of(None, "x", {"role": "user"}) == whole_of({"role": "user", "content": None})
    image = {"type": "image_url", "image_url": {"url": "data:a"}}
    assert text([image]) != text([{**image, "image_url": {"url": "data:b"}}])
