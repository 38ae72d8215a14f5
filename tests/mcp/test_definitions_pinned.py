"""Accepted definitions of pinned servers survive a restart of the daemon."""

import logging
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from openai_proxy.tools.mcp.definitions import KnownTools, Listing, Pins, ToolDefinition
from openai_proxy.tools.mcp.supervisor import Supervisor
from tests.mcp.conftest import Supervised, eventually
from tests.mcp.test_supervisor import description, fault


def listing(**descriptions: str) -> Listing:
    schema = {"type": "object", "properties": {"x": {"type": "number", "minimum": 0.5}}}
    return Listing({name: ToolDefinition.of(name, text, schema) for name, text in descriptions.items()})


def texts(tools: Mapping[str, ToolDefinition] | None) -> dict[str, str]:
    return {name: tool.description for name, tool in (tools or {}).items()}


async def taken(path: Path, offered: Listing, *, pin: bool = True, accept: bool = False) -> KnownTools:
    """The tools of a server that offers `offered`, as one run of the daemon knows them."""
    pins = Pins(path)
    known = KnownTools("s", pins)
    if accept:
        known.accept()
    known.take(offered, identity="i", pin=pin)
    await pins.aclose()
    return known


async def test_definitions_changed_between_two_runs_are_withheld(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    assert not (await taken(path, listing(a="good", b="b"))).held
    known = await taken(path, listing(a="evil", b="b", c="new"))
    assert known.held == ("a",)
    assert texts(known.tools) == {"a": "good", "b": "b", "c": "new"}
    known = await taken(path, listing(a="evil", b="b", c="newer"))
    assert known.held == ("a", "c"), "c was accepted in the second run, so its change must be withheld"
    assert not (await taken(path, listing(a="good", b="b", c="new"))).held


async def test_definitions_accepted_by_the_owner_are_valid_from_then_on(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    await taken(path, listing(a="good"))
    assert not (await taken(path, listing(a="better"), accept=True)).held
    assert not (await taken(path, listing(a="better"))).held
    await taken(path, listing(a="other"), pin=False)
    assert not (await taken(path, listing(a="another"))).held, "definitions must not be remembered without pin"


async def test_another_server_is_not_affected(tmp_path: Path) -> None:
    pins = Pins(tmp_path / "pins.json")
    pins.keep("one", listing(a="x").tools)
    assert pins.of("two") is None
    await pins.aclose()
    assert texts(Pins(tmp_path / "pins.json").of("one")) == {"a": "x"}


async def test_the_file_is_private_and_has_the_last_of_many_changes(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    pins = Pins(path)
    for number in range(600):
        pins.keep(f"i{number}", listing(a=str(number)).tools)
    await pins.aclose()
    assert path.stat().st_mode & 0o777 == 0o600
    read = Pins(path)
    assert texts(read.of("i599")) == {"a": "599"}
    assert read.of("i0") is None, "the oldest identities must be dropped"


async def test_unchanged_definitions_are_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    await taken(path, listing(a="x"))
    before = path.stat().st_ino
    await taken(path, listing(a="x"))
    assert path.stat().st_ino == before


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"i": 1}', b'{"i": [["a"]]}', b'{"i": [[1, 2, 3]]}'])
async def test_a_damaged_file_is_reported_and_replaced(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "pins.json"
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert not (await taken(path, listing(a="x"))).held
    assert "cannot be read" in caplog.text
    assert texts(Pins(path).of("i")) == {"a": "x"}


async def test_an_unwritable_directory_harms_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    known = await taken(tmp_path / "none" / "pins.json", listing(a="x"))
    assert texts(known.tools) == {"a": "x"}
    assert "cannot be saved" in caplog.text


async def test_a_real_server_is_pinned_across_a_restart(supervised: Supervised, tmp_path: Path) -> None:
    path = tmp_path / "pins.json"
    supervised.supervisor = Supervisor(pins=path)
    await supervised.start(fault("changes", pin=True))
    assert description(supervised, "shifty") == "good"
    await supervised.supervisor.aclose()
    path.write_bytes(
        path.read_bytes().replace(b'"good"', b'"better"')
    )  # as if the server had offered "better" before the restart
    supervised.supervisor = Supervisor(pins=path)
    await supervised.start(fault("changes", pin=True))
    assert description(supervised, "shifty") == "better"
    assert supervised.status()["held_back"] == ["shifty"]
    supervised.supervisor.restart("fault")
    await eventually(lambda: supervised.status()["held_back"] == [] and supervised.status()["state"] == "ready")
    assert description(supervised, "shifty") == "good"
    await supervised.supervisor.aclose()
    assert b'"good"' in path.read_bytes()
    assert orjson.loads(path.read_bytes())
