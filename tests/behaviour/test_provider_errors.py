"""A provider's error reaches the caller if it concerns the caller; only errors about a key make the key rest."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import connection, front_conf, serving
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import LAST, SSE_HEAD, chunk, completion, event, plain
from tests.harness.upstream import Upstream

FLAGGED = json.dumps({
    "error": {"code": 403, "message": "Your input was flagged.", "metadata": {"reasons": ["violence"],
                                                                              "flagged_input": "…"}}
}).encode()  # fmt: skip
BAD_KEY = json.dumps([{
    "error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT",
              "details": [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}]}
}]).encode()  # fmt: skip


@pytest.fixture(scope="module", params=["spliced", "plain"])
def keyed(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """A daemon with two keys for each connection."""
    keys = {"api_key": None, "api_keys": [CANARY, f"{CANARY}-2"]}
    connections = {
        "main": connection(upstream.url, **keys),
        "gemini": connection(upstream.url, api_type="google", **keys),
        "claude": connection(upstream.url.removesuffix("/v1"), api_type="anthropic"),
    }
    with serving(tmp_path_factory.mktemp("keyed"), front_conf(upstream, connections=connections), request.param) as run:
        yield run


def ask(daemon: Daemon, model: str, **more: Any) -> Any:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    return daemon.post("/v1/chat/completions", json.dumps(body).encode())


def keys_of(play: Any) -> list[str | None]:
    return [seen.header("authorization") for seen in play.requests]


def test_a_403_about_the_content_is_passed_on_and_every_key_stays_in_use(keyed: Daemon, upstream: Upstream) -> None:
    play = upstream.rounds(plain(FLAGGED, "403 Forbidden"), plain(completion("ok")), plain(completion("ok")))
    answer = ask(keyed, play.model)
    assert (answer.status, answer.body) == (403, FLAGGED)
    for _ in range(2):
        assert ask(keyed, play.model).status == 200
    assert len(set(keys_of(play))) == 2  # both keys take turns


NOT_THE_KEY = [
    "Invalid value: 'API key not valid. Please pass a valid API key.'",
    "API key not valid. Please pass a valid API key. is not a valid model ID",
    "Incorrect API key provided: x. You can obtain an API key from https://console.x.ai. is not a valid model ID",
]


@pytest.mark.parametrize("where", ["main", "gemini"])
@pytest.mark.parametrize("message", NOT_THE_KEY)
def test_an_error_that_quotes_the_caller_rests_no_key(
    keyed: Daemon, upstream: Upstream, where: str, message: str
) -> None:
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error"}}).encode()
    play = upstream.rounds(*[plain(body, "400 Bad Request")] * 2)
    for _ in range(2):
        answer = ask(keyed, f"{where}:{play.model}")
        assert (answer.status, answer.json()["error"]["message"]) == (400, message)
    assert len(set(keys_of(play))) == 2


@pytest.mark.parametrize(
    "body",
    [
        [json.loads(FLAGGED)],
        {"error": {"message": "no", "code": "CONTENT_FILTER"}},
        {"code": "content_policy_violation", "message": "no"},
        {"detail": {"code": "content_filter", "message": "no"}},
    ],
)
def test_a_403_about_the_content_in_other_shapes(keyed: Daemon, upstream: Upstream, body: object) -> None:
    data = json.dumps(body).encode()
    play = upstream.rounds(plain(data, "403 Forbidden"), plain(completion("ok")), plain(completion("ok")))
    answer = ask(keyed, play.model)
    assert (answer.status, answer.body) == (403, data)
    assert [ask(keyed, play.model).status for _ in range(2)] == [200, 200]
    assert len(set(keys_of(play))) == 2


def test_any_other_403_rests_the_key(keyed: Daemon, upstream: Upstream) -> None:
    refused = json.dumps({"error": {"message": "no", "code": 403}}).encode()
    play = upstream.rounds(plain(refused, "403 Forbidden"), plain(completion("ok")))
    assert ask(keyed, play.model).status == 200
    assert len(set(keys_of(play))) == 2


def test_a_400_for_a_bad_key_rests_it_like_a_401(keyed: Daemon, upstream: Upstream) -> None:
    good = plain(completion("ok"))
    play = upstream.rounds(plain(BAD_KEY, "400 Bad Request"), good, good, good)
    for _ in range(3):
        assert ask(keyed, f"gemini:{play.model}").status == 200
    first, *later = keys_of(play)
    assert first not in later


BAD_KEYS = [
    BAD_KEY,
    json.dumps([{"error": {"code": 400, "message": "API key expired. Please renew the API key."}}]).encode(),
    json.dumps({"code": "x", "error": "Incorrect API key provided: ab***yz. You can obtain an API key from "
                                      "https://console.x.ai."}).encode(),
    json.dumps({"error": {"message": "no", "type": "invalid_request_error", "code": "invalid_api_key"}}).encode(),
    json.dumps({"code": "InvalidApiKey", "message": "Invalid API-key provided.", "request_id": "1"}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("body", BAD_KEYS)
def test_a_400_for_a_bad_key_is_recognised_from_every_provider(
    upstream: Upstream, make_daemon: DaemonFactory, body: bytes
) -> None:
    connections = {"main": connection(upstream.url, api_key=None, api_keys=[CANARY, f"{CANARY}-2"])}
    daemon = make_daemon(front_conf(upstream, connections=connections))
    good = plain(completion("ok"))
    play = upstream.rounds(plain(body, "400 Bad Request"), good, good, good)
    for _ in range(3):
        assert ask(daemon, play.model).status == 200
    first, *later = keys_of(play)
    assert first not in later


def test_tools_for_gemini_have_schemas_that_it_accepts(keyed: Daemon, upstream: Upstream) -> None:
    parameters = {
        "type": "object", "$schema": "x", "additionalProperties": False,
        "properties": {"a": {"type": ["array", "null"]}, "n": {"type": "integer", "enum": [1, 2]}},
    }  # fmt: skip
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": parameters}}
    play = upstream.rounds(plain(completion("ok")))
    assert ask(keyed, f"gemini:{play.model}", tools=[tool]).status == 200
    (sent,) = play.bodies()[0]["tools"]
    assert sent["function"]["parameters"] == {
        "type": "object",
        "properties": {"a": {"type": "array", "nullable": True, "items": {"type": "string"}},
                       "n": {"type": "integer", "description": "One of: 1, 2."}},
    }  # fmt: skip


def test_pings_of_a_translated_stream_are_empty_deltas(keyed: Daemon, upstream: Upstream) -> None:
    def named(payload: dict[str, Any]) -> bytes:
        return event(payload, name=payload["type"])

    events = (
        named({"type": "message_start", "message": {"id": "m", "model": "c", "usage": {"input_tokens": 1}}})
        + named({"type": "ping"})
        + named({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
        + named({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}})
        + named({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}})
        + named({"type": "message_stop"})
    )
    play = upstream.play(SSE_HEAD + chunk(events) + LAST)
    answer = ask(keyed, f"claude:{play.model}", stream=True, max_tokens=5)
    lines = [line for line in answer.body.decode().split("\n") if line]
    assert all(line.startswith("data: ") for line in lines)  # not a comment, which some clients would parse as JSON
    chunks = [json.loads(line[6:]) for line in lines if line != "data: [DONE]"]
    assert [c["choices"][0]["delta"] for c in chunks] == [
        {"role": "assistant", "content": ""},
        {},
        {"content": "Hi"},
        {},
    ]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
def test_dropped_parameters_stay_dropped(upstream: Upstream, tmp_path: Path, path: str) -> None:
    conf = front_conf(upstream, params={"drop": ["stream_options"]})
    files = {"models/house.yaml": "name: augmented/house\nupstream_model: {model}\ntools: [calculator]\n"}
    stream = SSE_HEAD + chunk(
        event({"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": "stop"}]}) + event(b"[DONE]")
    ) + LAST  # fmt: skip
    play = upstream.rounds(stream, stream)
    files = {name: text.format(model=play.model) for name, text in files.items()}
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True, "max_tokens": 50}
    with serving(tmp_path, conf, "spliced", files=files) as daemon:
        for model in ("augmented/house", play.model):
            answer = daemon.post(path, json.dumps({**body, "model": model}).encode())
            assert answer.status == 200
            assert b"Hi" in answer.body
    assert all("stream_options" not in sent for sent in play.bodies())
