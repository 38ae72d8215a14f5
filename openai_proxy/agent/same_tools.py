"""Recognises tools of ours and of the client's with the same function by name (`client_tools` of a model file).

The same tool has one name in Home Assistant, another behind our prefix, and a third since 2026.9: `HassTurnOn`,
`mcp_homeassistant_HassTurnOn`, `intent__HassTurnOn`. So the part before the last double underscore is ignored, like our
own prefix and the case. `get_home_state` was `GetLiveContext` until 2025.6.
"""

from typing import Any, Final

_OLD_NAMES: Final = {"get_home_state": "getlivecontext"}


def common_name(name: str, tool: Any = None) -> str:
    """The common name of a tool called `name`; `tool` is our tool of that name, if there is one."""
    server = getattr(tool, "server", None)
    own = getattr(getattr(tool, "source", None), "name", None)
    if isinstance(server, str):
        name = own if isinstance(own, str) else name.removeprefix(f"mcp_{server}_")
    short = name.rpartition("__")[2] or name
    short = short.lower()
    return _OLD_NAMES.get(short, short)
