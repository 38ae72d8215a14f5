"""The modules every request passes, compiled to machine code where a C compiler was at hand.

`python -m openai_proxy.compiled` has mypyc make one shared library of them, from the very sources that stand here; see
`build`. Without it everything works the same, interpreted; a plain request then costs about 1.4 times as much.

The library carries in its name a digest of the sources it was made from. So an edit, an update or another Python
cannot meet machine code of other sources: its name is not found, and the sources are run.
"""

import hashlib
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

MODULES = (
    "fastpath.eligible",
    "fastpath.handover",
    "fastpath.known_heads",
    "fastpath.fast_connection",
    "fastpath.send_plan",
    "fastpath.direct_relay",
    "exchange",
    "protocols.http1",
    "protocols.json_members",
    "records.reading.answer",
    "records.reading.body",
    "records.writing.chatlog",
    "records.writing.conversation",
    "records.reading.answer_formats",
    "records.recording.entry",
    "records.recording.short_line",
    "records.reading.event_templates",
    "records.counting.metrics",
    "records.recording.recorder",
    "records.writing.requests",
    "records.recording.recorder_thread",
    "records.reading.stream",
    "records.recording.traffic_class",
    "records.writing.textjson",
    "records.reading.tokens",
    "records.reading.decoding",
    "records.recording.finished_exchange",
    "runtime.generation",
    "runtime.leases",
    "runtime.state",
    "transforms.commands.mark",
    "transforms.redaction.hint",
    "transforms.redaction.parts",
    "transforms.redaction.redactor",
    "upstream.connection",
    "upstream.health",
    "upstream.keyring",
    "upstream.pool",
    "upstream.response",
    "upstream.watch",
)
"""Below `openai_proxy`. No two have the same last name: the library tells them apart by it."""

GROUP = "openai_proxy.compiled.hot__mypyc"
"""The library as mypyc's code names it: a module with nothing in it that anybody needs."""

PACKAGE = Path(__file__).parent.parent


def sources() -> list[Path]:
    """The files of MODULES, in that order."""
    return [PACKAGE.joinpath(*name.split(".")).with_suffix(".py") for name in MODULES]


def library() -> Path:
    """Where the library of the present sources for the present Python is, once it is built."""
    digest = hashlib.sha256(" ".join(MODULES).encode())
    for source in (*sources(), Path(__file__).with_name("build.py")):
        digest.update(source.read_bytes())
    return Path(__file__).with_name(f"hot-{digest.hexdigest()[:16]}{EXTENSION_SUFFIXES[0]}")


class Finder(MetaPathFinder):
    """Finds MODULES in the library. Everything else is left to Python's own finders.

    So are MODULES where the library is there but does not load: empty, or made for a newer C library.
    """

    def __init__(self, library: Path) -> None:
        self._library = str(library)
        self._names = frozenset(f"openai_proxy.{name}" for name in MODULES) | {GROUP}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """importlib.abc.MetaPathFinder."""
        if fullname not in self._names:
            return None
        if fullname != GROUP:
            try:
                importlib.import_module(GROUP)  # the first time it loads the library; once loaded, its file may go
            except ImportError:
                self._names = frozenset()
                return None
        return spec_from_file_location(fullname, self._library, loader=ExtensionFileLoader(fullname, self._library))


def use() -> bool:
    """Have MODULES come from the library; False, and nothing is changed, where there is none for these sources.

    Nor where OPENAI_PROXY_INTERPRETED is set: to measure the difference, or to see whether a fault lies in it.
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
