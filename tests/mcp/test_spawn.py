"""Starting a child: also one nobody wants any more is ended. What it writes to stderr is kept, bounded and clean."""

import asyncio
import logging
import os
import subprocess
import threading

import pytest

from openai_proxy.secrets import vault
from openai_proxy.tools.mcp import spawn
from openai_proxy.tools.mcp.spawn import KEPT_LINES, Child, StderrTail


def ignore(*_: object) -> None:
    """Nobody listens."""


async def test_a_start_that_is_cancelled_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[subprocess.Popen[bytes]] = []
    true_popen = spawn._popen

    def slow(*arguments: object) -> subprocess.Popen[bytes]:
        begun.set()
        assert go_on.wait(10)
        made.append(true_popen(*arguments))  # type: ignore[arg-type]  # handed on as they came
        return made[0]

    monkeypatch.setattr(spawn, "_popen", slow)
    streams = (ignore, ignore)
    start = asyncio.ensure_future(
        Child.start("sleep", ["60"], {"PATH": os.environ["PATH"]}, None, stdout=streams, stderr=streams)
    )
    assert await asyncio.to_thread(begun.wait, 10)
    start.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(start, 10)
    assert made[0].returncode == -9
    assert made[0].stdin is not None
    assert made[0].stdin.closed


async def test_a_start_that_is_cancelled_and_would_have_failed_is_only_cancelled() -> None:
    streams = (ignore, ignore)
    start = asyncio.ensure_future(
        Child.start("no-such-command", [], {"PATH": ""}, None, stdout=streams, stderr=streams)
    )
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(start, 10)


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
