"""Fault matrix rows 43 and 44: a client that disconnects, in any phase, ends the upstream request at once.

Closing, resetting and half-closing are equivalent: no client will read the answer, so it should not be paid for. The
bench measures how fast that is; here it must only happen without any timeout of the connection.
"""

import json

import pytest

from tests.harness import plays
from tests.harness.daemon import Daemon
from tests.harness.plays import HOLD, LAST, SSE_HEAD, TWO, chunk, delta, head, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually
from tests.harness.wire import Wire

LEAVING = {"fin": Wire.close, "rst": Wire.abort, "half-close": Wire.half_close}


def leave_and_check(daemon: Daemon, wire: Wire, play: Play, how: str) -> None:
    seen = play.begun()
    assert not seen.hung_up.is_set(), "the upstream connection had ended already"
    LEAVING[how](wire)
    assert seen.gone(), "the upstream request continues after the client's disconnect"
    wire.close()
    eventually(lambda: daemon.clients() == 0, "the client's connection is closed, too")


@pytest.mark.parametrize("how", LEAVING)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_row43_before_the_first_byte(daemon: Daemon, upstream: Upstream, how: str, stream: bool) -> None:
    play = upstream.play(HOLD)
    wire = daemon.wire().chat(play.model, stream=stream)
    play.wait()
    leave_and_check(daemon, wire, play, how)


@pytest.mark.parametrize("how", LEAVING)
def test_row43_in_a_stalled_stream(daemon: Daemon, upstream: Upstream, how: str) -> None:
    play = upstream.play(SSE_HEAD, chunk(TWO), HOLD)
    wire = daemon.wire().chat(play.model, stream=True)
    wire.read_head()
    wire.read_until(b"two")
    leave_and_check(daemon, wire, play, how)


@pytest.mark.parametrize("how", LEAVING)
def test_row43_in_a_running_stream(daemon: Daemon, upstream: Upstream, how: str) -> None:
    async def talk(peer: object) -> None:
        while True:
            await peer.send(chunk(delta("word ")))  # type: ignore[attr-defined]

    play = upstream.play(SSE_HEAD, talk)
    wire = daemon.wire().chat(play.model, stream=True)
    wire.read_head()
    wire.read_until(b"word")
    leave_and_check(daemon, wire, play, how)


@pytest.mark.parametrize("how", LEAVING)
def test_row43_in_a_body_of_known_length(daemon: Daemon, upstream: Upstream, how: str) -> None:
    play = upstream.play(head("200 OK", {"Content-Length": "1000"}), b"begun", HOLD)
    wire = daemon.wire().request("GET", "/v1/files/x/content", headers=[("X-Play", play.model)])
    wire.read_head()
    wire.read_until(b"begun")
    leave_and_check(daemon, wire, play, how)


@pytest.mark.parametrize("how", LEAVING)
def test_row43_during_an_upload(daemon: Daemon, upstream: Upstream, how: str) -> None:
    play = upstream.play(plain(b"{}"), early=True)

    async def never(peer: object) -> None:
        await peer.left()  # type: ignore[attr-defined]

    play.steps = (never,)
    wire = daemon.wire()
    wire.send(
        f"PUT /v1/files HTTP/1.1\r\nHost: {wire.host}\r\nX-Play: {play.model}\r\n"
        f"Content-Type: application/octet-stream\r\nContent-Length: 1000000\r\n\r\n".encode()
        + b"x" * 300_000
    )
    leave_and_check(daemon, wire, play, how)


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_disconnecting_while_the_body_is_sent_reaches_no_upstream(daemon: Daemon, upstream: Upstream, how: str) -> None:
    """An incomplete JSON body must not reach the upstream as if it were complete."""
    play = upstream.play(plain(b"{}"))
    body = json.dumps({"model": play.model, "messages": []})
    wire = daemon.wire()
    wire.send(f"POST /v1/chat/completions HTTP/1.1\r\nHost: {wire.host}\r\nContent-Length: 500\r\n\r\n{body}".encode())
    LEAVING[how](wire)
    eventually(lambda: daemon.clients() == 0, "the connection is closed")
    daemon.chat("something-else")
    assert play.requests == []


def test_disconnecting_with_a_pipelined_request_pending(daemon: Daemon, upstream: Upstream) -> None:
    play, second = upstream.play(HOLD), upstream.play(plain(b"{}"))
    wire = daemon.wire().chat(play.model)
    wire.chat(second.model)
    play.wait()
    leave_and_check(daemon, wire, play, "rst")
    daemon.chat("something-else")
    assert second.requests == []


def test_the_daemon_still_serves_after_a_hundred_disconnects(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(SSE_HEAD, chunk(TWO), HOLD)
    sockets = daemon.open_sockets()
    wires = [daemon.wire().chat(play.model, stream=True) for _ in range(100)]
    for wire in wires:
        wire.read_head()
        wire.read_until(b"two")
    for number, wire in enumerate(wires):
        LEAVING[list(LEAVING)[number % 3]](wire)
    for number in range(100):
        assert play.begun(number + 1).gone()
    daemon.close_wires()
    eventually(lambda: daemon.clients() == 0, "every client connection is closed")
    eventually(lambda: daemon.open_sockets() <= sockets + 2, f"the number of open sockets is back at {sockets}")
    eventually(lambda: upstream.busy() == 0, "no request is being answered")
    assert daemon.chat(upstream.play(plays.stream(TWO, end=LAST)).model, stream=True).body == TWO
