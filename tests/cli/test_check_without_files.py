"""A directory without a configuration is an error that names `init`, for `check` and for `serve`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.daemon import REPOSITORY


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environ = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(REPOSITORY), "HOME": str(folder)}
    command = [sys.executable, "-m", "openai_proxy", *words]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_missing_directory(tmp_path: Path, command: str) -> None:
    done = run(tmp_path, command, "--config-dir", "confg")
    assert done.returncode == 1
    assert "there is no such directory; `openai-proxy init confg` creates one" in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_directory_with_other_files(tmp_path: Path, command: str) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").touch()
    done = run(tmp_path, command, "--config-dir", "photos")
    assert done.returncode == 1
    assert "no proxy.yaml, models/, mcp/, skills/ or tools/ in this directory" in done.stdout + done.stderr


def test_an_empty_directory_is_a_problem_for_check(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    assert run(tmp_path, "check").returncode == 1
    (tmp_path / "conf/mine.py").touch()
    assert run(tmp_path, "check").returncode == 0
