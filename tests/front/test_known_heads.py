"""Heads the lane has read before: the same bytes mean the same, however they are cut, and never a moment longer."""

import json

import pytest

from tests.front.house import front_conf, serving
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream

BODY = json.dumps({"model": "m-small", "messages": [{"role": "user", "content": "Hi"}]}).encode()


def request_bytes(body: bytes = BODY, more: bytes = b"") -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + more
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("cut", range(0, len(request_bytes()), 7))
def test_a_known_head_may_be_cut_anywhere(daemon: Daemon, cut: int) -> None:
    wire = daemon.wire()
    whole = request_bytes()
    for _ in range(2):  # the first time it is read, the second time it is known
        wire.send(whole)
        assert wire.answer().json()["object"] == "chat.completion"
    if cut:
        wire.send(whole[:cut])
    wire.send(whole[cut:])
    assert wire.answer().json()["object"] == "chat.completion"


def test_bodies_of_other_lengths_under_the_same_head(daemon: Daemon) -> None:
    wire = daemon.wire()
    for words in (1, 5, 50, 500, 5000):
        body = json.dumps({"model": "m-small", "messages": [{"role": "user", "content": "word " * words}]}).encode()
        wire.send(request_bytes(body))
        assert wire.answer().json()["object"] == "chat.completion"


def test_pipelined_requests_behind_a_known_head_are_answered_in_order(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.send(request_bytes())
    wire.answer()
    wire.send(request_bytes() * 3)
    for _ in range(3):
        assert wire.answer().status == 200


def test_a_known_head_with_a_refused_body_is_refused_and_the_connection_goes_on(daemon: Daemon) -> None:
    wire = daemon.wire()
    wire.send(request_bytes())
    wire.answer()
    wire.send(request_bytes(b'{"model": "m-small", "model": "other"}'))
    assert wire.answer().status == 400
    wire.send(request_bytes())
    assert wire.answer().status == 200


def test_a_known_head_of_a_revoked_key_is_refused_from_the_next_request_on(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    conf = front_conf(upstream)
    conf["groups"] = {"g": {"api_keys": ["sk-one-client-key"]}}
    with serving(tmp_path_factory.mktemp("known"), conf, "spliced") as daemon:
        wire = daemon.wire()
        keyed = request_bytes(more=b"Authorization: Bearer sk-one-client-key\r\n")
        for _ in range(3):
            wire.send(keyed)
            assert wire.answer().status == 200
        generation = daemon.generation()

        def revoke(proxy: dict[str, object]) -> None:
            proxy["groups"] = {"g": {"api_keys": ["sk-another-client-key"]}}

        daemon.edit_conf(revoke)
        assert daemon.generation() != generation
        wire.send(keyed)
        assert wire.answer().status == 401
