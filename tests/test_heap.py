"""What a large request needed is given back to the system."""

import json
import platform

import pytest

from openai_proxy.heap import AFTER, Heap
from openai_proxy.server.request_body import BodyMemory
from tests.conftest import DaemonFactory
from tests.front.configurations import front_conf
from tests.harness.clock import Clock
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

MiB = 1 << 20


def test_memory_is_given_back_once_after_a_pause() -> None:
    clock = Clock()
    given: list[float] = []
    heap = Heap(lambda: None, lambda: given.append(clock.now), clock)
    assert heap.settle(False) is None  # nothing was large
    begun = clock.now
    heap.large_request_ended()
    assert heap.settle(True) == AFTER
    clock.now += AFTER / 2
    heap.large_request_ended()  # does not postpone it
    assert heap.settle(False) == AFTER / 2
    clock.now += AFTER / 2
    assert heap.settle(False) is None
    assert heap.settle(False) is None
    assert given == [begun + AFTER]


def test_what_is_kept_is_bounded_once() -> None:
    bounds: list[None] = []
    heap = Heap(lambda: bounds.append(None))
    assert not bounds  # what it needs is not loaded until then
    heap.large_request_begins()
    heap.large_request_begins()
    assert len(bounds) == 1


@pytest.mark.parametrize(("sizes", "large"), [((1 * MiB,), False), ((3 * MiB,), True), ((1 * MiB, 1 * MiB), True)])
def test_bodies_that_are_large_together_count(
    monkeypatch: pytest.MonkeyPatch, sizes: tuple[int, ...], large: bool
) -> None:
    begun: list[None] = []
    ended: list[None] = []
    monkeypatch.setattr(Heap, "large_request_begins", lambda _: begun.append(None))
    monkeypatch.setattr(Heap, "large_request_ended", lambda _: ended.append(None))
    memory = BodyMemory()
    for size in sizes:
        memory.take(size, 1 << 40)
    for size in sizes:
        memory.give_back(size)
    assert bool(begun) is bool(ended) is large


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only GNU's C library gives memory back on request")
def test_a_daemon_is_as_small_after_large_requests_as_before(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    """Also in small pieces, which would leave a hole each."""
    daemon = make_daemon(front_conf(upstream))
    play = upstream.play(plain(completion("ok")))
    daemon.chat("warm-up")
    before = daemon.rss()
    part = {"type": "text", "text": "my key is sk-proj-" + "aB3" * 16 + " word" * 400}
    body = {"model": "plain", "messages": [{"role": "user", "content": [part] * 15_000}]}
    headers = [("X-Play", play.model)]
    assert daemon.post("/v1/chat/completions", json.dumps(body).encode(), headers=headers).status == 200
    eventually(lambda: daemon.rss() - before < 40 * MiB, "its memory is given back")
