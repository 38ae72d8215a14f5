"""The names under which tools are offered, and which tools may be used."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.tools.mcp.tool import LIMIT, Globs, exposed_name, exposed_names

ACCEPTED = re.compile(r"[a-zA-Z0-9_-]{1,64}\Z")
SERVER = st.from_regex(r"[A-Za-z0-9_-]{1,32}", fullmatch=True)
TOOL = st.text(min_size=1, max_size=128)


def test_a_valid_name_is_unchanged() -> None:
    assert exposed_name("homeassistant", "light__HassLightSet") == "mcp_homeassistant_light__HassLightSet"
    assert exposed_name("remote-tools", "x") == "mcp_remote-tools_x"


def test_invalid_characters_are_replaced_and_names_stay_distinct() -> None:
    dotted, underscored = exposed_name("s", "a.b"), exposed_name("s", "a_b")
    assert dotted.startswith("mcp_s_a_b_")
    assert underscored == "mcp_s_a_b"


def test_a_long_name_keeps_its_tail() -> None:
    one = exposed_name("server", "x" * 80 + "_create_issue")
    two = exposed_name("server", "x" * 80 + "_delete_issue")
    assert one != two
    assert "create_issue_" in one
    assert len(one) <= LIMIT


@given(SERVER, TOOL)
def test_every_name_is_accepted_by_every_provider(server: str, tool: str) -> None:
    assert ACCEPTED.match(exposed_name(server, tool))


@given(SERVER, st.lists(TOOL, max_size=20), st.lists(SERVER, max_size=4))
def test_no_two_tools_share_a_name_and_the_order_is_stable(server: str, tools: list[str], others: list[str]) -> None:
    names = exposed_names(server, tools, [server, *others])
    assert sorted(names.values()) == sorted(set(tools))
    assert names == exposed_names(server, reversed(tools), [*others, server])
    assert list(names) == sorted(names)


def test_servers_with_nested_names_never_collide() -> None:
    one = exposed_names("a", ["b_c", "x"], ["a", "a_b"])
    two = exposed_names("a_b", ["c"], ["a", "a_b"])
    assert not one.keys() & two.keys()
    assert "mcp_a_x" in one
    assert "mcp_a_b_c" in two


@pytest.mark.parametrize(
    ("whitelist", "blacklist", "tool", "allowed"),
    [
        (None, None, "anything", True),
        ([], [], "anything", True),
        (["*Hass*"], None, "intent__HassTurnOn", True),
        (["*Hass*"], None, "GetLiveContext", False),
        (None, ["*Debug*"], "HassDebugDump", False),
        (["*"], ["call_*"], "call_action", False),
        (["call_action"], ["call_action"], "call_action", False),
        (["hass*"], None, "HassTurnOn", False),
        (["todo[._]get"], None, "todo.get", True),
    ],
)
def test_globs(whitelist: list[str] | None, blacklist: list[str] | None, tool: str, allowed: bool) -> None:
    assert Globs.of(whitelist, blacklist).allows(tool) is allowed


def test_a_new_name_replaces_the_tools_part() -> None:
    names = exposed_names("ha", ["HassLightSet", "b", "c"], ["ha"], {"HassLightSet": "light", "c": "b"})
    assert names["mcp_ha_light"] == "HassLightSet"
    assert names["mcp_ha_b"] == "b", "a renamed tool must not take the name of another tool"
    (taken,) = [name for name, tool in names.items() if tool == "c"]
    assert taken.startswith("mcp_ha_b_")
