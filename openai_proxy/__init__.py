"""openai_proxy: the LLM proxy for a home server.

This is what conf/tools/*.py may import: `from openai_proxy import ToolHandler, register_handler, tool`. Names are
looked up on demand, so importing the package alone stays cheap. `build_app` runs the proxy in another aiohttp program
(see openai_proxy.library).
"""

from typing import TYPE_CHECKING, Any

from openai_proxy import compiled
from openai_proxy.version import __version__

if TYPE_CHECKING:
    from openai_proxy.library import build_app
    from openai_proxy.tools.registry import ToolFailure, ToolHandler, register_handler, tool

__all__ = ["ToolFailure", "ToolHandler", "__version__", "build_app", "register_handler", "tool"]

compiled.use()


def __getattr__(name: str) -> Any:
    if name in ("ToolFailure", "ToolHandler", "register_handler", "tool"):
        from openai_proxy.tools import registry

        return getattr(registry, name)
    if name == "build_app":
        from openai_proxy.library import build_app

        return build_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
