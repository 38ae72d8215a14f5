"""Two upstreams, two keys, swapped by edits under load: no request ever carries the wrong key."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import WAYS
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually

KEYS = ("sk-key-of-the-first-7d1", "sk-key-of-the-second-9a4")
EDITS = 8


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Upstream, Upstream]]:
    """Two separate upstreams."""
    both = Upstream().start(), Upstream().start()
    yield both
    for one in both:
        one.stop()


def conf(pair: tuple[Upstream, Upstream], swapped: bool) -> dict[str, Any]:
    """Connection `a` leads to the first server, or, swapped, to the second; each server has its own key."""
    first, second = reversed(range(2)) if swapped else range(2)
    return {
        "connections": {
            name: {"api_base": pair[n].url, "api_keys": [KEYS[n]], "max_retries": 0}
            for name, n in (("a", first), ("b", second))
        },
        "routing": {"both": ["a.m-small", "b.m-small"], "turns": {"targets": ["a.*", "b.*"], "policy": "round_robin"}},
        "default_connection": "a",
    }


class Load:
    """Clients that send requests until stopped; `answers` are their statuses."""

    def __init__(self, daemon: Daemon) -> None:
        self.answers: list[int] = []
        self._stop = threading.Event()
        self._daemon = daemon
        models = ("a:m-small", "b:m-small", "both", "turns", "anything", "helper")
        self._threads = [threading.Thread(target=self._run, args=(model,)) for model in models]
        for thread in self._threads:
            thread.start()

    def _run(self, model: str) -> None:
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": model == "both"})
        while not self._stop.is_set():
            link = http.client.HTTPConnection(*self._daemon.address, timeout=PATIENCE)
            for _ in range(5):
                link.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
                response = link.getresponse()
                response.read()
                self.answers.append(response.status)
            link.close()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("way", list(WAYS))
def test_no_request_ever_carries_the_wrong_key(
    way: str, pair: tuple[Upstream, Upstream], make_daemon: DaemonFactory
) -> None:
    helper = "name: helper\nupstream_model: a:m-small\nsystem_prompt: Be kind.\n"
    daemon = make_daemon(conf(pair, False), files={"models/helper.yaml": helper}, flags=WAYS[way])
    for one in pair:
        one.unclaimed.clear()
    load = Load(daemon)
    try:
        for number in range(EDITS):
            before = len(load.answers)
            generation = daemon.generation()
            daemon.write("proxy.yaml", conf(pair, number % 2 == 0))
            eventually(
                lambda before=before, generation=generation: (  # type: ignore[misc]
                    daemon.generation() > generation and len(load.answers) >= before + 20
                ),
                "the edit is in effect, and requests were answered after it",
            )
    finally:
        load.stop()
    assert set(load.answers) == {200}
    for one, key, other in ((pair[0], KEYS[0], KEYS[1]), (pair[1], KEYS[1], KEYS[0])):
        seen = [value for request in list(one.unclaimed) for value in request.all("authorization")]
        assert len(seen) > EDITS
        assert set(seen) == {f"Bearer {key}"}
        assert not any(other in value for request in one.unclaimed for _, value in request.headers)
