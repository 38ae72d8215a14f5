"""explain and models, from files and against the running daemon."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from openai_proxy.cli.explain import command as explain
from openai_proxy.cli.models import command as models
from tests.auth.test_access_of_groups import conf
from tests.conftest import DaemonFactory
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

HELPER = """
name: augmented/helper
upstream_model: gpt-5
system_prompt: "You help. {{get_current_time()}}"
tools: [calculator]
client_tools: prefer
skills: [tidy]
params: {default: {temperature: 0.5}}
"""
SKILL = "---\nname: tidy\ndescription: Tidy up.\n---\nBe tidy.\n"


def configuration(upstream: Upstream) -> dict[str, Any]:
    found = conf(
        upstream,
        routing={"gpt*": ["main.*", "spare.fixed"], "gpt-late": "spare.*"},
        default_connection="main",
        groups={
            "small": {"api_keys": ["sk-small"], "allowed_models": "m-*", "limits": {"requests_per_minute": 5}},
            "all": {"api_keys": ["sk-all"]},
        },
        params={"default": {"top_p": 0.1}},
    )
    found["connections"]["spare"] = {"api_type": "echo", "params": {"drop": ["user"], "override": {"seed": 1}}}
    return found


@pytest.fixture
def made(upstream: Upstream, make_daemon: DaemonFactory) -> Any:
    return make_daemon(
        configuration(upstream), files={"models/helper.yaml": HELPER, "skills/tidy.md": SKILL}, start=False
    )


def run_command(command: Any, made: Any, *arguments: str) -> tuple[int, str]:
    options = ["--config-dir", str(made.conf_dir), "--env-file", str(made.root / ".env")]
    result = CliRunner().invoke(command, [*arguments, *options], standalone_mode=False)
    if result.exception is not None:
        return 1, str(result.exception)
    return int(result.return_value or 0), result.output


def test_a_model_routed_by_a_rule(made: Any) -> None:
    code, text = run_command(explain, made, "gpt-late")
    assert code == 0
    for line in (
        "gpt-late, requested by anyone",
        "  gpt*: decides",
        "  gpt-late: matches, but comes later",
        "  default connection 'main': not needed",
        "decided by: rule 'gpt*', ordered",
        "  main (openai): model gpt-late, 1 key, 0 retries",
        "    params default: top_p = 0.1",
        "  spare (echo): model fixed, no key, 2 retries",
        "    params dropped: user",
        "    params override: seed = 1",
    ):
        assert line in text.splitlines(), line


def test_an_augmented_model(made: Any) -> None:
    code, text = run_command(explain, made, "augmented/helper")
    assert code == 0
    for line in (
        "tools: calculator",
        "client_tools: of two tools with the same function, ours is left out",
        "skills (inject): tidy",
        "template calls: {{get_current_time()}}",
        "    params default: temperature = 0.5",
        "  main (openai): model gpt-5, 1 key, 0 retries",
        "  | You help. {{get_current_time()}}",
    ):
        assert line in text.splitlines(), line
    assert "upstream model gpt-5" in text
    assert "offered now: 1 tool, about " in text


def test_for_a_key(made: Any) -> None:
    code, text = run_command(explain, made, "gpt-5", "--key", "sk-small")
    assert code == 1
    assert "404: group 'small' may not use a model of this name" in text
    code, text = run_command(explain, made, "m-small", "--key", "sk-small")
    assert code == 0
    assert "limits: 5 requests per minute" in text
    assert run_command(explain, made, "gpt-5", "--key", "sk-wrong") == (1, "this key is not known here")


def test_models_queries_the_upstreams_without_a_daemon(made: Any, tmp_path: Path) -> None:
    code, text = run_command(models, made, "--state-dir", str(tmp_path))
    assert code == 0
    assert text.splitlines()[0] == "augmented/helper"
    assert "m-small" in text.splitlines()
    code, text = run_command(models, made, "--state-dir", str(tmp_path), "--key", "sk-small")
    assert text.splitlines() == ["m-small"]


def test_models_queries_the_running_daemon(made: Any) -> None:
    made.start()
    eventually(
        lambda: "m-small" in run_command(models, made, "--state-dir", str(made.state_dir))[1], "models are listed"
    )
    code, text = run_command(models, made, "--state-dir", str(made.state_dir), "--key", "sk-small")
    assert (code, text.splitlines()) == (0, ["m-small"])
