"""Tools of ours and of the client's that do the same, told by their names (`client_tools` of a model file).

The same tool has one name in Home Assistant, another behind our prefix, and a third since 2026.9: `HassTurnOn`,
`mcp_homeassistant_HassTurnOn`, `intent__HassTurnOn`. So what stands before the last double underscore counts as little
as our own prefix and the case. `get_home_state` was `GetLiveContext` until 2025.6.
"""

from typing import Any, Final

_OLD_NAMES: Final = {"get_home_state": "getlivecontext"}


def common_name(name: str, tool: Any = None) -> str:
    """What a tool called `name` is called anywhere; `tool` is the one of the house that has the name, if one has."""
    server = getattr(tool, "server", None)
    own = getattr(getattr(tool, "source", None), "name", None)
    if isinstance(server, str):
        name = own if isinstance(own, str) else name.removeprefix(f"mcp_{server}_")
    short = name.rpartition("__")[2] or name
    short = short.lower()
    return _OLD_NAMES.get(short, short)
