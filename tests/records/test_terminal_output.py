"""The handler of the process's log: a style for each reader, nothing secret, nothing that could forge a line."""

import io
import json
import logging
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from openai_proxy.records.terminal.output import Paint, TerminalHandler, configure, style_of
from openai_proxy.secrets import vault


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, as it was before afterwards."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


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


def test_a_pipe_gets_utc_and_no_colour() -> None:
    (line,) = lines("plain", (logging.WARNING, "the disk is full"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ warning the disk is full", line)


def test_a_terminal_gets_local_time_and_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    (line,) = lines("terminal", (logging.ERROR, "the disk is full"))
    assert re.fullmatch(r"\x1b\[2m\d\d:\d\d:\d\d\x1b\[0m \x1b\[31merror\x1b\[0m: the disk is full", line)


@pytest.mark.parametrize("variable", [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_whoever_wants_no_colour_gets_none(monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]) -> None:
    monkeypatch.setenv(*variable)
    (line,) = lines("terminal", (logging.ERROR, "the disk is full"))
    assert "\x1b" not in line


def test_journald_gets_priorities_and_no_time() -> None:
    told = lines("journal", (logging.INFO, "up"), (logging.WARNING, "odd"), (logging.ERROR, "down"))
    assert told == ["<6>up", "<4>odd", "<3>down"]


def test_json_is_one_object_a_line() -> None:
    (line,) = map(json.loads, lines("json", (logging.WARNING, "two\nlines")))
    assert line["level"] == "warning"
    assert line["logger"] == "openai_proxy.daemon"
    assert line["message"] == "two\nlines"


@pytest.mark.parametrize("style", ["plain", "terminal", "journal", "json"])
def test_nothing_forges_a_line_or_shows_a_secret(style: str) -> None:
    vault.learn(["sk-terminal-0123456789"])
    told = lines(style, (logging.INFO, "model \x1b[2J\r\n<0>fake sk-terminal-0123456789"))
    assert len(told) == 1
    assert "sk-terminal" not in told[0]
    assert "\x1b[2J" not in told[0]
    assert "\r" not in told[0]


@pytest.mark.parametrize("style", ["plain", "terminal", "journal"])
def test_repeats_are_counted_at_the_end(style: str) -> None:
    told = lines(style, *[(logging.WARNING, "offline")] * 5)
    assert len(told) == 2
    assert told[1].endswith("offline (4 more like these)")


def test_repeats_as_json_carry_their_number() -> None:
    told = [json.loads(line) for line in lines("json", *[(logging.WARNING, "offline")] * 3)]
    assert [line.get("repeated") for line in told] == [None, 2]


class Heading:
    key = None
    subject = ("start",)
    bare = True

    def text(self, paint: Paint) -> str:
        return paint("strong", "one") + "\ntwo"

    def members(self) -> dict[str, Any]:
        return {"addresses": ["http://192.168.1.2:8000"]}


def test_a_heading_of_two_lines_is_two_lines_everywhere_but_in_json() -> None:
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


def test_the_journal_is_known_by_its_stream(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with (tmp_path / "journal").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert style_of(stream) == "plain"
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert style_of(stream) == "journal"


def test_a_desktop_terminal_that_is_a_service_itself_is_no_journal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    with (tmp_path / "log").open("w") as stream:
        monkeypatch.setattr("openai_proxy.records.terminal.output._is_terminal", lambda descriptor: descriptor == 0)
        assert style_of(stream) == "plain"
        monkeypatch.setattr("openai_proxy.records.terminal.output._is_terminal", lambda descriptor: False)
        assert style_of(stream) == "journal"


def test_a_terminal_is_one_also_where_the_variable_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    primary, secondary = os.openpty()
    with os.fdopen(secondary, "w") as stream:
        assert style_of(stream) == "terminal"
    os.close(primary)


def test_configuring_replaces_what_was_there(root: logging.Logger) -> None:
    stream = io.StringIO()
    configure("warning", "text", stream)
    logging.getLogger("openai_proxy.x").info("unseen")
    logging.getLogger("openai_proxy.x").warning("seen")
    assert stream.getvalue().count("\n") == 1
    assert "seen" in stream.getvalue()
