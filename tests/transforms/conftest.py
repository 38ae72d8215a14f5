"""Each test's person is somebody new to the house, and hangs up at the end."""

import itertools
from collections.abc import Iterator

import pytest

from tests.transforms.chat import Chat

ADDRESSES = itertools.count(1)


@pytest.fixture(autouse=True)
def _somebody_new(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Chat, "address", f"127.0.{1 + (number := next(ADDRESSES)) // 250}.{1 + number % 250}")
    monkeypatch.setattr(Chat, "clients", [])
    yield
    for client in Chat.clients:
        client.close()
