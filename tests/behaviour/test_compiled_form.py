"""The daemon compiled and interpreted: a chat, a stream, a refusal and the log, byte for byte the same from both."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from openai_proxy.compiled import MODULES, library
from tests.compiled import trees
from tests.front.configurations import front_conf, serving
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.plays import DONE, completion, delta, plain, stream
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually


@pytest.fixture(scope="module", params=[pytest.param("compiled", marks=trees.needs_library), "interpreted"])
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def daemon(form: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    tree = trees.whole(tmp_path_factory.mktemp(form), with_library=form == "compiled")
    root = tmp_path_factory.mktemp("house")
    with serving(root, front_conf(upstream), "spliced", env={"PYTHONPATH": str(tree)}) as running:
        yield running


def test_the_daemon_runs_in_the_expected_form(form: str, daemon: Daemon) -> None:
    maps = Path(f"/proc/{daemon.process.pid}/maps").read_text()
    assert (f"/{library().name}\n" in maps) == (form == "compiled")
    assert "/hot-" in maps or form == "interpreted"
    suffixes = {path.suffix for path in trees.origins(Path(daemon._env["PYTHONPATH"]), *MODULES)}
    assert suffixes == {".so" if form == "compiled" else ".py"}


def test_a_chat(daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("Hello wörld 🚀")))
    answer = daemon.chat(play.model)
    assert (answer.status, answer.body) == (200, completion("Hello wörld 🚀"))
    assert play.wait().json()["model"] == play.model
    check_log(daemon, play.model, "Hello wörld 🚀")


def test_a_stream(daemon: Daemon, upstream: Upstream) -> None:
    events = [delta("Hello "), delta("wörld 🚀"), delta("", finish="stop"), DONE]
    play = upstream.play(stream(*events))
    answer = daemon.chat(play.model, stream=True)
    assert (answer.status, answer.body, answer.complete) == (200, b"".join(events), True)
    check_log(daemon, play.model, "Hello wörld 🚀")


def test_a_bad_request(daemon: Daemon) -> None:
    check_error(daemon.post("/v1/chat/completions", b'{"model": "m", "model": "n"}'), 400)
    check_error(daemon.post("/v1/chat/completions", b'{"model": '), 400, "invalid_json")


def check_log(daemon: Daemon, model: str, text: str) -> None:
    """Check that one request and its response are in the log."""

    def kinds() -> list[str]:
        return sorted(line["type"] for line in daemon.log_lines() if line["model"] == model)

    eventually(lambda: kinds() == ["request", "response"], "the request and its response are in the log")
    (response,) = [line for line in daemon.log_lines() if line["model"] == model and line["type"] == "response"]
    assert text in str(response)
