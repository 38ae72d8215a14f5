"""What a local worker inherits: what its libraries need, and none of our keys."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import uvloop

from openai_proxy.secrets import vault
from openai_proxy.upstream.local import process
from openai_proxy.upstream.local.process import WorkerProcess, worker_environment
from tests.harness.waiting import turning_until

OURS = {"PYTHONPATH", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM"}


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "HF_HOME", "TRANSFORMERS_CACHE", "CUDA_VISIBLE_DEVICES",
        "CUDA_HOME", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "PYTORCH_CUDA_ALLOC_CONF", "PYTHONUNBUFFERED", "https_proxy",
    ],
)  # fmt: skip
def test_needed_variables_pass(name: str) -> None:
    assert worker_environment({name: "x"})[name] == "x"


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "NOTIFY_SOCKET", "LISTEN_FDS",
        "CREDENTIALS_DIRECTORY", "LD_PRELOAD", "AWS_SECRET_ACCESS_KEY",
    ],
)  # fmt: skip
def test_our_own_variables_do_not(name: str) -> None:
    assert worker_environment({name: "x"}).keys() == OURS


def test_a_known_key_never_passes_under_a_harmless_name() -> None:
    vault.learn(["sk-local-in-a-harmless-place"])
    assert "HF_HOME" not in worker_environment({"HF_HOME": "/x/sk-local-in-a-harmless-place"})


def test_downloads_stay_off_and_pythonpath_passes() -> None:
    made = worker_environment({"HF_HUB_OFFLINE": "0", "PYTHONPATH": "/own"})
    assert made["HF_HUB_OFFLINE"] == "1"
    assert made["PYTHONPATH"].endswith(":/own")


async def test_a_running_worker_has_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", "sk-x")
    monkeypatch.setenv("HF_HOME", "/models")
    show = "import os,json; print(json.dumps({k: v for k, v in os.environ.items() if k[:2] in ('HF', 'SO')}))"
    worker = await WorkerProcess.start([sys.executable, "-c", show], "m")
    try:
        assert await worker.events.get() == {"HF_HOME": "/models", "HF_HUB_OFFLINE": "1"}
    finally:
        await worker.end()


async def test_a_worker_that_has_ended_is_killed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its descendants; a moment later its id may be that of another process."""
    killed: list[int] = []
    monkeypatch.setattr(process.os, "killpg", lambda group, signal: killed.append(group))
    worker = await WorkerProcess.start([sys.executable, "-c", ""], "m")
    assert await worker.events.get() is None
    assert killed == [worker.pid]
    await worker.end()
    assert killed == [worker.pid]


def test_a_worker_inherits_no_descriptor_of_ours() -> None:
    """On uvloop, whose own subprocess function passes every inheritable descriptor."""

    async def descriptors() -> Any:
        worker = await WorkerProcess.start([sys.executable, "-c", SHOW_DESCRIPTORS], "m")
        try:
            return await asyncio.wait_for(worker.events.get(), 10)
        finally:
            await worker.end()

    ours, other = os.pipe()
    try:
        os.set_inheritable(ours, True)
        said = uvloop.run(descriptors())
    finally:
        os.close(ours)
        os.close(other)
    assert said == {"open": [0, 1, 2]}


SHOW_DESCRIPTORS = """
import json, os
def is_open(fd):
    try:
        return os.fstat(fd) is not None
    except OSError:
        return False
print(json.dumps({"open": [fd for fd in range(1024) if is_open(fd)]}))
"""


async def test_children_of_a_worker_end_with_it() -> None:
    start = "import json, subprocess; print(json.dumps({'pid': subprocess.Popen(['sleep', '60']).pid}), flush=True)"
    worker = await WorkerProcess.start([sys.executable, "-c", start], "m")
    event = await asyncio.wait_for(worker.events.get(), 10)
    await worker.end()
    assert event is not None
    await turning_until(lambda: has_ended(event["pid"]), "the worker's own child has ended")


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
