"""Which make targets build the compiled library: those that may take long do, `make run` does not."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.compiled import trees

ROOT = Path(__file__).resolve().parents[2]
BUILD = "-m openai_proxy.compiled"

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def make(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)}
    return subprocess.run(["make", *words], cwd=folder, env=environ, capture_output=True, text=True, timeout=60)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A small package with our Makefile and a `.venv` as `make venv` would leave it."""
    clone = trees.small(tmp_path)
    for name in ("Makefile", "pyproject.toml", "requirements.lock", "tests/requirements.lock"):
        (clone / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    python = clone / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for stamp in (".venv/.run", ".venv/.dev"):
        (clone / stamp).touch()
    return clone


@pytest.mark.parametrize("word", ["venv", "test", "bench"])
def test_slow_targets_build_the_library(clone: Path, word: str) -> None:
    assert BUILD in make(clone, "-n", word).stdout


@pytest.mark.parametrize("word", ["run", "check", "fix"])
def test_fast_targets_build_nothing(clone: Path, word: str) -> None:
    done = make(clone, "-n", word)
    assert ".venv/bin/" in done.stdout
    assert BUILD not in done.stdout


def test_the_page_is_built_while_the_daemon_serves(clone: Path) -> None:
    builder = clone / "openai_proxy/admin/page_build.py"
    builder.parent.mkdir(exist_ok=True)
    builder.write_text(
        "import pathlib, time\n"
        "end = time.monotonic() + 30\n"
        "while not pathlib.Path('serving').exists():\n"
        "    assert time.monotonic() < end, 'the daemon was kept waiting for the page'\n"
        "    time.sleep(0.01)\n"
        "pathlib.Path('built').touch()\n"
    )
    daemon = clone / ".venv/bin/openai-proxy"
    daemon.write_text("#!/bin/sh\ntouch serving\nuntil test -e built; do sleep 0.05; done\n")
    daemon.chmod(0o755)
    done = make(clone, "run")
    assert done.returncode == 0, done.stderr


def test_a_missing_compiler_is_one_sentence_and_no_failure(clone: Path) -> None:
    done = make(clone, "venv", "CC=/nonexistent")
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr.startswith("not compiled: there is no C compiler /nonexistent")
    assert done.stderr.count("\n") == 1


def test_clean_removes_libraries_finished_or_not(clone: Path) -> None:
    folder = clone / "openai_proxy/compiled"
    kept = sorted(folder.iterdir())
    for name in ("hot-0.cpython-311-x86_64-linux-gnu.so", "hot-1.unfinished"):
        (folder / name).touch()
    assert make(clone, "clean").returncode == 0
    assert sorted(folder.iterdir()) == kept
