"""A session is one conversation in the chat logs, however its id was sent, and is shown in readable form."""

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.behaviour.chat import Chat
from tests.behaviour.configurations import conf
from tests.conftest import DaemonFactory
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

pytestmark = pytest.mark.usefixtures("somebody_new")

NAMES: list[dict[str, Any]] = [
    {"extra_headers": {"X-Session-ID": "kitchen"}},
    {"metadata": {"session_id": "kitchen"}},
    {"user": "kitchen"},
    {},
]


def logs(daemon: Daemon, *arguments: str) -> str:
    """The output of `openai-proxy logs …`."""
    command = [sys.executable, "-m", "openai_proxy", "logs", *arguments, "--logs-dir", str(daemon.logs_dir)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(daemon.root)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environ, cwd=daemon.root, timeout=30)
    return done.stdout


@pytest.mark.parametrize("name", NAMES, ids=["header", "metadata", "user", "none"])
def test_a_session_with_commands_is_one_conversation(
    make_daemon: DaemonFactory, upstream: Upstream, name: dict[str, Any]
) -> None:
    daemon = make_daemon(conf(upstream))
    chat = Chat(daemon, "m-small", **name)
    chat.say("!/set(model=vendor/m-large)")
    chat.say("What is for dinner?")
    chat.say("!/set(backend=two) And for breakfast?")
    eventually(lambda: len(list(daemon.log_lines())) == 6, "three questions and their answers are in the log")
    conversations = {line["conversation_id"] for line in daemon.log_lines()}
    assert len(conversations) == 1
    if name:
        assert conversations == {"kitchen"}
    (conversation,) = conversations
    assert conversation in logs(daemon, "list")
    shown = logs(daemon, "show", conversation)
    for text in (
        "!/set(model=vendor/m-large)",
        "Model is now",
        "What is for dinner?",
        "And for breakfast?",
        "Hello world",
    ):
        assert text in shown


def test_an_augmented_models_answer_begins_with_the_notice(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("unused")), name="m")
    model = f"name: helper\nupstream_model: m-small\nsystem_prompt: Be kind.\ndescription: {play.model}\n"
    daemon = make_daemon(conf(upstream), files={"models/helper.yaml": model}, flags=["--interactive"])
    whole = Chat(daemon, "helper").say("Hi")
    assert whole.startswith("This is openai_proxy ")
    assert "helper" in whole
    assert whole.endswith("\n\nHello world")
    chat = Chat(daemon, "helper", stream=True)
    assert chat.say("Hi") == whole
    assert chat.answered_model == "helper"
    assert chat.say("And now?") == "Hello world"
    answer = daemon.chat("helper", stream=True)
    first, second = answer.body.split(b"\n\n")[:2]
    assert b'"delta":{"role":"assistant","content":""}' in first
    assert b"This is openai_proxy" in second
    assert answer.body.endswith(b"data: [DONE]\n\n")


def test_a_session_may_choose_an_augmented_model(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    play = upstream.play(plain(completion("from the play")))
    model = f"name: helper\nupstream_model: {play.model}\nsystem_prompt: Be kind.\n"
    daemon = make_daemon(conf(upstream), files={"models/helper.yaml": model})
    chat = Chat(daemon, "m-small")
    chat.say("!/set(model=helper, backend=two)")
    assert chat.say("Hi") == "from the play"
    seen = play.wait()
    assert seen.header("x-connection") == "two"
    assert seen.json()["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]
    assert chat.answered_model == "helper"
