"""`python -m openai_proxy.compiled`: one line with the result, exit status 0, and nothing left half done."""

import os
import shutil
import signal
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from openai_proxy.compiled import build
from tests.compiled import trees
from tests.harness.waiting import eventually

pytestmark = pytest.mark.slow

OTHERS = f"hot-0{EXTENSION_SUFFIXES[0]}", "hot-0.cpython-39-other.so"
"""Libraries that existed before: of older sources, and of another Python."""


def libraries(tree: Path) -> list[str]:
    """The libraries beside the builder's own files, finished or not."""
    return sorted(path.name for path in (tree / "openai_proxy/compiled").glob("hot*"))


def builder(tree: Path, *words: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return trees.python(tree, *words, "-m", "openai_proxy.compiled", **env)


def left_out(tree: Path, *words: str, **env: str) -> str:
    """The sentence that says why nothing was built. Nothing may be left, neither there nor among temporary files."""
    before = sorted(tree.iterdir())
    done = builder(tree, *words, **env)
    assert (done.returncode, done.stdout, libraries(tree)) == (0, "", []), done.stderr
    assert sorted(tree.iterdir()) == before
    said = done.stderr.removeprefix(f"{PROGRESS}\n")
    assert said.startswith("not compiled: ")
    assert said.count("\n") == 1
    assert trees.origins(tree, "api.greeting") == {tree / "openai_proxy/api/greeting.py"}
    return said.removeprefix("not compiled: ").rstrip()


PROGRESS = "compiling the modules on every request's path: about a minute, once"


def script(path: Path, text: str) -> str:
    """A script that acts as the compiler."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return trees.small(tmp_path)


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, subprocess.CompletedProcess[str]]":
    """A tree with its library built, beside others, and the output."""
    tree = trees.small(tmp_path_factory.mktemp("built"))
    for name in OTHERS:
        (tree / "openai_proxy/compiled" / name).touch()
    return tree, builder(tree)


@trees.needs_compiler
def test_it_only_prints_the_librarys_path(first: "tuple[Path, subprocess.CompletedProcess[str]]") -> None:
    tree, done = first
    assert (done.returncode, done.stderr) == (0, f"{PROGRESS}\n")
    (library,) = trees.origins(tree, "api.greeting")
    assert done.stdout == f"{library}\n"
    assert os.access(library, os.R_OK | os.X_OK)
    assert str(tree).encode() not in library.read_bytes()
    said = trees.python(tree, "-c", "from openai_proxy.api.greeting import greet; print(greet(['ann', 'bob']))")
    assert said.stdout == "Hello Ann and Bob\n"


@trees.needs_compiler
def test_only_older_libraries_of_this_python_are_removed(
    first: "tuple[Path, subprocess.CompletedProcess[str]]",
) -> None:
    tree, done = first
    assert libraries(tree) == sorted([Path(done.stdout.strip()).name, OTHERS[1]])
    assert {path.name for path in tree.iterdir()} == {"openai_proxy"}  # TMPDIR


@trees.needs_compiler
def test_an_existing_library_needs_no_compiler(first: "tuple[Path, subprocess.CompletedProcess[str]]") -> None:
    tree, done = first
    again = builder(tree, CC="/nonexistent")
    assert (again.returncode, again.stdout, again.stderr) == (0, done.stdout, "")


@trees.needs_compiler
def test_a_library_that_does_not_load_is_rebuilt(
    first: "tuple[Path, subprocess.CompletedProcess[str]]", tree: Path
) -> None:
    damaged = tree / "openai_proxy/compiled" / Path(first[1].stdout.strip()).name
    damaged.touch()
    assert builder(tree).stdout == f"{damaged}\n"
    assert trees.origins(tree, "api.greeting") == {damaged}


def test_a_missing_compiler(tree: Path) -> None:
    assert "no C compiler /nonexistent" in left_out(tree, CC="/nonexistent")


def test_no_compiler_on_the_path(tree: Path) -> None:
    assert "no C compiler" in left_out(tree, PATH=str(tree))


def test_no_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", sys.executable)  # any existing program
    assert build.obstacle() is None or "headers" in str(build.obstacle())
    monkeypatch.setattr(build.sysconfig, "get_path", lambda name: "/nonexistent")
    assert "apt install python3-dev" in str(build.obstacle())


def test_no_mypyc(tree: Path) -> None:
    compiler = script(tree / "cc", "exit 1")
    reason = "Python's headers" if build.obstacle() else "mypyc is not installed"
    assert reason in left_out(tree, "-S", CC=compiler)  # -S: without site-packages


@trees.needs_compiler
def test_a_source_that_does_not_compile(tree: Path) -> None:
    (tree / "openai_proxy/api/greeting.py").write_text("def greet(name: str) -> int:\n    return name\n")
    assert left_out(tree).startswith("openai_proxy/api/greeting.py:2: error: Incompatible return value")


@trees.needs_compiler
def test_a_compiler_that_fails(tree: Path) -> None:
    compiler = script(tree / "cc", "echo noise; echo 'hot.c:1: error: out of luck' >&2; echo more; exit 1")
    assert left_out(tree, CC=compiler) == "hot.c:1: error: out of luck"


@trees.needs_compiler
def test_a_compiler_that_dies_silently(tree: Path) -> None:
    compiler = script(tree / "cc", "kill -9 $$")
    assert str(compiler) in left_out(tree, CC=compiler)  # setuptools' message depends on its version


@trees.needs_compiler
def test_sources_edited_during_the_build(tree: Path) -> None:
    source = tree / "openai_proxy/api/greeting.py"
    compiler = script(tree / "cc", f'echo >> {source}; exec cc "$@"')
    assert left_out(tree, CC=compiler) == "the sources were edited meanwhile"


@trees.needs_compiler
def test_a_read_only_directory(tree: Path) -> None:
    mortal = []
    if os.geteuid() == 0:  # root may write anywhere, unless it drops that capability
        mortal = ["setpriv", "--bounding-set=-dac_override", "--"]
        if shutil.which("setpriv") is None or subprocess.run([*mortal, "true"], capture_output=True).returncode:
            pytest.skip("root cannot be kept from writing here: setpriv does not work")
    folder = tree / "openai_proxy/compiled"
    folder.chmod(0o555)
    command = [*mortal, sys.executable, "-m", "openai_proxy.compiled"]
    done = subprocess.run(command, cwd=tree, env=trees.environ(tree), capture_output=True, text=True, timeout=60)
    folder.chmod(0o755)
    assert (done.returncode, done.stderr) == (0, f"not compiled: {folder} is read-only\n")
    assert libraries(tree) == []


@trees.needs_compiler
def test_aborting_the_build_leaves_nothing_behind(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside")
    begun, over = outside / "begun", outside / "over"
    compiler = script(outside / "cc", f"touch {begun}; while ! [ -e {over} ]; do sleep 0.05; done; exit 1")
    command = [sys.executable, "-m", "openai_proxy.compiled"]
    with subprocess.Popen(command, cwd=tree, env=trees.environ(tree, CC=compiler), stderr=subprocess.PIPE) as process:
        eventually(begun.exists, "the compiler is running")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
        over.touch()
        assert process.stderr is not None
        assert process.stderr.read().decode() == f"{PROGRESS}\n"
    assert libraries(tree) == []
    assert {path.name for path in tree.iterdir()} == {"openai_proxy"}


def test_check_reports_the_prerequisites_without_building(tree: Path) -> None:
    command = "-m", "openai_proxy.compiled", "--check"
    refused = trees.python(tree, *command, CC="/nonexistent")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("not compiled: there is no C compiler")
    if build.obstacle() is None:
        granted = trees.python(tree, *command)
        assert (granted.returncode, granted.stdout, granted.stderr) == (0, "", "")
    assert libraries(tree) == []
