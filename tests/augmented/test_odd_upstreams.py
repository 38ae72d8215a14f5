"""Each oddity of a provider, for augmented models and `/v1/messages`, streamed and whole."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.agent import support
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, LAST, SSE_HEAD, chunk, event, head, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream

AUGMENTED = "augmented/tools"
THEIRS: Any = {"name": "theirs", "description": "theirs", "input_schema": {"type": "object"}}
ARGUMENTS = {"city": "Köln", "number": 18446744073709551617}


def delta(content: dict[str, Any], finish: Any = None, **more: Any) -> dict[str, Any]:
    """One chunk, as a plain document."""
    return {"id": "c", "choices": [{"index": 0, "delta": content, "finish_reason": finish}], **more}


def stream(*events: Any, kind: str | None = "text/event-stream", done: bool = True, **fields: str) -> bytes:
    """A whole stream on the wire, with the media type `kind`."""
    body = b"".join(event(each) for each in events) + (DONE if done else b"")
    labels = {"Content-Type": kind} if kind else {}
    fields = {name.replace("_", "-"): value for name, value in fields.items()}
    return head("200 OK", {**labels, "Transfer-Encoding": "chunked", **fields}) + chunk(body) + LAST


HELLO = (delta({"role": "assistant", "content": ""}), delta({"content": "Hello "}), delta({"content": "there."}))
WHOLE = {"id": "c", "choices": [{"index": 0, "finish_reason": "stop",
                                 "message": {"role": "assistant", "content": "Hello there."}}]}  # fmt: skip
SURROGATES = (
    b'data: {"choices":[{"delta":{"content":"Hello \\ud83d"}}]}\n\n'
    b'data: {"choices":[{"delta":{"content":"\\ude00 there."},"finish_reason":"stop"}]}\n\n'
)


def compressed(coding: str) -> bytes:
    """A stream in a content coding that was not requested."""
    body = b"".join(event(each) for each in (*HELLO, delta({}, "stop"))) + DONE
    deflate = zlib.compressobj(wbits=-15)
    packed = gzip.compress(body) if coding == "gzip" else deflate.compress(body) + deflate.flush()
    fields = {"Content-Type": "text/event-stream", "Content-Encoding": coding, "Transfer-Encoding": "chunked"}
    return head("200 OK", fields) + chunk(packed[:11]) + chunk(packed[11:]) + LAST


TEXTS: dict[str, Callable[[], bytes]] = {
    "a stream under a wrong label": lambda: stream(*HELLO, delta({}, "stop"), kind="application/json"),
    "a stream without a label": lambda: stream(*HELLO, delta({}, "stop"), kind=None),
    "a whole answer": lambda: plain(json.dumps(WHOLE).encode()),
    "a whole answer under a wrong label": lambda: plain(json.dumps(WHOLE).encode(), content_type="text/event-stream"),
    "empty data": lambda: SSE_HEAD
    + chunk(b"data:\n\n" + b"".join(map(event, HELLO)) + b"data: \n\n: hi\n\n" + event(delta({}, "stop")) + DONE)
    + LAST,
    "null choices": lambda: stream({"choices": [None]}, *HELLO, {"choices": None}, delta({}, "stop")),
    "gzip": lambda: compressed("gzip"),
    "deflate without its header": lambda: compressed("deflate"),
    "an empty finish in every chunk": lambda: stream(*(delta(d["choices"][0]["delta"], "") for d in HELLO),
                                                     delta({}, "stop")),
    "an end in another word": lambda: stream(*HELLO, delta({}, "eos_token")),
    "an end in a word nobody knows": lambda: stream(*HELLO, delta({}, "banana")),
    "content in parts": lambda: stream(delta({"content": [{"type": "text", "text": "Hello there."}]}),
                                       delta({}, "stop")),
    "usage of null and of floats": lambda: stream(*HELLO, delta({}, "stop", usage=None),
                                                  {"choices": [], "usage": {"prompt_tokens": 3.0,
                                                                            "completion_tokens": 2.0}}),
}  # fmt: skip


@pytest.fixture
def sdk(augmented_daemon: Daemon) -> Iterator[anthropic.Anthropic]:
    url = augmented_daemon.url.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key="any", max_retries=0, timeout=30) as client:
        yield client


@pytest.fixture
def chat(augmented_daemon: Daemon) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=augmented_daemon.url, api_key="any", max_retries=0, timeout=30) as client:
        yield client


def message(sdk: anthropic.Anthropic, play: Play, model: str, *, streams: bool, **more: Any) -> Any:
    """What the vendor's SDK reads."""
    request: Any = {
        "model": model, "max_tokens": 500, "messages": [{"role": "user", "content": "Hi"}],
        "extra_headers": {"X-Play": play.model}, **more,
    }  # fmt: skip
    if not streams:
        return sdk.messages.create(**request)
    with sdk.messages.stream(**request) as events:
        return events.get_final_message()


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", ["", AUGMENTED], ids=["plain", "augmented"])
@pytest.mark.parametrize("name", TEXTS)
def test_a_text(sdk: anthropic.Anthropic, upstream: Upstream, name: str, model: str, streams: bool) -> None:
    play = upstream.play(TEXTS[name]())
    made = message(sdk, play, model or play.model, streams=streams)
    assert [block.text for block in made.content] == ["Hello there."]
    assert made.stop_reason == "end_turn"


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", ["", AUGMENTED], ids=["plain", "augmented"])
def test_half_an_emoji(sdk: anthropic.Anthropic, upstream: Upstream, model: str, streams: bool) -> None:
    play = upstream.play(SSE_HEAD + chunk(SURROGATES) + LAST)
    made = message(sdk, play, model or play.model, streams=streams)
    assert made.content[0].text == "Hello 😀 there."


def entry(arguments: Any, **more: Any) -> dict[str, Any]:
    """A delta with a call of the client's tool."""
    return delta({"tool_calls": [{"function": {"name": "theirs", "arguments": arguments}, **more}]})


CALLS: dict[str, Callable[[], bytes]] = {
    "arguments as an object": lambda: stream(entry(ARGUMENTS, index=0, id="a"), delta({}, "tool_calls")),
    "arguments in a whole answer as an object": lambda: plain(support.completion(
        {"content": None, "tool_calls": [{"id": "a", "function": {"name": "theirs", "arguments": ARGUMENTS}}]},
        finish="tool_calls")),
    "no index and no id": lambda: stream(entry(json.dumps(ARGUMENTS)), delta({}, "stop")),
    "an empty finish in every chunk": lambda: stream(
        delta({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "theirs", "arguments": ""}}]}, ""),
        *(delta({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, "")
          for piece in ('{"city":"K', "öln\",\"number\":", "18446744073709551617}")), delta({}, "tool_calls")),
    "a name in fragments": lambda: stream(
        delta({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "the"}}]}),
        delta({"tool_calls": [{"index": 0, "function": {"name": "irs"}}]}),
        delta({"tool_calls": [{"index": 0, "function": {"arguments": json.dumps(ARGUMENTS)}}]}),
        delta({}, "tool_calls")),
}  # fmt: skip


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", ["", AUGMENTED], ids=["plain", "augmented"])
@pytest.mark.parametrize("name", CALLS)
def test_a_call(sdk: anthropic.Anthropic, upstream: Upstream, name: str, model: str, streams: bool) -> None:
    play = upstream.play(CALLS[name]())
    made = message(sdk, play, model or play.model, streams=streams, tools=[THEIRS])
    (call,) = made.content
    assert (call.name, call.input, made.stop_reason) == ("theirs", ARGUMENTS, "tool_use")
    assert call.id


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", ["", AUGMENTED], ids=["plain", "augmented"])
@pytest.mark.parametrize("arguments", [None, "null", "", {}], ids=str)
def test_a_call_without_arguments(
    sdk: anthropic.Anthropic, upstream: Upstream, arguments: Any, model: str, streams: bool
) -> None:
    play = upstream.play(stream(entry(arguments, index=0, id="a"), delta({}, "tool_calls")))
    (call,) = message(sdk, play, model or play.model, streams=streams, tools=[THEIRS]).content
    assert (call.name, call.input) == ("theirs", {})


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", ["", AUGMENTED], ids=["plain", "augmented"])
def test_a_call_truncated_by_the_limit(sdk: anthropic.Anthropic, upstream: Upstream, model: str, streams: bool) -> None:
    cut = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "theirs", "arguments": '{"city":"K'}}]}
    play = upstream.play(stream(delta(cut), delta({}, "length")))
    assert message(sdk, play, model or play.model, streams=streams, tools=[THEIRS]).stop_reason == "max_tokens"


ERRORS = {
    "an error with a 200": {"error": {"message": "No room left.", "type": "server_error", "code": 503}},
    "an error that is a text": {"error": "No room left."},
    "a detail": {"detail": "No room left."},
    "a list of details": {"detail": [{"loc": ["body", "model"], "msg": "No room left."}]},
    "an error without an envelope": {"object": "error", "message": "No room left.", "code": 503},
}


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", ["", AUGMENTED], ids=["plain", "augmented"])
@pytest.mark.parametrize("framing", ["json", "event"])
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_with_a_200(
    sdk: anthropic.Anthropic, upstream: Upstream, name: str, framing: str, model: str, streams: bool
) -> None:
    error = ERRORS[name]
    answer = plain(json.dumps(error).encode()) if framing == "json" else stream(error, done=False)
    play = upstream.play(answer)
    with pytest.raises(anthropic.APIError, match=r"No room left\."):
        message(sdk, play, model or play.model, streams=streams)


@pytest.mark.parametrize("streams", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", ["", AUGMENTED], ids=["plain", "augmented"])
def test_a_break_under_an_empty_finish_is_an_error(
    sdk: anthropic.Anthropic, upstream: Upstream, model: str, streams: bool
) -> None:
    play = upstream.play(stream(delta({"content": "Hello"}, ""), done=False))
    with pytest.raises(anthropic.APIError):
        message(sdk, play, model or play.model, streams=streams)


def test_a_native_error_is_an_error(chat: openai.OpenAI, upstream: Upstream) -> None:
    broken = {"id": "c", "choices": [{"index": 0, "delta": {"content": "Half"}, "finish_reason": "stop",
                                      "native_finish_reason": "ERROR"}]}  # fmt: skip
    play = upstream.play(stream(broken))
    with pytest.raises(openai.APIError):
        list(chat.chat.completions.create(
            model=AUGMENTED, messages=[{"role": "user", "content": "Hi"}], stream=True,
            extra_headers={"X-Play": play.model},
        ))  # fmt: skip


def test_an_empty_finish_runs_no_tool_at_its_first_fragment(chat: openai.OpenAI, upstream: Upstream) -> None:
    pieces = ('{"number"', ":2", "1}")
    first = stream(
        delta({"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "double", "arguments": ""}}]}, ""),
        *(delta({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}, "") for piece in pieces),
        delta({}, "tool_calls"),
    )
    play = upstream.rounds(first, stream(*HELLO, delta({}, "stop")))
    list(chat.chat.completions.create(
        model=AUGMENTED, messages=[{"role": "user", "content": "Hi"}], stream=True,
        extra_headers={"X-Play": play.model},
    ))  # fmt: skip
    assert play.bodies()[1]["messages"][-1]["content"] == "42"
