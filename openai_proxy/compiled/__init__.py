"""The modules on every request's path, compiled to machine code if a C compiler was available.

With `python -m openai_proxy.compiled` mypyc builds one shared library of them from the installed sources; see `build`.
Without it everything works the same, interpreted; a plain request then costs about 1.4 times as much.

The library's name contains a digest of its sources. So after an edit, an update or with another Python, outdated
machine code is never used: its name is not found, and the sources are run.
"""

import hashlib
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

MODULES = (
    "bounds",
    "dialects.chat.conversation_id",
    "fastpath.eligible",
    "fastpath.known_heads",
    "fastpath.fast_connection",
    "fastpath.send_plan",
    "fastpath.direct_relay",
    "exchange",
    "protocols.http1",
    "protocols.json_members",
    "records.writing.chatlog",
    "records.writing.conversation",
    "records.recording.entry",
    "records.recording.short_line",
    "records.reading.event_templates",
    "records.recording.recorder",
    "records.writing.request_contents",
    "records.recording.recorder_thread",
    "records.reading.stream",
    "records.recording.traffic_class",
    "records.reading.tokens",
    "runtime.generation",
    "runtime.leases",
    "runtime.state",
    "transforms.commands.mark",
    "transforms.redaction.hint",
    "transforms.redaction.parts",
    "transforms.redaction.redactor",
    "transforms.speech.filter",
    "transforms.speech.inline",
    "transforms.speech.lines",
    "transforms.speech.links",
    "transforms.speech.writer",
    "upstream.connection",
    "upstream.health",
    "upstream.keyring",
    "upstream.pool",
    "upstream.response",
    "upstream.watch",
)
"""Below `openai_proxy`. No two have the same last name, by which the library distinguishes them."""

GROUP = "openai_proxy.compiled.hot__mypyc"
"""The library's own module name in mypyc's code: an empty module."""

PACKAGE = Path(__file__).parent.parent


def sources() -> list[Path]:
    """The files of MODULES, in that order."""
    return [PACKAGE.joinpath(*name.split(".")).with_suffix(".py") for name in MODULES]


def library() -> Path:
    """The path of the library for the present sources and Python, whether it is built or not."""
    digest = hashlib.sha256(" ".join(MODULES).encode())
    for source in (*sources(), Path(__file__).with_name("build.py")):
        digest.update(source.read_bytes())
    return Path(__file__).with_name(f"hot-{digest.hexdigest()[:16]}{EXTENSION_SUFFIXES[0]}")


class Finder:
    """Finds MODULES in the library. Everything else is left to Python's own finders.

    So are MODULES if the library exists but does not load: empty, or built for a newer C library.
    """

    def __init__(self, library: Path) -> None:
        self._library = str(library)
        self._names = frozenset(f"openai_proxy.{name}" for name in MODULES) | {GROUP}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """As importlib.abc.MetaPathFinder, whose own module imports what takes 0.2 MB."""
        if fullname not in self._names:
            return None
        if fullname != GROUP:
            try:  # the first time this loads the library; once loaded, its file may be deleted
                importlib.import_module(GROUP)
            except ImportError:
                self._names = frozenset()
                return None
        return spec_from_file_location(fullname, self._library, loader=ExtensionFileLoader(fullname, self._library))


def use() -> bool:
    """Import MODULES from the library from now on; False, without any change, if there is none for these sources.

    Also if OPENAI_PROXY_INTERPRETED is set: to measure the difference, or to rule it out as the cause of a fault.
    """
    if os.environ.get("OPENAI_PROXY_INTERPRETED"):
        return False
    try:
        found = library()
    except OSError:  # sources that cannot be read: a zip, a stripped installation
        return False
    if not found.exists():
        return False
    sys.meta_path.insert(0, Finder(found))
    return True
