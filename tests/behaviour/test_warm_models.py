"""Models with `warm: true` are loaded, and the fixed part of their prompt is read, before anyone asks."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from openai_proxy.cli.warm import command
from openai_proxy.pipeline.warm_schedule import seconds_of
from tests.augmented.talk import ask, names
from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.plays import completion, plain
from tests.harness.scripts import Play
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

USAGE = {"prompt_tokens": 1200, "completion_tokens": 1, "total_tokens": 1201,
         "prompt_tokens_details": {"cached_tokens": 900}}  # fmt: skip
ANSWER = plain(json.dumps({**json.loads(completion("H")), "usage": USAGE}).encode())


def conf(upstream: Upstream, **more: Any) -> dict[str, Any]:
    return {"connections": {"main": connection(upstream.url, **more)}, "default_connection": "main"}


def model(play: Play, prompt: str = "You are the house.", **more: Any) -> str:
    return json.dumps({
        "name": "augmented/home", "upstream_model": play.model, "warm": True, "tools": ["calculator"],
        "system_prompt": f"{prompt} Time: {{{{get_current_time(timezone=\"UTC\")}}}}", **more,
    })  # fmt: skip


def last_request(play: Play, count: int) -> dict[str, Any]:
    body: dict[str, Any] = play.wait(count).json()
    return body


@pytest.fixture
def daemon_and_play(upstream: Upstream, make_daemon: DaemonFactory) -> tuple[Daemon, Play]:
    play = upstream.rounds(*[ANSWER] * 9, name="warm")
    files = {"models/home.yaml": model(play, params={"override": {"temperature": 0.5}})}
    return make_daemon(conf(upstream), files=files), play


def test_at_start_with_the_beginning_of_a_turn(daemon_and_play: tuple[Daemon, Play]) -> None:
    daemon, play = daemon_and_play
    first = last_request(play, 1)
    assert first["max_tokens"] == 1
    assert "stream" not in first
    ask(daemon, "augmented/home", None, stream=False)
    turn = last_request(play, 2)
    for member in ("tools", "prompt_cache_key", "temperature"):
        assert turn[member] == first[member]
    assert names(turn) == ["calculator"]
    assert turn["messages"][0] == first["messages"][0] == {"role": "system", "content": "You are the house."}
    eventually(lambda: "augmented/home is warm on main" in daemon.stderr, "the warm-up is logged")


def test_after_an_edit_of_the_model_and_no_other(daemon_and_play: tuple[Daemon, Play], upstream: Upstream) -> None:
    daemon, play = daemon_and_play
    last_request(play, 1)
    path: Path = daemon.conf_dir / "models" / "home.yaml"
    (daemon.conf_dir / "models" / "other.yaml").write_text(f"name: augmented/other\nupstream_model: {play.model}\n")
    assert daemon.control("POST", "/admin/reload").status == 200
    path.write_text(model(play, "You are another house."))
    assert daemon.control("POST", "/admin/reload").status == 200
    assert last_request(play, 2)["messages"][0]["content"] == "You are another house."


def test_on_request(daemon_and_play: tuple[Daemon, Play], upstream: Upstream) -> None:
    daemon, play = daemon_and_play
    last_request(play, 1)
    broken = upstream.play(plain(b'{"error":{"message":"no"}}', "400 Bad Request"), name="broken")
    names = ["augmented/home", f"main:{play.model}", f"main:{broken.model}"]
    answer = daemon.control("POST", "/admin/warm", {"models": names})
    assert answer.status == 200
    first, plain_one, failed = answer.json()["models"]
    assert first.pop("seconds") >= 0
    assert first == {"model": "augmented/home", "connection": "main", "warm": True,
                     "prompt_tokens": 1200, "cached_tokens": 900}  # fmt: skip
    assert plain_one["warm"]
    assert last_request(play, 3) == {
        "model": play.model,
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 1,
    }
    assert failed == {"model": f"main:{broken.model}", "warm": False,
                      "error": "The connection 'main' answered with status 400."}  # fmt: skip
    for wrong in ({"models": "augmented/home"}, {"models": [1]}, [1]):
        assert daemon.control("POST", "/admin/warm", wrong).status == 400


def test_the_command(daemon_and_play: tuple[Daemon, Play], upstream: Upstream) -> None:
    daemon, play = daemon_and_play
    last_request(play, 1)

    def run(name: str) -> tuple[int, str]:
        options = ["--config-dir", str(daemon.conf_dir), "--state-dir", str(daemon.state_dir)]
        result = CliRunner().invoke(command, [name, *options], standalone_mode=False)
        return int(result.return_value), result.output

    code, told = run("augmented/home")
    assert code == 0
    assert told.startswith("augmented/home is warm on main after ")
    assert told.endswith("1,200 prompt tokens, 900 of them cached before\n")
    broken = upstream.play(plain(b'{"error":{"message":"no"}}', "400 Bad Request"), name="broken")
    code, told = run(f"main:{broken.model}")
    assert code == 1
    assert told.endswith("The connection 'main' answered with status 400.\n")


def test_after_idle_time(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    """The model would be unloaded after two seconds, so it gets a request a little earlier."""
    play = upstream.rounds(*[plain(OLLAMA)] * 50, name="silent")
    root = upstream.url.removesuffix("/v1")
    configuration = {"connections": {"box": connection(root, api_type="ollama", keep_alive="2s")}}
    make_daemon(configuration, files={"models/home.yaml": model(play)})
    for count in (1, 2):
        sent = last_request(play, count)
        assert sent["options"]["num_predict"] == 1
        assert sent["keep_alive"] == "2s"


OLLAMA = json.dumps({
    "model": "m", "created_at": "2026-11-29T00:00:00Z", "message": {"role": "assistant", "content": "H"},
    "done": True, "done_reason": "length", "prompt_eval_count": 12, "eval_count": 1,
}).encode()  # fmt: skip


def test_a_sleeping_machine_is_not_woken(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    play = upstream.rounds(*[ANSWER] * 3, name="asleep")
    wake = {"mac": "aa:bb:cc:dd:ee:ff", "broadcast": "127.0.0.1", "wait": 1}
    daemon = make_daemon(conf(upstream, wake=wake), files={"models/home.yaml": model(play)})
    named = {"models": ["augmented/home"]}
    assert daemon.control("POST", "/admin/warm", named).json()["models"][0]["warm"], (
        "the model is warm after a request for it"
    )
    assert len(play.requests) == 1


@pytest.mark.parametrize(
    ("given", "seconds"), [(None, None), (5, 5), (-1.0, -1.0), ("10m", 600), ("1h30m", 5400), ("-1", -1), ("1.5s", 1.5)]
)
def test_formats_of_keep_alive(given: Any, seconds: Any) -> None:
    assert seconds_of(given) == seconds
