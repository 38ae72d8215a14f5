"""What Claude Code and the batches of Anthropic's SDK need besides `/v1/messages` itself."""

import json
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.harness.plays import plain


def test_batches_need_an_anthropic_connection(make_daemon: DaemonFactory, upstream: Any) -> None:
    main = {"api_base": upstream.url, "api_key": "sk-1"}
    daemon = make_daemon({"connections": {"main": main}, "default_connection": "main"})
    missing = daemon.get("/v1/messages/batches")
    assert missing.status == 404, missing.body
    assert missing.json()["type"] == "error", missing.body
    claude = {"api_type": "anthropic", "api_base": upstream.url, "api_key": "sk-ant"}
    daemon = make_daemon({"connections": {"main": main, "claude": claude}, "default_connection": "main"})
    play = upstream.play(plain(b"{}"))
    assert daemon.get("/v1/messages/batches/b1/results", headers=[("x-play", play.model)]).status == 200
    seen = play.wait()
    assert seen.target.endswith("/messages/batches/b1/results")
    assert seen.all("x-api-key") == ["sk-ant"]


def test_a_session_of_claude_code_keeps_its_settings(make_daemon: DaemonFactory) -> None:
    main = {"api_base": "http://127.0.0.1:9/v1", "api_key": "sk-1"}
    connections = {"main": main, "echo": {"api_type": "echo"}}
    daemon = make_daemon({"connections": connections, "default_connection": "main", "routing": {"echo": "echo.echo"}})
    ours, another = [("x-claude-code-session-id", "s1")], [("x-claude-code-session-id", "s2")]

    def send(text: str, headers: list[tuple[str, str]]) -> int:
        body = {"model": "nobody", "max_tokens": 9, "messages": [{"role": "user", "content": text}]}
        return daemon.post("/v1/messages", json.dumps(body).encode(), headers=headers).status

    assert send("!/set(model=echo)", ours) == 200
    assert send("Hi", ours) == 200
    assert send("Hi", another) == 502


def test_a_batch_cannot_name_an_augmented_model(make_daemon: DaemonFactory, upstream: Any) -> None:
    claude = {"api_type": "anthropic", "api_base": upstream.url, "api_key": "sk-ant"}
    files = {"models/house.yaml": "name: augmented/house\nupstream_model: claude-x\n"}
    daemon = make_daemon({"connections": {"claude": claude}}, files=files)
    play = upstream.play(plain(b"{}"))

    def batch(*models: str) -> Any:
        asked = {"requests": [{"custom_id": m, "params": {"model": m, "messages": []}} for m in models]}
        return daemon.post("/v1/messages/batches", json.dumps(asked).encode(), headers=[("x-play", play.model)])

    refused = batch("claude-x", "augmented/house")
    assert (refused.status, refused.header("x-proxy-error")) == (400, "unsupported_endpoint")
    assert refused.json()["type"] == "error"
    assert play.requests == []
    assert batch("claude-x").status == 200
    head = 'Content-Disposition: form-data; name="'
    form = (
        f'--x\r\n{head}file"; filename="b.jsonl"\r\n\r\n{{"body": {{"model": "augmented/house"}}}}\r\n'
        f'--x\r\n{head}purpose"\r\n\r\nbatch\r\n--x--\r\n'
    ).encode()
    answer = daemon.post("/v1/files", form, content_type="multipart/form-data; boundary=x")
    assert (answer.status, answer.json()["error"]["param"]) == (400, "model")


def test_errors_have_the_types_of_the_api(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(
        {"connections": {"echo": {"api_type": "echo"}}, "groups": {"family": {"api_keys": ["sk-family-0123456789"]}}}
    )

    def kind(body: dict[str, Any], key: str | None) -> str:
        answer = daemon.post("/v1/messages", json.dumps(body).encode(), key=key)
        return f"{answer.status} {answer.json()['error']['type']}"

    body = {"model": "echo:x", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    key = "sk-family-0123456789"
    assert kind(body, None) == "401 authentication_error"
    assert kind(body, "unknown") == "401 authentication_error"
    assert kind({**body, "thread": {"type": "continue"}}, key) == "404 not_found_error"
    assert kind({**body, "messages": 3}, key) == "400 invalid_request_error"


def test_a_translated_error_is_not_to_be_retried(make_daemon: DaemonFactory, upstream: Any) -> None:
    main = {"api_base": upstream.url, "api_key": "sk-1", "max_retries": 0}
    daemon = make_daemon({"connections": {"main": main}})
    page = upstream.play(plain(b"<html><h1>Bad gateway</h1></html>", "502 Bad Gateway", "text/html"))
    busy = upstream.play(plain(b'{"error": {"message": "slow down"}}', "429 Too Many Requests"))
    for play, status, kind, message, retry in (
        (page, 502, "api_error", "The connection 'main' answered with status 502.", "false"),
        (busy, 429, "rate_limit_error", "slow down", None),
    ):
        body = {"model": play.model, "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
        answer = daemon.post("/v1/messages", json.dumps(body).encode())
        error = answer.json()["error"]
        assert (answer.status, error["type"], error["message"]) == (status, kind, message)
        assert answer.header("x-should-retry") == retry


@pytest.mark.parametrize(
    ("wrong", "member"),
    [
        ({}, "messages"),
        ({"messages": 5}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}]}]}, "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": "hi"}], "tools": 5}, "tools"),
    ],
)
def test_an_invalid_request_is_not_counted(reuse_daemon: DaemonFactory, wrong: Any, member: str) -> None:
    daemon = reuse_daemon()
    answer = daemon.post("/v1/messages/count_tokens", json.dumps({"model": "echo", **wrong}).encode())
    assert (answer.status, answer.json()["error"]["type"]) == (400, "invalid_request_error")
    assert member in answer.json()["error"]["message"]
    fine = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    assert daemon.post("/v1/messages/count_tokens", json.dumps(fine).encode()).json()["input_tokens"] > 0
