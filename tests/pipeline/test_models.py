"""Model lists are kept ready: no request waits when the upstreams' models change."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from openai_proxy.pipeline import models
from openai_proxy.pipeline.models import ModelLists
from tests.harness.waiting import PATIENCE

CALLER: Any = SimpleNamespace(group="")


class Catalog:
    """The models that the upstreams offer, and how often they have changed."""

    def __init__(self) -> None:
        self.version = 1
        self.offered = {"main": [{"id": "one"}]}

    async def models(self) -> dict[str, list[dict[str, Any]]]:
        return self.offered


def generation(number: int) -> Any:
    return SimpleNamespace(number=number, access=SimpleNamespace(restricts=lambda caller: False))


async def test_the_old_list_is_served_while_the_new_one_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def may_ask(_generation: Any, _caller: Any, name: str) -> bool:
        asked.append(name)
        return True

    monkeypatch.setattr(models, "every_model", lambda _, offered: offered["main"])
    monkeypatch.setattr(models, "may_ask", may_ask)
    monkeypatch.setattr(models, "_upstream", lambda *_: None)
    catalog = Catalog()
    state: Any = SimpleNamespace(catalog=catalog)
    lists = ModelLists(state)

    async def ids(number: int = 1) -> list[str]:
        _, cards = await lists._known(generation(number), CALLER)
        return [card.id for card in cards]

    assert await ids() == ["one"]
    catalog.version, catalog.offered = 2, {"main": [{"id": f"m{at}"} for at in range(500)]}
    asked.clear()
    assert await ids() == ["one"]  # available at once, since it needs no decisions
    assert asked == []
    assert await ids() == ["one"]
    making = lists._making
    assert making is not None
    async with asyncio.timeout(PATIENCE):
        await making
    assert len(asked) == 500  # built only once for all the requests
    assert len(await ids()) == 500
    assert len(await ids(2)) == 500  # a new configuration has its own list, from its first request
    assert len(asked) == 1000
