"""The matrix of real clients (`make clients`) runs, with a client that every checkout has."""

import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_library_of_the_development_environment_passes() -> None:
    command = [sys.executable, "-m", "tests.clients.matrix", "ollama py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("ollama py")]
    assert row.count("ok ") == 4
