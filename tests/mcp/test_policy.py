"""Which tools may be used."""

import pytest

from openai_proxy.tools.mcp.policy import Globs


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
