"""Concurrent requests: every caller gets its own answer, every upstream its own key, and failures stay isolated."""

import random
import threading
from collections.abc import Iterator

import pytest

from tests.front.configurations import connection, front_conf, serving
from tests.harness import plays
from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import DONE, FIN, SSE_HEAD, TWO, chunk, delta, plain, stream
from tests.harness.upstream import Upstream

SECOND_KEY = "sk-second-upstream-5566778899aabbcc"


@pytest.fixture(scope="module")
def second() -> Iterator[Upstream]:
    """Another provider, with another key."""
    server = Upstream().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def daemon(
    way: str, upstream: Upstream, second: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    conf = front_conf(upstream, connections={"second": connection(second.url, api_key=SECOND_KEY)})
    with serving(tmp_path_factory.mktemp(way), conf, way) as running:
        yield running


def test_thirty_two_callers_each_get_their_own_answer(daemon: Daemon, upstream: Upstream, second: Upstream) -> None:
    """Whole and streamed answers, breaks, errors and disconnects, mixed at random on kept-alive connections."""
    wrong: list[object] = []

    def caller(number: int) -> None:
        dice = random.Random(number)
        wire = daemon.wire()
        for turn in range(15):
            provider, prefix = dice.choice([(upstream, "main:"), (second, "second:")])
            mine = f"answer {number}/{turn} " + "x" * dice.randrange(3000)
            kind = dice.choice(["plain", "stream", "break", "error", "leave"])
            if kind == "plain":
                play, expected = provider.play(plain(mine.encode())), (200, mine.encode())
            elif kind == "stream":
                play = provider.play(stream(delta(mine), DONE))
                expected = (200, delta(mine) + DONE)
            elif kind == "error":
                play, expected = provider.play(plain(mine.encode(), "418 Teapot")), (418, mine.encode())
            else:
                play, expected = (
                    provider.play(SSE_HEAD, chunk(delta(mine)), FIN if kind == "break" else plays.HOLD),
                    None,
                )
            wire.chat(prefix + play.model, stream=kind in {"stream", "break", "leave"})
            if expected is not None:
                answer = wire.answer()
                if (answer.status, answer.body) != expected:
                    wrong.append((expected, answer))
                continue
            wire.read_head()
            got = wire.read_until(b"\n\n")
            if not got.startswith(delta(mine)):
                wrong.append((mine, got))
            wire.close()
            wire = daemon.wire()
        wire.close()

    callers = [threading.Thread(target=caller, args=(number,)) for number in range(32)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []


def test_each_provider_sees_only_its_own_key(daemon: Daemon, upstream: Upstream, second: Upstream) -> None:
    for _ in range(10):
        ours, theirs = upstream.play(plain(b"{}")), second.play(plain(b"{}"))
        daemon.chat(f"main:{ours.model}")
        daemon.chat(f"second:{theirs.model}")
        assert ours.wait().header("authorization") == f"Bearer {CANARY}"
        assert theirs.wait().header("authorization") == f"Bearer {SECOND_KEY}"
        assert SECOND_KEY not in str(ours.wait().headers)
        assert CANARY not in str(theirs.wait().headers)


def test_a_stalled_provider_affects_no_other_requests(daemon: Daemon, upstream: Upstream, second: Upstream) -> None:
    stalled = second.play(SSE_HEAD, chunk(TWO), plays.HOLD)
    held = [daemon.wire().chat(f"second:{stalled.model}", stream=True) for _ in range(50)]
    for wire in held:
        wire.read_head()
    quick = upstream.play(plain(b'{"ok":1}'))
    for _ in range(20):
        assert daemon.chat(quick.model).body == b'{"ok":1}'
