"""The process ends with its exit code, whatever its threads are doing."""

import subprocess
import sys

import pytest

ENDS = """
import sys, threading
from openai_proxy import __main__
__main__.PATIENCE = 0.05
print("said", flush=False)
threading.Thread(target=threading.Event().wait, daemon={daemon}).start()
__main__.leave({code})
"""


@pytest.mark.parametrize("daemon", [True, False])
@pytest.mark.parametrize("code", [0, 1])
def test_a_thread_that_never_ends_does_not_delay_the_end(daemon: bool, code: int) -> None:
    command = [sys.executable, "-c", ENDS.format(daemon=daemon, code=code)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "said\n", "")
