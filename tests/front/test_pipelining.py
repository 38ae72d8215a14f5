"""Pipelined requests on one connection: each is answered in order."""

import os
import signal
from collections.abc import Callable

import psutil
import pytest

from tests.front.configurations import WAYS, front_conf
from tests.harness.daemon import Daemon
from tests.harness.plays import LAST, SSE_HEAD, TWO, chunk, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

MANY = 20


def chat_request(daemon: Daemon, model: str) -> bytes:
    body = b'{"model":"%b","messages":[]}' % model.encode()
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: {daemon.address[0]}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def stopped(process: psutil.Process) -> bool:
    return bool(process.status() == psutil.STATUS_STOPPED)


@pytest.mark.parametrize("way", WAYS)
def test_bytes_received_while_an_answer_is_relayed_keep_their_order(
    make_daemon: Callable[..., Daemon], upstream: Upstream, way: str
) -> None:
    """After SIGSTOP, a daemon finds the end of an answer and the next requests in the same iteration of its loop."""
    daemon = make_daemon(front_conf(upstream), flags=WAYS[way])
    gate = upstream.gate()
    first = upstream.play(SSE_HEAD, chunk(TWO), gate, LAST)
    others = [upstream.play(plain(b'{"number":%d}' % number)) for number in range(MANY)]
    warm = upstream.play(plain(b"{}"))
    assert daemon.chat(warm.model).status == 200
    wire = daemon.wire()
    wire.send(chat_request(daemon, first.model))
    wire.read_head()
    wire.read_until(b"two ")
    wire.send(b"".join(chat_request(daemon, play.model) for play in others[:3]))
    daemon.signal(signal.SIGSTOP)
    process = psutil.Process(daemon.process.pid)
    try:
        eventually(lambda: stopped(process), "the daemon is stopped")
        for play in others[3:]:
            wire.send(chat_request(daemon, play.model))
        gate.open()
    finally:
        os.kill(process.pid, signal.SIGCONT)
    assert wire.read_rest().complete, "the first answer is incomplete"
    assert [wire.answer().json()["number"] for _ in others] == list(range(MANY))
