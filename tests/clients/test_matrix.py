"""The matrix of real clients (`make clients`) runs, with the clients that every checkout has."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_libraries_of_the_development_environment_pass() -> None:
    command = [sys.executable, "-m", "tests.clients.matrix", "openai py, chat", "ollama py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("openai py", "ollama py"))]
    assert len(rows) == 2
    assert all(row.count("ok ") == 4 for row in rows)
