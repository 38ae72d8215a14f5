"""Makes imports cheaper; `serve` calls it before anything heavy is imported.

The daemon runs on small boards for months, so it is worth not loading what nobody uses: this saves about 10 of 55 MB
and a third of the start-up time.
"""

import importlib
import importlib.util
import os
import re
import sys
import threading
import types
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

_VERSION = re.compile(r'^__version__ = "([^"]+)"', re.MULTILINE)
_ZONES = ("/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo")
"""Where time zones are, unless Python was built to look elsewhere."""

_UNUSED = ("attr.validators", "calendar", "idna", "locale", "mimetypes", "ruamel.yaml", "sysconfig")
"""Modules that aiohttp, yarl and subprocess import but the daemon hardly needs, and the package file of our YAML
scanner, which imports loaders and dumpers. Together 1.6 MB; the 800 names in `locale` also make the table of interned
strings one size (0.5 MB) larger.
"""


def without_translations() -> None:
    """Import click without gettext, which looks for translations of its texts, finds none, and imports `locale`."""
    if "gettext" not in sys.modules:
        _defer("gettext", {"gettext": _gettext, "ngettext": _ngettext})


def prepare() -> None:
    """Import aiohttp and pydantic without the parts that the daemon does not use."""
    # pydantic searches the metadata of every installed distribution for plugins: 0.7 MB and some milliseconds.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if os.environ["PYDANTIC_DISABLE_PLUGINS"] == "__all__":
        _no_plugins()
    if "pydantic_core" not in sys.modules:
        _forget_shapes()
    if "aiohttp" not in sys.modules:
        _defer_aiohttp()
    if "html" not in sys.modules:
        _defer("html", {"escape": _escape})  # 0.5 MB of character names, for the one function that aiohttp needs
    if "urllib.request" not in sys.modules:
        _defer("urllib.request", {}, late=("getproxies", "proxy_bypass"))  # 0.4 MB that aiohttp's client may never need
    if "email.headerregistry" not in sys.modules:  # 0.5 MB, imported by aiohttp along with `email.policy`
        _defer("email.headerregistry", {"HeaderRegistry": _HeaderRegistry})
    for name in _UNUSED:
        if name not in sys.modules:
            _defer(name, {})
    if "tempfile" not in sys.modules:
        _without_temporary_files()
    if "zoneinfo" not in sys.modules and "PYTHONTZPATH" not in os.environ and Path(_ZONES[0]).is_dir():
        _usual_zones()


def _no_plugins() -> None:
    """Replace pydantic's plugin search, which imports importlib.metadata, zipfile and csv (0.6 MB)."""
    loader = types.ModuleType("pydantic.plugin._loader")
    vars(loader)["get_plugins"] = lambda: ()
    sys.modules.setdefault(loader.__name__, loader)


def _forget_shapes() -> None:
    """Free pydantic_core's type-checker descriptions of its schemas: 0.3 MB, reused by later allocations."""
    for shape in vars(importlib.import_module("pydantic_core.core_schema")).values():
        if isinstance(shape, type) and hasattr(shape, "__required_keys__"):
            shape.__annotations__ = {}


def _usual_zones() -> None:
    """Give zoneinfo, which pydantic imports, the zones' place: else it reads all of Python's build configuration."""
    os.environ["PYTHONTZPATH"] = os.pathsep.join(_ZONES)
    importlib.import_module("zoneinfo")
    del os.environ["PYTHONTZPATH"]  # must not reach the programs we start


def _escape(s: str, quote: bool = True) -> str:
    """html.escape."""
    s = s.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return s.replace('"', "&quot;").replace("'", "&#x27;") if quote else s


def _gettext(message: str) -> str:
    """gettext.gettext without a domain."""
    real = vars(sys.modules["gettext"])["gettext"]
    return message if real is _gettext else str(real(message))


def _ngettext(msgid1: str, msgid2: str, n: int) -> str:
    """gettext.ngettext, likewise."""
    real = vars(sys.modules["gettext"])["ngettext"]
    return (msgid1 if n == 1 else msgid2) if real is _ngettext else str(real(msgid1, msgid2, n))


class _HeaderRegistry:
    """Stands in for email.headerregistry.HeaderRegistry, which loads parsers for every e-mail field when first used."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._make = partial(_header_registry, *args, **kwargs)
        self._made: Any = None

    def _registry(self) -> Any:
        if self._made is None:
            self._made = self._make()
        return self._made

    def __getitem__(self, name: str) -> Any:
        return self._registry()[name]

    def __call__(self, name: str, value: str) -> Any:
        return self._registry()(name, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._registry(), name)


def _header_registry(*args: Any, **kwargs: Any) -> Any:
    # The stand-in does not know the first name; looking it up runs the module's file, so the second is the real one.
    from email.headerregistry import BaseHeader, HeaderRegistry  # noqa: F401

    return HeaderRegistry(*args, **kwargs)


def _defer_aiohttp() -> None:
    """Defer aiohttp's package file, which imports its client: 7 MB, two TLS contexts, 70 ms.

    The server's modules are imported by their own names. Code that needs anything else of the package (a custom tool
    that uses `aiohttp.ClientSession`, aiohttp-sse) loads the whole of it at that moment.
    """
    spec = importlib.util.find_spec("aiohttp")
    if spec is None or spec.origin is None:
        return
    version = _VERSION.search(Path(spec.origin).read_text(encoding="utf-8")[:2000])
    if version is not None:  # another aiohttp than the one we know is imported as usual
        _defer("aiohttp", {"__version__": version[1]})


def _without_temporary_files() -> None:
    """Import aiohttp's request module without tempfile, of which it only needs a class for uploaded form files.

    tempfile imports shutil, and with it every kind of archive: 0.5 MB. Only aiohttp gets the stand-in for the class.
    """
    name = "SpooledTemporaryFile"
    _defer("tempfile", {}, late=(name,))
    importlib.import_module("aiohttp.web_request")
    known = vars(sys.modules["tempfile"])
    if "__getattr__" in known:  # else the module has been imported meanwhile
        del known[name]


def _spec(name: str) -> ModuleSpec | None:
    """Where the module `name` is, without importing its parent packages."""
    path: Sequence[str] | None = None
    parts = name.split(".")
    for length in range(1, len(parts)):
        package = PathFinder.find_spec(".".join(parts[:length]), path)
        if package is None:
            return None
        path = package.submodule_search_locations
    return PathFinder.find_spec(name, path)


def _defer(name: str, known: dict[str, Any], late: tuple[str, ...] = ()) -> None:
    """Import the module `name` without running its file, which happens once more than `known` is needed.

    `late` are functions that run it when called. Its parent package is imported, except attr, which imports
    attr.validators itself.
    """
    spec = _spec(name)
    if spec is None or spec.loader is None:
        return
    loader = spec.loader
    module = importlib.util.module_from_spec(spec)
    lock = threading.RLock()  # custom tools run in threads: two may need it for the first time at once
    begun = False

    def load() -> None:
        nonlocal begun
        with lock:
            if not begun:
                begun = True
                loader.exec_module(module)
                if vars(module).get("__getattr__") is load_all:  # else it now has one of its own
                    del module.__getattr__

    def on_call(function: str) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            load()
            return getattr(module, function)(*args, **kwargs)

        return called

    def load_all(attribute: str) -> Any:
        if (attribute.startswith("__") and attribute != "__all__") or (
            "__path__" in vars(module) and importlib.util.find_spec(f"{name}.{attribute}") is not None
        ):
            raise AttributeError(attribute)  # the import system then imports the submodule
        load()
        if attribute not in vars(module) and vars(module).get("__getattr__") is load_all:  # its file is still running
            raise AttributeError(attribute)
        return getattr(module, attribute)

    vars(module).update(known, __getattr__=load_all, **{function: on_call(function) for function in late})
    sys.modules[name] = module
    parent, _, last = name.rpartition(".")
    if parent and parent != "attr":
        setattr(importlib.import_module(parent), last, module)
