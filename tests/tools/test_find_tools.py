"""Which tools are listed, and how the others are found."""

import time
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.find_tools import MAX_LISTED, ModelTools, OfferedTools, ToolIndex, deferred
from openai_proxy.tools.toolbox import Toolbox, Toolset


@dataclass
class Listed:
    name: str
    server: str | None = None
    description: str = ""
    arguments: tuple[str, ...] = ()

    @property
    def definition(self) -> dict[str, Any]:
        properties = {name: {"type": "string"} for name in self.arguments}
        parameters = {"type": "object", "properties": properties}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        return ToolResult(f"{self.name} ran")


class Found:
    def __init__(self) -> None:
        self.names: list[str] = []

    def found(self) -> list[str]:
        return self.names

    def add_found(self, names: Any) -> None:
        self.names += [name for name in names if name not in self.names]


def server(name: str, count: int, description: str = "") -> list[Listed]:
    return [Listed(f"mcp_{name}_t{n:03}", name, description) for n in range(count)]


def names(tools: Toolbox | OfferedTools) -> list[str]:
    return [definition["function"]["name"] for definition in tools.definitions()]


@pytest.mark.parametrize(
    ("tools", "policy", "hidden"),
    [
        ([*server("a", 30), *server("b", 10)], {}, ()),
        ([*server("a", 30), *server("b", 12)], {}, ("a",)),
        ([*server("a", 30), *server("b", 12)], {"a": False}, ("b",)),
        ([*server("a", 3), *server("b", 2)], {"a": True}, ("a",)),
        ([*server("a", 14, "x" * 4_000), *server("b", 2)], {}, ("a",)),
        ([*server("a", 50), *server("b", 45), *server("c", 44)], {}, ("a", "b", "c")),
        ([Listed(f"own{n}") for n in range(60)], {}, ()),
    ],
)
def test_the_largest_servers_leave_the_list(
    tools: list[Listed], policy: dict[str, Any], hidden: tuple[str, ...]
) -> None:
    found = deferred(Toolbox(tools), policy)
    assert (found.servers if found is not None else ()) == hidden


def test_the_owners_tool_of_that_name_wins() -> None:
    assert deferred(Toolbox([Listed("find_tools"), *server("a", 90)]), {}) is None


async def test_found_tools_are_appended_and_stay() -> None:
    tools = [*server("big", 50), Listed("mcp_big_dim_light", "big", "Dims one lamp."), Listed("zzz"), Listed("aaa")]
    found = Found()
    offered = ModelTools(Toolset(tools), {"big": "auto"}).offered(found)
    assert names(offered) == ["aaa", "find_tools", "zzz"]
    assert offered.get("mcp_big_t001") is not None, "a tool that is not listed must be callable all the same"
    result = await offered.run("find_tools", '{"query": "dim a lamp"}')
    assert "mcp_big_dim_light: Dims one lamp." in result.text
    assert names(offered) == ["aaa", "find_tools", "zzz", "mcp_big_dim_light"]
    await offered.run("find_tools", '{"query": "t001"}')
    assert names(offered)[:5] == ["aaa", "find_tools", "zzz", "mcp_big_dim_light", "mcp_big_t001"]
    assert (await offered.run("mcp_big_t001", "{}")).text == "mcp_big_t001 ran"


@pytest.mark.parametrize("arguments", ["{", '{"query": 3}', "{}", '{"query": "  "}'])
async def test_a_bad_search_is_an_error_and_an_empty_one_says_where_to_look(arguments: str) -> None:
    offered = ModelTools(Toolset(server("big", 50)), {"big": True}).offered(Found())
    assert (await offered.run("find_tools", arguments)).is_error
    nothing = await offered.run("find_tools", '{"query": "xyzzy"}')
    assert "Nothing was found" in nothing.text
    assert "big" in nothing.text


TOOLS = [
    Listed("mcp_ha_HassLightSet", "ha", "Sets the brightness or color of a light", ("brightness", "area")),
    Listed("mcp_ha_HassTurnOff", "ha", "Turns off a device", ("name",)),
    Listed("mcp_ha_GetLiveContext", "ha", "Provides real-time information about the state of devices"),
    Listed("mcp_cal_create_event", "cal", "Creates an entry in the calendar", ("start_time", "attendees")),
    Listed("mcp_mail_sendMessage", "mail", "Sends e-mail", ("recipient", "subject")),
    Listed("mcp_de_Rollladensteuerung", "de", "Fährt Rollläden"),
]


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("set the brightness of lights", "mcp_ha_HassLightSet"),
        ("HassTurnOff", "mcp_ha_HassTurnOff"),
        ("calendars", "mcp_cal_create_event"),
        ("attendee", "mcp_cal_create_event"),
        ("send a message", "mcp_mail_sendMessage"),
        ("Rollladen", "mcp_de_Rollladensteuerung"),
        ("steuerung", "mcp_de_Rollladensteuerung"),
        ("fahrt rolll", "mcp_de_Rollladensteuerung"),
    ],
)
def test_tools_are_found_by_name_description_and_argument(query: str, first: str) -> None:
    assert ToolIndex(TOOLS).search(query)[0] == first


@given(st.text(max_size=60))
def test_no_query_breaks_the_search(query: str) -> None:
    ToolIndex(TOOLS).search(query)


def test_a_thousand_tools_are_searched_in_milliseconds() -> None:
    words = ["light", "lamp", "door", "window", "music", "timer", "scene", "camera", "sensor", "vacuum"]
    tools = [
        Listed(f"mcp_s{n % 20}_{words[n % 10]}_{n}", f"s{n % 20}", f"Controls the {words[n % 7]} number {n} " * 8)
        for n in range(1000)
    ]
    index = ToolIndex(tools)
    index.search("warm up")
    began = time.process_time()
    for word in words:
        assert index.search(f"turn on the {word} in the kitchen")
    assert time.process_time() - began < 10 * 0.05, "ten searches took over 500 ms of CPU time; one takes about 1 ms"


def test_counts_are_written_as_text() -> None:
    told = ModelTools(Toolset([*server("big", 50), Listed("own")]), {"big": "auto"}).summary()
    assert told.startswith("51 tools: 2 listed, about ")
    assert "50 of big found by find_tools" in told
    assert ModelTools(Toolset(server("a", 2)), {}).summary().startswith("2 tools, about ")
    assert MAX_LISTED == 40
