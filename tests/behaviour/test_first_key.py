"""Contract §2: `echo` and the example stay available once there is a key, unless something else has their name."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.harness.daemon import CANARY
from tests.harness.plays import plain
from tests.harness.upstream import Upstream

STARTER = Path(__file__).resolve().parents[2] / "openai_proxy/config/starter"


def files() -> dict[str, str]:
    """The files that `init` writes, except proxy.yaml."""
    found = {path.relative_to(STARTER).as_posix(): path for path in STARTER.rglob("*") if path.is_file()}
    return {name: path.read_text() for name, path in found.items() if name != "proxy.yaml" and "pycache" not in name}


@pytest.mark.parametrize("routing", [{}, {"*": "up.*"}])
def test_the_offline_models_answer(make_daemon: DaemonFactory, upstream: Upstream, routing: dict[str, Any]) -> None:
    conf = {"connections": {"up": {"api_base": upstream.url, "api_key": CANARY}}, "routing": routing}
    daemon = make_daemon(conf, files=files())
    for model in ("echo", "augmented/example"):
        answer = daemon.chat(model, messages=[{"role": "user", "content": "Hello, house"}])
        assert answer.status == 200
        # The example's prompt contains the time, which is moved behind the newest message.
        assert answer.json()["choices"][0]["message"]["content"].partition("\n\nIt is 20")[0] == "Hello, house"
    assert daemon.chat("echo", stream=True).status == 200
    assert daemon.chat("anything-else").json()["choices"][0]["message"]["content"] != "Hello, house"


def test_the_offline_models_answer_with_a_key_in_the_environment(
    make_daemon: DaemonFactory, upstream: Upstream
) -> None:
    daemon = make_daemon("", files=files(), dotenv=f"BASE_URL={upstream.url}\nAPI_KEY={CANARY}\n")
    assert daemon.chat("augmented/example").status == 200
    assert daemon.chat("echo").status == 200


def test_a_routing_rule_of_the_same_name_takes_precedence(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    play = upstream.play(plain(b"{}"))
    conf = {"connections": {"up": {"api_base": upstream.url}}, "routing": {"echo": f"up.{play.model}"}}
    assert make_daemon(conf).chat("echo").status == 200
    assert play.wait().json()["model"] == play.model


def test_a_group_without_access_does_not_see_echo(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    key = "sk-client-0123456789"
    group = {"api_keys": [key], "allowed_connections": ["up"]}
    daemon = make_daemon({"connections": {"up": {"api_base": upstream.url}}, "groups": {"family": group}})
    assert daemon.chat("echo", headers=[("Authorization", f"Bearer {key}")]).status == 404
    assert daemon.chat("other", headers=[("Authorization", f"Bearer {key}")]).status == 200
