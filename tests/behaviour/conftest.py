"""The daemon of these tests: one connection to the scripted upstream, no keys."""

import itertools
from collections.abc import Iterator

import pytest

from tests.behaviour.chat import Chat, Sent
from tests.front.configurations import front_conf, serving
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream


@pytest.fixture(scope="module", params=["spliced", "plain"])
def daemon(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Daemon]:
    """A daemon without keys, with and without the fast path."""
    with serving(tmp_path_factory.mktemp("behaviour"), front_conf(upstream), request.param) as running:
        yield running


_ADDRESSES = itertools.count(1)


@pytest.fixture
def somebody_new(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A person with an address of their own, who disconnects at the end."""
    number = next(_ADDRESSES)
    monkeypatch.setattr(Chat, "address", f"127.0.{1 + number // 250}.{1 + number % 250}")
    monkeypatch.setattr(Chat, "clients", [])
    yield
    for client in Chat.clients:
        client.close()


@pytest.fixture
def seen(upstream: Upstream) -> Sent:
    """The questions that reached the upstream in this test."""
    upstream.unclaimed.clear()
    return Sent(upstream)
