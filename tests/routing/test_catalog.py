"""Model lists: fetched in the background, served from memory, kept over restarts."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from openai_proxy.errors import UpstreamUnreachable
from openai_proxy.routing import catalog as catalog_module
from openai_proxy.routing.catalog import Catalog
from openai_proxy.store.shared import Shared
from tests.harness.waiting import PATIENCE, turning_until

A = [{"id": "a", "object": "model", "owned_by": "x"}]
B = [{"id": "b", "object": "model"}]


class Upstream:
    """Answers with a list or an error when the test allows it."""

    def __init__(self, answer: list[dict[str, Any]] | Exception, *, held: bool = False) -> None:
        self.answer = answer
        self.asked = 0
        self.free = asyncio.Event()
        if not held:
            self.free.set()

    async def __call__(self) -> list[dict[str, Any]]:
        self.asked += 1
        await self.free.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def until(true: Callable[[], object]) -> None:
    """Yield to other tasks until the condition holds."""
    await turning_until(true, "the condition of the test holds")


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    made = Catalog(tmp_path / "models.json")
    yield made
    await made.aclose()


async def test_a_first_list_is_waited_for(catalog: Catalog) -> None:
    catalog.follow({"one": Upstream(A), "two": Upstream(B)})
    assert await catalog.models() == {"one": A, "two": B}
    assert catalog.find("one", "a") == A[0]
    assert catalog.find("one", "b") is None
    assert catalog.find("nobody", "a") is None


async def test_the_wait_for_a_slow_upstream_is_short(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "FIRST_WAIT", 0.2)
    slow = Upstream(B, held=True)
    catalog.follow({"one": Upstream(A), "slow": slow})
    assert await catalog.models() == {"one": A, "slow": []}
    slow.free.set()
    await until(lambda: catalog.known()["slow"] == B)


async def test_a_late_list_is_not_waited_for_again(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "FIRST_WAIT", 1000.0)
    catalog.follow({"slow": Upstream(A, held=True)})
    later = time.monotonic() + 1000
    monkeypatch.setattr(catalog_module, "time", SimpleNamespace(monotonic=lambda: later))
    async with asyncio.timeout(PATIENCE):
        assert await catalog.models() == {"slow": []}


async def test_a_failing_upstream_is_not_waited_for_and_its_error_is_reported(catalog: Catalog) -> None:
    catalog.follow({"one": Upstream(A), "dead": Upstream(UpstreamUnreachable("It cannot be reached."))})
    assert await catalog.models() == {"one": A, "dead": []}
    assert catalog.error("dead") == "It cannot be reached."
    assert catalog.error("one") is None
    assert catalog.error("nobody") is None


async def test_an_upstream_that_never_answers_counts_as_failed(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog_module, "FETCH_TIMEOUT", 0.01)
    catalog.follow({"slow": Upstream(A, held=True)})
    await until(lambda: catalog.error("slow") is not None)
    assert catalog.error("slow") == "no answer within 0.01 s"


async def test_the_last_list_stays_while_an_upstream_is_down(catalog: Catalog) -> None:
    upstream = Upstream(A)
    catalog.follow({"one": upstream})
    await catalog.models()
    upstream.answer = UpstreamUnreachable("down")
    catalog.follow({"one": upstream}, frozenset({"one"}))
    await until(lambda: catalog.error("one"))
    assert await catalog.models() == {"one": A}


async def test_lists_survive_a_restart_while_the_upstream_is_down(tmp_path: Path) -> None:
    saved = tmp_path / "models.json"
    first = Catalog(saved)
    first.follow({"one": Upstream(A)})
    await first.models()
    await until(saved.exists)
    await first.aclose()
    second = Catalog(saved)
    second.follow({"one": Upstream(A, held=True), "new": Upstream(B)})
    assert await second.models() == {"one": A, "new": B}
    await second.aclose()


async def test_lists_that_come_at_once_are_all_saved(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    saved = tmp_path / "models.json"
    catalog = Catalog(saved)
    upstreams = {f"c{number}": Upstream(A, held=True) for number in range(30)}
    catalog.follow(upstreams)
    await until(lambda: all(upstream.asked for upstream in upstreams.values()))
    for upstream in upstreams.values():
        upstream.free.set()
    await until(
        lambda: (
            saved.exists() and saved.read_bytes() == orjson.dumps({"version": 1, "models": dict.fromkeys(upstreams, A)})
        )
    )
    await catalog.aclose()
    assert caplog.messages == []


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"null", b"\xff"])
async def test_a_damaged_state_file_is_ignored(tmp_path: Path, content: bytes) -> None:
    saved = tmp_path / "models.json"
    saved.write_bytes(content)
    catalog = Catalog(saved)
    catalog.follow({"one": Upstream(A)})
    assert await catalog.models() == {"one": A}
    await until(lambda: saved.read_bytes() == orjson.dumps({"version": 1, "models": {"one": A}}))
    await catalog.aclose()


async def test_an_edit_fetches_only_what_it_changed(catalog: Catalog) -> None:
    one, two, new = Upstream(A), Upstream(A), Upstream(B)
    catalog.follow({"one": one, "two": two})
    await catalog.models()
    catalog.follow({"one": one, "two": new}, frozenset({"two"}))
    await until(lambda: catalog.known()["two"] == B)
    assert (one.asked, two.asked, new.asked) == (1, 1, 1)


async def test_an_edit_ends_a_request_to_the_server_before_it(catalog: Catalog) -> None:
    old, new = Upstream(A, held=True), Upstream(B, held=True)
    catalog.follow({"one": old})
    await until(lambda: old.asked)
    catalog.follow({"one": new}, frozenset({"one"}))
    old.free.set()
    await until(lambda: new.asked)
    assert catalog.known() == {"one": []}, "models of the old server must not be listed for the new one"
    new.free.set()
    await until(lambda: catalog.known() == {"one": B})


async def test_a_removed_connection_is_forgotten_with_its_request(catalog: Catalog) -> None:
    gone = Upstream(A, held=True)
    catalog.follow({"gone": gone})
    await until(lambda: gone.asked)
    catalog.follow({"one": Upstream(B)})
    gone.free.set()
    assert await catalog.models() == {"one": B}
    assert catalog.find("gone", "a") is None


async def test_lists_are_refreshed_in_time(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog_module, "REFRESH", 0.0)
    monkeypatch.setattr(catalog_module, "RETRY", 0.0)
    upstream = Upstream(A)
    catalog.follow({"one": upstream})
    await until(lambda: upstream.asked >= 2)
    upstream.answer = B
    await until(lambda: catalog.known() == {"one": B})


async def test_without_connections_there_are_no_models_and_closing_twice_works(catalog: Catalog) -> None:
    assert await catalog.models() == {}
    catalog.follow({})
    assert await catalog.models() == {}
    await catalog.aclose()
    await catalog.aclose()


async def test_a_full_disk_is_harmless(tmp_path: Path) -> None:
    catalog = Catalog(tmp_path / "no such folder" / "models.json")
    catalog.follow({"one": Upstream(A)})
    assert await catalog.models() == {"one": A}
    await catalog.aclose()


async def test_daemons_share_their_lists(tmp_path: Path) -> None:
    one, two = Shared("one"), Shared("two")
    first, second = Catalog(), Catalog(tmp_path / "models.json")
    first.share(one)
    second.share(two)
    bases = {"one": "https://one.example/v1", "two": "https://two.example/v1"}
    first.follow({"one": Upstream(A), "two": Upstream(B)}, bases=bases)
    await first.models()
    dead = UpstreamUnreachable("down")
    second.follow({"one": Upstream(dead), "two": Upstream(dead)}, bases={**bases, "two": "https://else.example/v1"})
    assert await second.models() == {"one": [], "two": []}
    assert sorted(name for name, _ in one.tables["models"]._names()) == ["one", "two"]
    for name in ("one", "two", "three"):
        told = one.tables["models"].read(name)
        two.tables["models"].receive(name, 1.0, told[0] if told is not None else None)
    assert second.known() == {"one": A, "two": []}, "models of another server must not be taken over"
    await until((tmp_path / "models.json").exists)
    two.tables["models"].receive("one", 2.0, {"base": bases["one"], "models": ["a"]})
    assert second.known() == {"one": A, "two": []}, "a malformed model list must be ignored"
    await first.aclose()
    await second.aclose()
