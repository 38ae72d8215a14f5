from types import SimpleNamespace

import pytest

from openai_proxy.agent.same_tools import common_name

HASS = SimpleNamespace(server="ha", source=SimpleNamespace(name="intent__HassTurnOn"))


@pytest.mark.parametrize(
    "name", ["HassTurnOn", "intent__HassTurnOn", "INTENT__hassturnon", "mcp__homeassistant__HassTurnOn"]
)
def test_names_of_the_same_tool(name):
    assert common_name(name) == common_name("mcp_ha_intent__HassTurnOn", HASS) == "hassturnon"


def test_names_of_different_tools():
    assert common_name("HassTurnOff") != common_name("HassTurnOn")
    assert common_name("get_home_state") == common_name("homeassistant__GetLiveContext")
    assert common_name("odd__") == "odd__"
    plain = SimpleNamespace(name="calculator")
    assert common_name("calculator", plain) == common_name("Calculator") == "calculator"
