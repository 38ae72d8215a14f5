"""A wheel contains the library if that was requested and there is a C compiler; else it is pure Python, and works."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from openai_proxy.compiled import PACKAGE
from tests.compiled import trees

pytestmark = pytest.mark.slow
ROOT = PACKAGE.parent


def wheel(tree: Path, **env: str) -> tuple[Path, str]:
    """The wheel of a small package with this project's own setup.py, and the output of its build."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    shutil.copy(PACKAGE / "version.py", tree / "openai_proxy")
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation", "--no-index", "."]
    environ = {"PATH": trees.environ(tree)["PATH"], "PYTHONPATH": ":".join(filter(None, sys.path)), **env}
    done = subprocess.run(command, cwd=tree, env=environ, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (made,) = tree.glob("*.whl")
    return made, done.stdout + done.stderr


def unpacked(made: Path, root: Path) -> Path:
    zipfile.ZipFile(made).extractall(root)
    return root


@trees.needs_compiler
def test_with_a_compiler_the_wheel_contains_the_library(tmp_path: Path) -> None:
    made, _ = wheel(trees.small(tmp_path / "source"), OPENAI_PROXY_COMPILE="1")
    assert not made.name.endswith("py3-none-any.whl")
    tree = unpacked(made, tmp_path / "installed")
    (library,) = trees.origins(tree, "api.greeting")
    assert (library.parent, library.suffix) == (tree / "openai_proxy/compiled", ".so")


def test_without_a_compiler_it_is_pure_python(tmp_path: Path) -> None:
    made, printed = wheel(trees.small(tmp_path / "source"), OPENAI_PROXY_COMPILE="1", CC="/nonexistent")
    assert made.name.endswith("py3-none-any.whl")
    assert printed.count("not compiled: there is no C compiler /nonexistent") == 1
    tree = unpacked(made, tmp_path / "installed")
    assert trees.origins(tree, "api.greeting") == {tree / "openai_proxy/api/greeting.py"}


@pytest.mark.parametrize("env", [{}, {"OPENAI_PROXY_COMPILE": "0"}], ids=["by itself", "switched off"])
def test_by_default_nothing_is_compiled(tmp_path: Path, env: dict[str, str]) -> None:
    made, printed = wheel(trees.small(tmp_path / "source"), **env)
    assert made.name.endswith("py3-none-any.whl")
    assert "compiling what" not in printed
    assert "not compiled" not in printed
