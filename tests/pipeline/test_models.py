"""Lists of models are kept ready; a change of what the upstreams offer makes nobody wait."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from openai_proxy.pipeline import models
from openai_proxy.pipeline.models import ModelLists

CALLER: Any = SimpleNamespace(group="")


class Catalog:
    """What the upstreams offer, and how often that has changed."""

    def __init__(self) -> None:
        self.version = 1
        self.offered = {"main": [{"id": "one"}]}

    async def models(self) -> dict[str, list[dict[str, Any]]]:
        return self.offered


def generation(number: int) -> Any:
    return SimpleNamespace(number=number, access=SimpleNamespace(restricts=lambda caller: False))


async def test_the_last_list_is_told_while_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert await ids() == ["one"]  # at once: nothing was decided for it
    assert asked == []
    assert await ids() == ["one"]
    making = lists._making
    assert making is not None
    async with asyncio.timeout(10):
        await making
    assert len(asked) == 500  # made once, however many have asked
    assert len(await ids()) == 500
    assert len(await ids(2)) == 500  # another configuration: its own list, from its first call
    assert len(asked) == 1000
