"""Our use of undocumented parts of libraries: in one file per library, and still as we expect them.

For aiohttp see tests/server/test_connection.py, for the MCP SDK tests/mcp/test_sdk_internals.py.
"""

import ast
import importlib.metadata
import inspect
import threading
from collections.abc import Iterator
from pathlib import Path

import openai_proxy
from openai_proxy.runtime.watcher import notifier

PACKAGE = Path(openai_proxy.__file__).parent

MAY_REACH = {"server/connection.py", "tools/mcp/sdk_internals.py"}
"""The files that use private members of foreign objects."""

DOCUMENTED = {"os._exit", "_replace"}
"""Names that begin with an underscore but are documented."""


def test_no_other_file_uses_private_members_of_foreign_objects() -> None:
    found = {
        f"{name}:{node.lineno}: {ast.unparse(node)}"
        for path in PACKAGE.rglob("*.py")
        if (name := str(path.relative_to(PACKAGE))) not in MAY_REACH
        for node in foreign(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert not found


def foreign(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Private members that the file itself does not define: not of self, nor of a class or function in it."""
    nodes = list(ast.walk(tree))
    ours = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    ours |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    ours |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and is_self(node.value)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            by_super = isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "super"
            if (by_super or node.attr not in ours) and not DOCUMENTED & {node.attr, ast.unparse(node)}:
                yield node


def is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_watchfiles_notifier_is_the_one_its_own_package_uses(tmp_path: Path) -> None:
    """runtime/watcher.py loads the extension module alone."""
    import watchfiles.main

    assert importlib.metadata.version("watchfiles").split(".")[0] == "1"
    assert notifier() is watchfiles.main.RustNotify
    stop = threading.Event()
    with notifier()([str(tmp_path)], False, False, 300, True, True) as notify:
        assert notify.watch(10, 5, 20, stop) == "timeout"


def test_pydantic_looks_for_plugins_in_the_module_that_we_replace() -> None:
    """cli/lean.py replaces the module that searches all installed distributions."""
    from pydantic.plugin import _loader, _schema_validator

    assert importlib.metadata.version("pydantic").split(".")[0] == "2"
    assert not inspect.signature(_loader.get_plugins).parameters
    assert "from ._loader import get_plugins" in inspect.getsource(_schema_validator)


def test_the_postponed_package_files_are_as_expected() -> None:
    """cli/lean.py provides `aiohttp.__version__` itself, from the text of the package file."""
    import aiohttp

    from openai_proxy.cli.lean import _VERSION

    found = _VERSION.search(Path(aiohttp.__file__).read_text(encoding="utf-8")[:2000])
    assert found is not None
    assert found[1] == aiohttp.__version__
