"""A compressed request is decompressed if it must be read, and sent unchanged if nothing in it changes."""

import json

import brotli
import pytest
import zstandard

from tests.conftest import DaemonFactory
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream


@pytest.mark.parametrize(("coding", "compress"), [("zstd", zstandard.compress), ("br", brotli.compress)])
def test_a_compressed_request_is_routed_and_changed(
    make_daemon: DaemonFactory, upstream: Upstream, coding: str, compress: object
) -> None:
    assert callable(compress)
    play = upstream.play(plain(completion("Hello")))
    conf = {
        "connections": {"main": {"api_base": upstream.url, "api_key": "sk-1"}},
        "routing": {"house": f"main.{play.model}"},
    }
    daemon = make_daemon(conf)
    body = compress(json.dumps({"model": "house", "messages": [{"role": "user", "content": "hi"}]}).encode())
    headers = [("Content-Encoding", coding)]
    answer = daemon.post("/v1/chat/completions", body, headers=headers)
    assert (answer.status, answer.json()["choices"][0]["message"]["content"]) == (200, "Hello")
    seen = play.wait()
    assert seen.json()["model"] == play.model
    assert seen.header("content-encoding") is None
