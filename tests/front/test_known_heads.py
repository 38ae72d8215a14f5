"""Request heads read before by the fast path: the same bytes mean the same, however they are cut, until an edit."""

import json

import pytest

from tests.front.configurations import connection, front_conf, serving
from tests.harness.daemon import Daemon
from tests.harness.plays import plain
from tests.harness.upstream import Upstream

BODY = json.dumps({"model": "m-small", "messages": [{"role": "user", "content": "Hi"}]}).encode()


def request_bytes(body: bytes = BODY, more: bytes = b"") -> bytes:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n" + more
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize("cut", range(0, len(request_bytes()), 7))
def test_a_known_head_may_be_cut_anywhere(daemon: Daemon, cut: int) -> None:
    wire = daemon.wire()
    whole = request_bytes()
    for _ in range(2):  # the head is new the first time and known the second time
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


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("number", [2, 3])
def test_pipelined_requests_may_be_cut_anywhere(daemon: Daemon, number: int, known: bool) -> None:
    """Bytes that arrive with the end of an awaited body are not lost, whatever happened on the connection before."""
    whole = request_bytes() * number
    wire = daemon.wire()
    for cut in range(1, len(request_bytes()) * 2, 5):
        if known:
            wire = daemon.wire()
            wire.send(request_bytes())
            assert wire.answer().status == 200
        wire.send(whole[:cut])
        daemon.get("/health")  # by now, the first part has been read
        wire.send(whole[cut:])
        for _ in range(number):
            assert wire.answer().status == 200


def test_a_refused_body_under_a_known_head_keeps_the_connection(daemon: Daemon) -> None:
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


def test_clients_that_share_a_connection_are_distinguished(daemon: Daemon) -> None:
    wire = daemon.wire()
    for _ in range(3):
        for session in (b"kitchen", b"garden", None):
            wire.send(request_bytes(more=b"X-Session-ID: " + session + b"\r\n" if session else b""))
            assert wire.answer().header("x-session-id") == (session.decode() if session else None)


def test_one_head_can_request_models_of_several_connections(
    upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    play, other = upstream.play(plain(b"{}")), upstream.play(plain(b"{}"))
    conf = front_conf(upstream, connections={"second": connection(upstream.url, model=other.model)})
    conf["routing"] = {"other*": "second.*"}
    with serving(tmp_path_factory.mktemp("models"), conf, "spliced") as daemon:
        wire = daemon.wire()
        for _ in range(3):
            for model in (play.model, "other-1", "other-2"):
                wire.send(request_bytes(json.dumps({"model": model, "messages": []}).encode()))
                assert wire.answer().status == 200
        assert [request.json()["model"] for request in play.requests] == [play.model] * 3
        assert [request.json()["model"] for request in other.requests] == [other.model] * 6


def test_keys_take_turns_under_a_known_head(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> None:
    conf = front_conf(upstream)
    del conf["connections"]["main"]["api_key"]
    conf["connections"]["main"]["api_keys"] = ["sk-first-of-two-keys", "sk-second-of-two-keys"]
    with serving(tmp_path_factory.mktemp("keys"), conf, "spliced") as daemon:
        play = upstream.play(plain(b"{}"))
        wire = daemon.wire()
        for _ in range(6):
            wire.send(request_bytes(json.dumps({"model": play.model, "messages": []}).encode()))
            assert wire.answer().status == 200
        used = [request.header("authorization") for request in play.requests]
        assert used == ["Bearer sk-first-of-two-keys", "Bearer sk-second-of-two-keys"] * 3


def test_an_answer_with_a_changed_head_is_parsed_again(daemon: Daemon, upstream: Upstream) -> None:
    wire = daemon.wire()
    for number, kind in enumerate(("text/plain", "application/json", "text/plain") * 2):
        play = upstream.play(plain(b"%d" % number, content_type=kind))
        wire.send(request_bytes(json.dumps({"model": play.model, "messages": []}).encode()))
        answer = wire.answer()
        assert (answer.header("content-type"), answer.body) == (kind, b"%d" % number)
