"""How a plain request is built for its provider."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from openai_proxy.exchange import Target, UpstreamRequest
from openai_proxy.pipeline import passthrough
from openai_proxy.pipeline.context import RequestContext

TARGET = Target("up")


@pytest.mark.parametrize("large", [False, True])
async def test_only_a_large_request_is_built_off_the_event_loop(monkeypatch: pytest.MonkeyPatch, large: bool) -> None:
    """Checked for every endpoint because the Responses API once built large requests on the loop."""
    builders: list[int] = []

    def make(_: Target) -> UpstreamRequest:
        builders.append(threading.get_ident())
        return cast(UpstreamRequest, "built")

    async def open_first(targets: Any, make: passthrough.MakeRequest, *_: Any) -> Any:
        return make(targets[0])

    async def reserve(_: Any) -> None:
        return None

    monkeypatch.setattr(passthrough, "open_first", open_first)
    generation = SimpleNamespace(upstreams=None)
    context = SimpleNamespace(first=None, failed=None, large=large, generation=generation, exchange=None)
    context.reserve, context.begin = reserve, lambda decision: decision.route.targets
    decision = SimpleNamespace(route=SimpleNamespace(targets=(TARGET,)))
    assert await passthrough.ask(cast(RequestContext, context), cast(Any, decision), make) == cast(Any, "built")
    assert [builder != threading.get_ident() for builder in builders] == [large]
