"""Issue 3 "Bad input": reported by `check` with its place, reported by the daemon alike, without effects on others."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.augmented.talk import chat, conversation
from tests.conftest import DaemonFactory
from tests.front.configurations import front_conf
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.upstream import Upstream

GOOD = "name: augmented/good\nupstream_model: m-good\ntools: [calculator]\n"

SCHEMA = """\
name: augmented/bad
tools:
  - type: function
    function:
      name: calculator
      parameters: {type: object, properties: {expression: {type: strin}}}
"""

BAD: dict[str, tuple[dict[str, str], str, str]] = {
    "unknown tool": (
        {"models/bad.yaml": "name: augmented/bad\ntools:\n  - get_current_time\n  - calculatr\n"},
        "models/bad.yaml:4:5",
        'no tool handler is called "calculatr" (did you mean "calculator"?)',
    ),
    "template calls a tool nobody has": (
        {"models/bad.yaml": "name: augmented/bad\nsystem_prompt: |\n  Hello\n  {{get_curent_time()}}\n"},
        "models/bad.yaml:4:3",
        "get_curent_time",
    ),
    "skill that does not exist": (
        {"models/bad.yaml": "name: augmented/bad\nskills: [python-exprt]\n", "skills/python-expert.md": "Hints.\n"},
        "models/bad.yaml:2:10",
        "python-expert",
    ),
    "schema that is no schema": ({"models/bad.yaml": SCHEMA}, "models/bad.yaml:3:5", "strin"),
    "two models of one name": (
        {"models/bad.yaml": "name: augmented/bad\n", "models/worse.yaml": "name: augmented/bad\n"},
        "models/worse.yaml:1:7",
        "augmented/bad",
    ),
    "a tool file with a mistake": ({"tools/broken.py": "def f(:\n    pass\n"}, "tools/broken.py:1:", "syntax"),
    "a tool file that fails": ({"tools/broken.py": "import os\nraise ValueError('no')\n"}, "tools/broken.py:2:", "no"),
    "a server nobody has": (
        {"models/bad.yaml": "name: augmented/bad\nmcp_servers: [nobody]\n"},
        "models/bad.yaml:2:15",
        "nobody",
    ),
    "an empty model file": ({"models/bad.yaml": ""}, "models/bad.yaml:1:1", ""),
    "no name": ({"models/bad.yaml": "tools: []\n"}, "models/bad.yaml:1:1", "name"),
    "a loop in the yaml": ({"models/bad.yaml": "name: &a [*a]\n"}, "models/bad.yaml:", ""),
}


def numbered(number: int, text: str) -> str:
    """`text` with unique names, so that all mistakes fit into one configuration."""
    return re.sub("bad|worse|broken", lambda found: f"{found[0]}{number}", text)


@pytest.fixture(scope="module")
def faulty_daemon(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A configuration with every mistake at once."""
    files = {"models/good.yaml": GOOD}
    for number, (mistakes, _, _) in enumerate(BAD.values()):
        files |= {numbered(number, name): numbered(number, text) for name, text in mistakes.items()}
    with Daemon(tmp_path_factory.mktemp("bad"), front_conf(upstream), files=files).serving(leaks=False) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def checked(faulty_daemon: Daemon) -> list[str]:
    """The output of `check`, line by line."""
    done = check(faulty_daemon)
    assert (done.returncode, done.stderr) == (1, "")
    return done.stdout.splitlines()


def check(daemon: Daemon) -> "subprocess.CompletedProcess[str]":
    """`openai-proxy check` on the daemon's conf."""
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(daemon.root)}
    command = [sys.executable, "-m", "openai_proxy", "check", "--config-dir", str(daemon.conf_dir)]
    return subprocess.run(
        command, env=environ, cwd=daemon.root, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("name", BAD)
def test_reported_with_its_place_while_the_others_serve(
    faulty_daemon: Daemon, checked: list[str], upstream: Upstream, name: str
) -> None:
    files, place, words = BAD[name]
    number = list(BAD).index(name)
    ours = [numbered(number, file) for file in files]
    problems = faulty_daemon.get("/admin/status").json()["config"]["problems"]
    assert len(problems) == len(checked) == len(BAD) + 1, "one problem each, and one more for the loop"
    problem = next(problem for problem in problems if any(problem["file"].endswith(file) for file in ours))
    where = f"{Path(problem['file'])}:{problem['line']}:{problem['column']}"
    assert f"/{numbered(number, place)}" in f"/{where}:"
    assert numbered(number, words).lower() in problem["message"].lower()
    line = next(line for line in checked if any(f"{file}:" in line for file in ours))
    assert line.endswith(f":{problem['line']}:{problem['column']}: {problem['message']}")
    play = conversation(upstream, [("c1", "calculator", '{"expression":"6*7"}')], "42.", stream=True)
    assert chat(faulty_daemon, "good", play, stream=True).content == "42."


def test_the_rest_of_a_bad_model_serves(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    """An unknown tool is left out, an unknown template stays as written."""
    bad = 'name: augmented/bad\ntools: [calculatr, calculator]\nsystem_prompt: "Say {{nobody()}}."\n'
    daemon = make_daemon(front_conf(upstream), files={"models/bad.yaml": bad})
    assert len(daemon.get("/admin/status").json()["config"]["problems"]) == 2
    play = conversation(upstream, "Fine.", stream=True)
    assert chat(daemon, "bad", play, stream=True).content == "Fine."
    (body,) = play.bodies()
    assert [tool["function"]["name"] for tool in body["tools"]] == ["calculator"]
    assert body["messages"][0]["content"] == "Say {{nobody()}}."


def test_a_valid_configuration_has_no_problems(augmented_daemon: Daemon) -> None:
    (problem,) = augmented_daemon.get("/admin/status").json()["config"]["problems"]
    assert "nobody_has_this" in problem["message"], "only the intended problem is expected"
    done = check(augmented_daemon)
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if ": warning: " not in line]
    assert "nobody_has_this" in line


def test_loggers_and_validators_are_checked(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    conf = front_conf(upstream, check_api_key="nobody.check", loggers=[{"class": "nobody.Logger", "entry": {}}])
    daemon = make_daemon(conf)
    problems = daemon.get("/health").status
    assert problems in (200, 401)
    done = check(daemon)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert any("check_api_key" in line or "nobody.check" in line for line in lines)
    assert any("loggers[0]" in line for line in lines)
    assert all(":" in line and "proxy.yaml:" in line for line in lines)
