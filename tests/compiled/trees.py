"""Copies of the package to edit, and a Python that uses only them."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from openai_proxy.compiled import PACKAGE, library
from openai_proxy.compiled.build import obstacle


def _built() -> bool:
    try:
        return library().exists()
    except OSError:  # a test reports which of MODULES is missing
        return False


needs_library = pytest.mark.skipif(not _built(), reason="the library is not built here: make venv says why")
needs_compiler = pytest.mark.skipif(
    obstacle() is not None or importlib.util.find_spec("mypyc") is None, reason=obstacle() or "mypyc is not installed"
)


def whole(root: Path, *, with_library: bool = False) -> Path:
    """Copy the package below `root`, which is returned."""
    shutil.copytree(PACKAGE, root / "openai_proxy", ignore=shutil.ignore_patterns("__pycache__", "hot-*"))
    if with_library:
        shutil.copy(library(), root / "openai_proxy" / "compiled")
    return root


GREETING = """
def greet(names: list[str]) -> str:
    first, second = (name.title() for name in names)
    return f"Hello {first} and {second}"
"""
"""A module that mypyc compiles with a warning: it turns the generator into a list."""


def small(root: Path) -> Path:
    """A package with the same name, finder and builder, but only one small module to compile: seconds, not a minute."""
    shutil.copytree(
        PACKAGE / "compiled", root / "openai_proxy/compiled", ignore=shutil.ignore_patterns("__*__", "hot-*")
    )
    for name in ("__init__.py", "__main__.py"):
        text = (PACKAGE / "compiled" / name).read_text()
        text = re.sub(r"^MODULES = \(.*?^\)", 'MODULES = ("api.greeting",)', text, flags=re.MULTILINE | re.DOTALL)
        (root / "openai_proxy/compiled" / name).write_text(text)
    shutil.copy(PACKAGE / "import_path.py", root / "openai_proxy")
    (root / "openai_proxy/__init__.py").write_text("from openai_proxy import compiled\n\ncompiled.use()\n")
    (root / "openai_proxy/api").mkdir()
    (root / "openai_proxy/api/__init__.py").touch()
    (root / "openai_proxy/api/greeting.py").write_text(GREETING)
    return root


def environ(tree: Path, **more: str) -> dict[str, str]:
    """The environment of a Python whose openai_proxy is that of `tree`."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(tree), "TMPDIR": str(tree), **more}


def python(tree: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run Python with the openai_proxy of `tree`."""
    command = [sys.executable, *words]
    return subprocess.run(
        command,
        cwd=tree,
        env=environ(tree, **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )


ORIGINS = """
import importlib, sys
for name in sys.argv[1:]:
    print(importlib.import_module("openai_proxy." + name).__file__)
"""


def origins(tree: Path, *names: str) -> set[Path]:
    """The files from which modules of `tree` were loaded."""
    done = python(tree, "-c", ORIGINS, *names)
    assert done.returncode == 0, done.stderr
    return set(map(Path, done.stdout.splitlines()))
