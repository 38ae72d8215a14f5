r"""Half a character (`"\ud83d"`: some clients cut texts so, and some servers streams) is text at every API."""

import json
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, event, plain, stream
from tests.harness.redis_server import RedisServer, needs_redis
from tests.harness.upstream import Upstream
from tests.harness.wire import Answer

HALF = "a \ud83d"
MESSAGES = [{"role": "system", "content": HALF}, {"role": "user", "content": HALF}]
TOOL = {"name": "f", "description": HALF, "parameters": {"type": "object", "properties": {"a": {"default": HALF}}}}

REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES, "tools": [{"type": "function", "function": TOOL}], "user": HALF},
    "/v1/messages": {
        "max_tokens": 9,
        "system": HALF,
        "messages": [{"role": "user", "content": HALF}],
        "tools": [{"name": "f", "description": HALF, "input_schema": TOOL["parameters"]}],
    },
    "/v1/responses": {
        "instructions": HALF,
        "input": HALF,
        "tools": [{"type": "function", **TOOL}],
        "metadata": {"a": HALF},
    },
    "/api/chat": {"messages": MESSAGES, "tools": [{"type": "function", "function": TOOL}]},
    "/api/generate": {"system": HALF, "prompt": HALF},
    "/v1beta/models/MODEL": {
        "systemInstruction": {"parts": [{"text": HALF}]},
        "contents": [{"role": "user", "parts": [{"text": HALF}]}],
        "tools": [{"functionDeclarations": [TOOL]}],
    },
}


CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": json.dumps({"a": HALF})}}


def whole_answer() -> bytes:
    message = {"role": "assistant", "content": HALF, "tool_calls": [CALL]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    return plain(json.dumps({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice]}).encode())


def streamed_answer() -> bytes:
    deltas: list[dict[str, Any]] = [{"content": HALF}, {"tool_calls": [CALL]}]
    choices = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
    head = {"id": "c", "object": "chat.completion.chunk", "model": "m"}
    return stream(*(event(json.dumps({**head, "choices": [choice]}).encode()) for choice in choices), DONE)


def post(daemon: Daemon, path: str, model: str, body: dict[str, Any], *, streamed: bool) -> Answer:
    if "MODEL" in path:
        path = path.replace("MODEL", model) + (":streamGenerateContent?alt=sse" if streamed else ":generateContent")
    else:
        body = {**body, "model": model, "stream": streamed}
    return daemon.post(path, json.dumps(body).encode())


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "json"])
@pytest.mark.parametrize("path", REQUESTS)
def test_half_a_character_passes_in_both_directions(
    upstream: Upstream, make_daemon: DaemonFactory, path: str, streamed: bool
) -> None:
    play = upstream.play(streamed_answer() if streamed else whole_answer())
    conf = {
        "connections": {"main": connection(upstream.url, api="chat")},
        "default_connection": "main",
    }
    files = {"models/house.yaml": f"name: augmented/house\nupstream_model: {play.model}\n"}
    daemon = make_daemon(conf, files=files)
    for model in (play.model, "augmented/house"):
        got = post(daemon, path, model, REQUESTS[path], streamed=streamed)
        assert (got.status, b"upstream_invalid_response" in got.body) == (200, False), got.body
        assert b"\\ud83d" in got.body
        assert "\\ud83d" in play.requests[-1].body.decode()


@needs_redis
def test_stored_data_may_contain_half_a_character(
    upstream: Upstream, make_daemon: DaemonFactory, tmp_path_factory: pytest.TempPathFactory
) -> None:
    play = upstream.play(whole_answer())
    redis = RedisServer(tmp_path_factory.mktemp("redis")).start()
    conf = {"connections": {"main": connection(upstream.url, api="chat")}, "storage": redis.url}
    try:
        first, second = make_daemon(conf), make_daemon(conf)
        made = post(first, "/v1/responses", play.model, REQUESTS["/v1/responses"], streamed=False).json()
        assert second.get(f"/v1/responses/{made['id']}").json()["instructions"] == HALF
        first.stop()
        first.start()
        assert first.get(f"/v1/responses/{made['id']}").json()["instructions"] == HALF
        assert "failed" not in first.stderr + second.stderr
    finally:
        redis.close()
