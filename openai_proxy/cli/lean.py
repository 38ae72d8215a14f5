"""Imports that cost less than they would: called by `serve` before anything heavy is imported.

The daemon sits on small boards for months, so what start-up loads and nobody uses is worth leaving out: this saves
about 8 of 55 MB and a third of the time to ready.
"""

import importlib
import importlib.util
import os
import re
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
_ZONES = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo")
"""Where zones are unless Python was built to look elsewhere."""


def prepare() -> None:
    """Make aiohttp and pydantic come without what the daemon does not use of them."""
    # pydantic looks through the metadata of every installed distribution for plugins: 0.7 MB and some milliseconds.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if os.environ["PYDANTIC_DISABLE_PLUGINS"] == "__all__":
        _no_plugins()
    if "aiohttp" not in sys.modules:
        _defer_aiohttp()
    if "html" not in sys.modules:
        _defer("html", {"escape": _escape})  # 0.5 MB of names of characters, for the one function aiohttp wants
    if "urllib.request" not in sys.modules:
        _defer("urllib.request", {}, late=("getproxies", "proxy_bypass"))  # 0.4 MB for what aiohttp's client may call
    if "zoneinfo" not in sys.modules and "PYTHONTZPATH" not in os.environ and Path(_ZONES[0]).is_dir():
        _usual_zones()


def _no_plugins() -> None:
    """Stand in for the module that would look for plugins: it imports importlib.metadata, zipfile, csv (0.6 MB)."""
    loader = types.ModuleType("pydantic.plugin._loader")
    vars(loader)["get_plugins"] = lambda: ()
    sys.modules.setdefault(loader.__name__, loader)


def _usual_zones() -> None:
    """Tell zoneinfo, which pydantic imports, where zones are: else it reads all that Python was built with (0.2 MB)."""
    os.environ["PYTHONTZPATH"] = os.pathsep.join(_ZONES)
    importlib.import_module("zoneinfo")
    del os.environ["PYTHONTZPATH"]  # it is nothing to the programs we start


def _escape(s: str, quote: bool = True) -> str:
    """html.escape."""
    s = s.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return s.replace('"', "&quot;").replace("'", "&#x27;") if quote else s


def _defer_aiohttp() -> None:
    """Put off running aiohttp's package file, which imports its client: 7 MB, two TLS contexts, 70 ms.

    The server's modules are imported by their own names. Whoever asks the package for anything else (a custom tool
    that uses `aiohttp.ClientSession`, aiohttp-sse) gets the whole of it at that moment.
    """
    spec = importlib.util.find_spec("aiohttp")
    if spec is None or spec.origin is None:
        return
    version = _VERSION.search(Path(spec.origin).read_text(encoding="utf-8")[:2000])
    if version is not None:  # else it is not the aiohttp we know: import it as usual
        _defer("aiohttp", {"__version__": version[1]})


def _defer(name: str, known: dict[str, Any], late: tuple[str, ...] = ()) -> None:
    """Let the module `name` be imported without running its file, which happens when more than `known` is wanted.

    `late` are functions that run it when they are called.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return
    loader = spec.loader
    module = importlib.util.module_from_spec(spec)
    lock = threading.RLock()  # custom tools run in threads: two may ask first at the same time
    begun = False

    def load() -> None:
        nonlocal begun
        with lock:
            if not begun:
                begun = True
                loader.exec_module(module)
                if vars(module).get("__getattr__") is load_all:  # else it has one of its own now
                    del module.__getattr__

    def on_call(function: str) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            load()
            return getattr(module, function)(*args, **kwargs)

        return called

    def load_all(attribute: str) -> Any:
        if attribute.startswith("__") or (
            "__path__" in vars(module) and importlib.util.find_spec(f"{name}.{attribute}") is not None
        ):
            raise AttributeError(attribute)  # the import system then imports the submodule
        load()
        if attribute not in vars(module) and vars(module).get("__getattr__") is load_all:  # its own file asks, half run
            raise AttributeError(attribute)
        return getattr(module, attribute)

    vars(module).update(known, __getattr__=load_all, **{function: on_call(function) for function in late})
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)
