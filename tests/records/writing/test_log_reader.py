"""`logs list` and `logs show`: the output for people."""

import json
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from openai_proxy.cli.logs import command
from openai_proxy.errors import UpstreamUnreachable
from openai_proxy.exchange import Attempt, Outcome, Target
from tests.records.conftest import JSON, SSE, Desk, event, exchange


def run(desk: Desk, *arguments: str) -> Result:
    desk.files()
    return CliRunner().invoke(command, [*arguments, "--logs-dir", str(desk.directory)], standalone_mode=False)


@pytest.fixture
def talk(desk: Desk) -> Desk:
    system = {"role": "system", "content": "You are kind."}
    hi = {"role": "user", "content": "what time is it?\nplease"}
    started = exchange(session_id="talk-1", created_at=time.time() - 60)
    usage = {"prompt_tokens": 50, "completion_tokens": 7}
    desk.ask(event("noon", finish="stop", usage=usage), [system, hi], headers=SSE, about=started)
    history = [system, hi, {"role": "assistant", "content": "noon"}, {"role": "user", "content": "and now?"}]
    entry = desk.recorder.open(exchange(session_id="talk-1", model="augmented/house"))
    entry.request(json.dumps({"messages": history}).encode())
    entry.tool_call("clock", {"zone": "UTC"}, "12:01", 1200, "ok")
    entry.response(200, SSE)
    entry.data(event("12:01"))
    entry.close(Outcome.CLIENT_CLOSED)
    desk.ask(b'{"error": {"message": "slow down"}}', status=429, headers=JSON, session_id="other")
    return desk


def test_the_list_has_one_line_per_conversation(talk: Desk) -> None:
    result = run(talk, "list")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert len(lines) == 3
    (line,) = [line for line in lines if "talk-1" in line]
    assert "augmented/house" in line
    assert "gpt-4o" in line
    assert "what time is it? please" in line
    (failed,) = [line for line in lines if "other" in line]
    assert "[1 failed]" in failed


def test_a_conversation_is_shown_once_and_in_order(talk: Desk) -> None:
    result = run(talk, "show", "talk-1")
    assert result.exit_code == 0, result.output
    text = result.output
    for once in (
        "You are kind.",
        "what time is it?",
        "noon",
        "and now?",
        'clock({"zone": "UTC"}) -> 12:01 (ok, 1.2 s)',
    ):
        assert text.count(once) == 1, once
    places = [text.index(part) for part in ("You are kind", "what time", "noon", "and now?", "clock(", "client_closed")]
    assert places == sorted(places)
    assert "50 tokens in, 7 out" in text
    assert "2 turns" in text


def test_the_beginning_of_an_id_is_enough_if_it_is_unique(talk: Desk) -> None:
    assert run(talk, "show", "tal").exit_code == 0
    talk.ask(event("x"), headers=SSE, session_id="talk-2")
    several = run(talk, "show", "tal")
    assert several.return_value == 1
    assert "talk-1" in several.output
    assert run(talk, "show", "talk-1").return_value == 0
    assert run(talk, "show", "nothing").return_value == 1


def test_any_part_of_an_id_is_enough_and_last_is_the_newest(talk: Desk) -> None:
    assert "conversation talk-1" in run(talk, "show", "alk-").output
    assert "conversation other" in run(talk, "show", "last").output


def test_without_conversations_last_has_an_explanation(desk: Desk) -> None:
    result = run(desk, "show", "last")
    assert result.return_value == 1
    assert "there is no conversation yet" in result.output


def test_a_failure_says_why_and_what_was_tried(desk: Desk) -> None:
    first, second = Attempt(Target("ollama", "llama3.2")), Attempt(Target("groq"))
    first.failed(UpstreamUnreachable("gone", cause="connection refused by 10.0.0.2:11434"))
    second.status, second.cause = 429, "slow down"
    desk.ask(b'{"error": {"message": "slow down"}}', status=429, session_id="failed", attempts=[first, second])
    text = run(desk, "show", "failed").output
    assert "429 slow down" in text
    assert "tried ollama.llama3.2: connection refused by 10.0.0.2:11434" in text
    assert "tried groq: 429 slow down" in text
    assert "tokens" not in text


def test_unknown_tokens_are_not_zero_in_the_list(desk: Desk) -> None:
    desk.ask(b'{"error": "x"}', status=500, session_id="odd")
    (line,) = [line for line in run(desk, "list").output.splitlines() if "odd" in line]
    assert "unknown" in line
    assert "0+0" not in line


def test_torn_lines_and_foreign_files_are_skipped(talk: Desk) -> None:
    for path in talk.files():
        with path.open("ab") as file:
            file.write(b'{"type": "response", "conversation_id": "talk-1", "content": "to')
    (talk.directory / "rows.jsonl").write_text('{"model": "x"}\n[]\nnonsense\n')
    result = run(talk, "show", "talk-1")
    assert result.return_value == 0
    assert "client_closed" in result.output
    assert len(run(talk, "list").output.splitlines()) == 3


def test_raw_records(talk: Desk) -> None:
    lines = run(talk, "show", "talk-1", "--json").output.splitlines()
    assert [json.loads(line)["type"] for line in lines] == ["request", "response", "request", "tool_call", "response"]


def test_control_characters_do_not_reach_the_terminal(desk: Desk) -> None:
    evil = "\x1b[2J\x9b1m\u202e\r"
    desk.ask(event(evil + "text"), [{"role": "user", "content": evil}], headers=SSE, session_id="s-" + "\x1b[31m")
    for arguments in (["list"], ["show", "s-"], ["show", "s-", "--json"]):
        assert not set(run(desk, *arguments).output) & set("\x1b\x9b\u202e\r")


def test_long_texts_are_cut_unless_requested(desk: Desk) -> None:
    desk.ask(event("y" * 5000), headers=SSE, session_id="s")
    assert "y" * 5000 not in run(desk, "show", "s").output
    assert "y" * 5000 in run(desk, "show", "s", "--full").output


def test_no_logs_yet(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["list", "--logs-dir", str(tmp_path / "none")])
    assert result.exit_code == 0
    assert "No chat logs" in result.output
