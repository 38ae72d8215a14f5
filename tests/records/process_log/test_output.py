"""The handler of the daemon's log: a style for each kind of output, no secrets, no forged lines."""

import io
import json
import logging
import os
import re
from typing import Any

import pytest

from openai_proxy.records.process_log.output import Colours, TerminalHandler, configure, style_of
from openai_proxy.secrets import vault

pytestmark = pytest.mark.usefixtures("root_logger")


def lines(style: str, *records: tuple[int, str], facts: Any = None) -> list[str]:
    stream = io.StringIO()
    output = TerminalHandler(stream, style)
    for level, text in records:
        record = logging.LogRecord("openai_proxy.daemon", level, "", 0, text, None, None)
        if facts is not None:
            record.facts = facts
        output.emit(record)
    output.close()
    return stream.getvalue().splitlines()


def test_a_pipe_gets_utc_and_no_color() -> None:
    (line,) = lines("plain", (logging.WARNING, "the disk is full"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ warning the disk is full", line)


def test_a_terminal_gets_local_time_and_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    (line,) = lines("terminal", (logging.ERROR, "the disk is full"))
    assert re.fullmatch(r"\x1b\[2m\d\d:\d\d:\d\d\x1b\[0m \x1b\[31merror\x1b\[0m: the disk is full", line)


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]) -> None:
    monkeypatch.setenv(*variable)
    (line,) = lines("terminal", (logging.ERROR, "the disk is full"))
    assert "\x1b" not in line


def test_journald_gets_priorities_and_no_time() -> None:
    output = lines("journal", (logging.INFO, "up"), (logging.WARNING, "odd"), (logging.ERROR, "down"))
    assert output == ["<6>up", "<4>odd", "<3>down"]


def test_json_is_one_object_a_line() -> None:
    (line,) = map(json.loads, lines("json", (logging.WARNING, "two\nlines")))
    assert line["level"] == "warning"
    assert line["logger"] == "openai_proxy.daemon"
    assert line["message"] == "two\nlines"


@pytest.mark.parametrize("style", ["plain", "terminal", "journal", "json"])
def test_no_line_is_forged_and_no_secret_shown(style: str) -> None:
    vault.learn(["sk-terminal-0123456789"])
    output = lines(style, (logging.INFO, "model \x1b[2J\r\n<0>fake sk-terminal-0123456789"))
    assert len(output) == 1
    assert "sk-terminal" not in output[0]
    assert "\x1b[2J" not in output[0]
    assert "\r" not in output[0]


@pytest.mark.parametrize("style", ["plain", "terminal", "journal"])
def test_repetitions_are_counted_at_the_end(style: str) -> None:
    output = lines(style, *[(logging.WARNING, "offline")] * 5)
    assert len(output) == 2
    assert output[1].endswith("offline (4 more like these)")


def test_repetitions_in_json_have_their_count() -> None:
    output = [json.loads(line) for line in lines("json", *[(logging.WARNING, "offline")] * 3)]
    assert [line.get("repeated") for line in output] == [None, 2]


class Heading:
    key = None
    subject = ("start",)
    bare = True

    def text(self, paint: Colours) -> str:
        return paint("strong", "one") + "\ntwo"

    def members(self) -> dict[str, Any]:
        return {"addresses": ["http://192.168.1.2:8000"]}


def test_a_heading_of_two_lines_is_one_line_only_in_json() -> None:
    assert lines("journal", (logging.INFO, "x"), facts=Heading()) == ["<6>one", "<6>two"]
    assert [line.split(" info ")[1] for line in lines("plain", (logging.INFO, "x"), facts=Heading())] == ["one", "two"]
    (line,) = map(json.loads, lines("json", (logging.INFO, "x"), facts=Heading()))
    assert line["message"] == "one\ntwo"
    assert line["addresses"] == ["http://192.168.1.2:8000"]


def test_a_closed_stream_raises_nothing() -> None:
    stream = io.StringIO()
    output = TerminalHandler(stream, "plain")
    stream.close()
    output.emit(logging.LogRecord("x", logging.INFO, "", 0, "text", None, None))
    output.close()


def test_the_journal_is_recognised_by_its_stream(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with (tmp_path / "journal").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert style_of(stream) == "plain"
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert style_of(stream) == "journal"


def test_a_terminal_in_a_desktop_service_is_not_the_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr("openai_proxy.records.process_log.output._is_terminal", lambda descriptor: descriptor == 0)
        assert style_of(stream) == "plain"
        monkeypatch.setattr("openai_proxy.records.process_log.output._is_terminal", lambda descriptor: False)
        assert style_of(stream) == "journal"


def test_a_terminal_with_an_inherited_journal_variable_is_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    primary, secondary = os.openpty()
    with os.fdopen(secondary, "w") as stream:
        assert style_of(stream) == "terminal"
    os.close(primary)


def test_configuring_replaces_the_old_handlers(root_logger: logging.Logger) -> None:
    stream = io.StringIO()
    configure("warning", "text", stream)
    logging.getLogger("openai_proxy.x").info("unseen")
    logging.getLogger("openai_proxy.x").warning("seen")
    assert stream.getvalue().count("\n") == 1
    assert "seen" in stream.getvalue()
