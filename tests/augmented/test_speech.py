"""Spoken answers through the daemon: every API gets the same text, and nothing that cannot be spoken."""

import json
from typing import Any

import pytest

from tests.augmented.talk import MODE_IDS, MODES, ask, chat, conversation, says
from tests.conftest import DaemonFactory
from tests.front.configurations import connection
from tests.harness.daemon import Daemon
from tests.harness.plays import HOLD
from tests.harness.upstream import Upstream

both_modes = pytest.mark.parametrize("stream", MODES, ids=MODE_IDS)
MARKED = "**Six** lights are on [1]:\n\n- [Hall](https://a.example) 💡\n- `kitchen`\n\n| a | b |\n|---|---|\n| 1 | 2 |"
HEARD = "Six lights are on:\n\nHall.\nkitchen.\n\na, b.\n1, 2."


@both_modes
def test_no_markdown_reaches_the_client(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    play = conversation(upstream, ("**One** moment.", [("c1", "double", '{"number":3}')]), MARKED, stream=stream)
    assert chat(augmented_daemon, "spoken", play, stream=stream).content == f"One moment.\n\n{HEARD}"


@both_modes
def test_structured_output_is_unchanged(augmented_daemon: Daemon, upstream: Upstream, stream: bool) -> None:
    play = conversation(upstream, '{"a":"**b**"}', stream=stream)
    kind = {"response_format": {"type": "json_object"}}
    assert chat(augmented_daemon, "spoken", play, stream=stream, **kind).content == '{"a":"**b**"}'


@both_modes
def test_an_empty_answer_becomes_a_sentence_in_the_language_of_the_question(
    augmented_daemon: Daemon, upstream: Upstream, stream: bool
) -> None:
    asked: Any = [{"role": "user", "content": "Mach bitte das Licht an"}]
    play = conversation(upstream, "", stream=stream)
    assert (
        chat(augmented_daemon, "spoken", play, stream=stream, messages=asked).content
        == "Darauf habe ich keine Antwort."
    )
    seen = chat(augmented_daemon, "spoken", upstream.play(HOLD), stream=stream, messages=asked)
    assert seen.content == "Das hat leider zu lange gedauert."


def test_other_apis_get_the_same_text(augmented_daemon: Daemon, upstream: Upstream) -> None:
    play = upstream.rounds(says(MARKED, stream=False))
    body: dict[str, Any] = {"max_tokens": 99, "messages": [{"role": "user", "content": "Hi"}]}
    answer = ask(augmented_daemon, "augmented/spoken", play, stream=False, path="/v1/messages", **body)
    assert answer.json()["content"] == [{"type": "text", "text": HEARD}]


def test_unmarked_reasoning_is_recognised_after_a_restart(make_daemon: DaemonFactory, upstream: Upstream) -> None:
    """A lone `</think>` shows that a model has no opening tag, which is stored with its other lessons."""
    play = upstream.rounds(*[says("The user wants it.</think>It is on.", stream=True)] * 2, name="thinker")
    conf = {"connections": {"main": connection(upstream.url)}, "default_connection": "main"}
    model = f"name: augmented/voice\nupstream_model: {play.model}\nspeech: true\n"
    daemon = make_daemon(conf, files={"models/voice.yaml": model})
    chat(daemon, "voice", None, stream=True)
    daemon.stop()
    lessons = json.loads((daemon.state_dir / "lessons.json").read_text())
    assert play.model in lessons["main"]["thinking"]
    daemon.start()
    seen = chat(daemon, "voice", None, stream=True)
    assert (seen.content, seen.reasoning) == ("It is on.", "The user wants it.")
