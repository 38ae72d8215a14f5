"""Imports that cost less than they would: called by `serve` before anything heavy is imported.

The daemon sits on small boards for months, so what start-up loads and nobody uses is worth leaving out: this saves
about 8 of 55 MB and a third of the time to ready.
"""

import importlib.util
import os
import re
import sys
import types
from pathlib import Path
from typing import Any

_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)


def prepare() -> None:
    """Make aiohttp and pydantic come without what the daemon does not use of them."""
    # pydantic looks through the metadata of every installed distribution for plugins: 0.7 MB and some milliseconds.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if os.environ["PYDANTIC_DISABLE_PLUGINS"] == "__all__":
        _no_plugins()
    if "aiohttp" not in sys.modules:
        _defer_aiohttp()


def _no_plugins() -> None:
    """Stand in for the module that would look for plugins: it imports importlib.metadata, zipfile, csv (0.6 MB)."""
    loader = types.ModuleType("pydantic.plugin._loader")
    vars(loader)["get_plugins"] = lambda: ()
    sys.modules.setdefault(loader.__name__, loader)


def _defer_aiohttp() -> None:
    """Put off running aiohttp's package file, which imports its client: 7 MB, two TLS contexts, 70 ms.

    The server's modules are imported by their own names. Whoever asks the package for anything else (a custom tool
    that uses `aiohttp.ClientSession`, aiohttp-sse) gets the whole of it at that moment.
    """
    spec = importlib.util.find_spec("aiohttp")
    if spec is None or spec.loader is None or spec.origin is None:
        return
    version = _VERSION.search(Path(spec.origin).read_text(encoding="utf-8")[:2000])
    if version is None:  # not the aiohttp we know: import it as usual
        return
    loader = spec.loader
    package = importlib.util.module_from_spec(spec)

    def load_all(name: str) -> Any:
        if name.startswith("__") or importlib.util.find_spec(f"aiohttp.{name}") is not None:
            raise AttributeError(name)  # the import system then imports the submodule
        if "__getattr__" in vars(package):
            del package.__getattr__
            loader.exec_module(package)
        return getattr(package, name)

    vars(package).update(__version__=version[1], __getattr__=load_all)
    sys.modules["aiohttp"] = package
