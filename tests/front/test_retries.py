"""Retries: only after 408, 409, 429 or 5xx, only before the first byte, at most `max_retries` times."""

from collections.abc import Iterator

import pytest

from tests.front.configurations import BRISK, connection, front_conf, serving
from tests.harness import plays
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, FIN, HOLD, TWO, plain, stream
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream


@pytest.fixture(scope="module")
def daemon(
    way: str, upstream: Upstream, closed_port: int, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    conf = front_conf(
        upstream,
        connections={
            "again": connection(upstream.url, max_retries=2),
            "brisk-again": connection(upstream.url, max_retries=2, timeout=BRISK),
            "refused-again": connection(f"http://127.0.0.1:{closed_port}", max_retries=2),
        },
    )
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


def in_turn(upstream: Upstream, *answers: tuple[plays.Step, ...]) -> Play:
    """A script that plays the next answer each time, and repeats the last one forever."""
    play = upstream.play(name="turns")

    async def run(peer: object) -> None:
        steps = answers[min(len(play.requests), len(answers)) - 1]
        for step in steps:
            if isinstance(step, bytes):
                await peer.send(step)  # type: ignore[attr-defined]
            elif step is FIN:
                peer.transport.close()  # type: ignore[attr-defined]
            else:
                await peer.left()  # type: ignore[attr-defined]

    play.steps = (run,)
    return play


SOON = {"Retry_After": "0"}


@pytest.mark.parametrize(
    "status", ["408 Timeout", "409 Conflict", "429 Slow Down", "500 Oops", "502 Bad", "503 Busy", "529 Over"]
)
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "stream"])
def test_a_temporary_failure_is_retried(daemon: Daemon, upstream: Upstream, status: str, streamed: bool) -> None:
    good = stream(TWO, DONE) if streamed else plain(b'{"ok":1}')
    play = in_turn(upstream, (plain(b'{"error":"x"}', status, **SOON),), (good,))
    answer = daemon.chat(f"again:{play.model}", stream=streamed)
    assert (answer.status, answer.body) == (200, TWO + DONE if streamed else b'{"ok":1}')
    assert answer.header("x-proxy-attempts") == "2"
    assert play.wait(1).body == play.wait(2).body
    assert len(play.requests) == 2


def test_the_last_failure_passes_unchanged(daemon: Daemon, upstream: Upstream) -> None:
    play = in_turn(upstream, (plain(b'{"error":"still"}', "503 Busy", Retry_After="0", X_Which="last"),))
    answer = daemon.chat(f"again:{play.model}")
    assert (answer.status, answer.body, answer.header("x-which")) == (503, b'{"error":"still"}', "last")
    assert answer.header("x-proxy-attempts") == "3"
    assert len(play.requests) == 3


@pytest.mark.parametrize("status", ["400 Bad", "404 Not Found", "422 No", "413 Big", "402 Pay"])
def test_permanent_failures_are_not_retried(daemon: Daemon, upstream: Upstream, status: str) -> None:
    play = upstream.play(plain(b'{"error":"x"}', status))
    answer = daemon.chat(f"again:{play.model}")
    assert (answer.status, len(play.requests)) == (int(status[:3]), 1)
    assert answer.header("x-proxy-attempts") is None


def test_max_retries_0_means_one_attempt(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(b'{"error":"x"}', "503 Busy"))
    answer = daemon.chat(f"main:{play.model}")
    assert (answer.status, len(play.requests), answer.header("x-proxy-attempts")) == (503, 1, None)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/embeddings", "/v1/images/generations", "/v1/responses"])
@pytest.mark.parametrize("fault", ["break", "timeout"])
def test_a_delivered_post_is_never_sent_twice_to_one_target(
    daemon: Daemon, upstream: Upstream, path: str, fault: str
) -> None:
    """The request may have been billed: only another target may be tried, and there is none."""
    upstream.restart()  # on a new connection, so that the break cannot be mistaken for a stale connection
    play = upstream.play(FIN if fault == "break" else HOLD)
    connection = "again" if fault == "break" else "brisk-again"
    body = f'{{"model":"{connection}:{play.model}","messages":[]}}'.encode()
    check_error(daemon.post(path, body), 502 if fault == "break" else 504)
    play.wait()
    assert len(play.requests) == 1


def test_nothing_is_retried_after_the_first_byte(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plays.SSE_HEAD, plays.chunk(TWO), FIN)
    answer = daemon.chat(f"again:{play.model}", stream=True)
    assert answer.body.startswith(TWO)
    assert len(play.requests) == 1


def test_an_unreachable_connection_is_one_error(daemon: Daemon) -> None:
    check_error(daemon.chat("refused-again:m"), 502, "upstream_unreachable")


def test_a_streamed_upload_is_never_sent_twice(daemon: Daemon, upstream: Upstream) -> None:
    """The bytes of the upload are not kept, so the client gets the failure."""
    play = upstream.play(plain(b'{"error":"busy"}', "503 Busy", **SOON))
    with daemon.wire() as wire:
        wire.send(
            f"PUT /v1/files HTTP/1.1\r\nHost: {wire.host}\r\nX-Play: {play.model}\r\nTransfer-Encoding: chunked\r\n"
            f"Content-Type: application/octet-stream\r\n\r\n".encode()
            + plays.chunk(b"x" * 3000)
            + plays.LAST
        )
        assert wire.answer().status == 503
    assert len(play.requests) == 1


def test_a_client_that_leaves_between_two_attempts_ends_them(daemon: Daemon, upstream: Upstream) -> None:
    play = in_turn(upstream, (plain(b"{}", "503 Busy", Retry_After="0"),), (HOLD,))
    wire = daemon.wire().chat(f"again:{play.model}")
    second = play.wait(2)
    wire.close()
    assert second.gone()
    daemon.chat("something-else")
    assert len(play.requests) == 2


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/images/generations"])
def test_a_stale_connection_causes_one_more_attempt_at_most(daemon: Daemon, upstream: Upstream, path: str) -> None:
    """Fault matrix row 5: the connection may have closed before the request arrived, which allows a second attempt."""
    calm, broken = upstream.play(plain(b"{}")), upstream.play(FIN)
    with daemon.wire() as wire:
        assert wire.chat(f"again:{calm.model}").answer().status == 200
        body = f'{{"model":"again:{broken.model}","messages":[]}}'.encode()
        check_error(wire.request("POST", path, body=body).answer(), 502, "upstream_disconnected")
    assert len(broken.requests) <= 2
