"""A server's stderr."""

import logging

import pytest

from openai_proxy.secrets import vault
from openai_proxy.tools.mcp.stderr import KEPT_LINES, StderrTail


def test_the_last_lines_are_kept_however_they_come() -> None:
    tail = StderrTail("s")
    for byte in b"one\ntwo\nthr":
        tail.feed(bytes([byte]))
    assert tail.text() == "one\ntwo"
    tail.flush()
    assert tail.last_line() == "thr"


def test_a_flood_leaves_its_end_and_a_count() -> None:
    tail = StderrTail("s")
    tail.feed(b"".join(b"line %d\n" % number for number in range(10_000)))
    lines = tail.text().split("\n")
    assert len(lines) == KEPT_LINES
    assert lines[-1] == "line 9999"
    assert tail.unlogged > 9_000


def test_a_line_without_end_stays_small() -> None:
    tail = StderrTail("s")
    for _ in range(100):
        tail.feed(b"x" * 100_000)
    tail.flush()
    assert len(tail.text()) <= 500


def test_secrets_and_control_characters_are_taken_out(caplog: pytest.LogCaptureFixture) -> None:
    vault.learn(["sk-stderr-secret-1"])
    caplog.set_level(logging.DEBUG)
    tail = StderrTail("s")
    tail.feed(b"key sk-stderr-secret-1 \x1b[31mred \xff\n")
    assert "sk-stderr" not in tail.text() + caplog.text
    assert "\x1b" not in tail.text()
