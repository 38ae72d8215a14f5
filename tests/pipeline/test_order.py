"""The order of things for a request with a JSON body."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from openai_proxy.pipeline import order
from openai_proxy.pipeline.context import RequestContext
from openai_proxy.pipeline.document import Document


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("restricted", [False, True])
async def test_a_large_request_of_a_restricted_key_is_decided_off_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, large: bool, restricted: bool
) -> None:
    """The whole request is searched for model names, which takes half a second for a million values."""
    deciders: list[int] = []
    read = Document(b"{}", {"model": "m"}, b"{}")

    async def same(*_: Any) -> Document:
        return read

    async def nothing(*_: Any) -> None:
        return None

    for place, name, step in (
        (order, "_read", same),
        (order, "_command", same),
        (order, "_send", nothing),
        (order.redacting, "for_the_log", nothing),
        (order.redacting, "clean", same),
    ):
        monkeypatch.setattr(place, name, step)
    context = SimpleNamespace(
        large=large,
        restricted=restricted,
        opening=None,
        entry=SimpleNamespace(request=lambda _: None),
        requested_model=lambda members: members["model"],
        decide=lambda _: deciders.append(threading.get_ident()),
    )
    await order._serve_document(cast(RequestContext, context))
    assert [decider != threading.get_ident() for decider in deciders] == [large and restricted]
