"""What a local worker inherits: what its libraries ask for, and none of our keys."""

import sys

import pytest

from openai_proxy.secrets import vault
from openai_proxy.upstream.local.process import WorkerProcess, worker_environment

OURS = {"PYTHONPATH", "HF_HUB_OFFLINE", "TOKENIZERS_PARALLELISM"}


@pytest.mark.parametrize(
    "name",
    [
        "PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "HF_HOME", "TRANSFORMERS_CACHE", "CUDA_VISIBLE_DEVICES",
        "CUDA_HOME", "OMP_NUM_THREADS", "LD_LIBRARY_PATH", "PYTORCH_CUDA_ALLOC_CONF", "PYTHONUNBUFFERED", "https_proxy",
    ],
)  # fmt: skip
def test_what_a_worker_needs_passes(name: str) -> None:
    assert worker_environment({name: "x"})[name] == "x"


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "NOTIFY_SOCKET", "LISTEN_FDS",
        "CREDENTIALS_DIRECTORY", "LD_PRELOAD", "AWS_SECRET_ACCESS_KEY",
    ],
)  # fmt: skip
def test_what_is_ours_does_not(name: str) -> None:
    assert worker_environment({name: "x"}).keys() == OURS


def test_a_known_key_does_not_pass_under_a_harmless_name() -> None:
    vault.learn(["sk-local-in-a-harmless-place"])
    assert "HF_HOME" not in worker_environment({"HF_HOME": "/x/sk-local-in-a-harmless-place"})


def test_downloads_stay_off_and_the_owners_module_path_stays() -> None:
    made = worker_environment({"HF_HUB_OFFLINE": "0", "PYTHONPATH": "/own"})
    assert made["HF_HUB_OFFLINE"] == "1"
    assert made["PYTHONPATH"].endswith(":/own")


async def test_a_running_worker_sees_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", "sk-x")
    monkeypatch.setenv("HF_HOME", "/models")
    show = "import os,json; print(json.dumps({k: v for k, v in os.environ.items() if k[:2] in ('HF', 'SO')}))"
    worker = await WorkerProcess.start([sys.executable, "-c", show], "m")
    try:
        assert await worker.events.get() == {"HF_HOME": "/models", "HF_HUB_OFFLINE": "1"}
    finally:
        await worker.end()
