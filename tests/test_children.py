"""Starting child processes: one that is not wanted any more is ended, too. Its stderr is kept, bounded and cleaned."""

import asyncio
import io
import logging
import os
import subprocess
import threading

import pytest
import uvloop

from openai_proxy import children
from openai_proxy.children import KEPT_LINES, Child, StderrTail
from openai_proxy.secrets import vault
from tests.harness.waiting import PATIENCE


def ignore(*_: object) -> None:
    """Ignores everything."""


async def test_a_cancelled_start_leaves_no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[subprocess.Popen[bytes]] = []
    true_popen = children._popen

    def slow(*arguments: object) -> subprocess.Popen[bytes]:
        begun.set()
        assert go_on.wait(PATIENCE)
        made.append(true_popen(*arguments))  # type: ignore[arg-type]  # handed on as they came
        return made[0]

    monkeypatch.setattr(children, "_popen", slow)
    streams = (ignore, ignore)
    start = asyncio.ensure_future(
        Child.start("sleep", ["60"], {"PATH": os.environ["PATH"]}, None, stdout=streams, stderr=streams)
    )
    assert await asyncio.to_thread(begun.wait, PATIENCE)
    start.cancel()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(start, PATIENCE)
    assert made[0].returncode == -9
    assert made[0].stdin is not None
    assert made[0].stdin.closed


async def test_a_cancelled_start_that_would_have_failed_is_only_cancelled() -> None:
    streams = (ignore, ignore)
    start = asyncio.ensure_future(
        Child.start("no-such-command", [], {"PATH": ""}, None, stdout=streams, stderr=streams)
    )
    await asyncio.sleep(0)
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(start, PATIENCE)


def test_the_pipe_object_for_uvloop_closes_nothing() -> None:
    async def close_it() -> None:
        reading, writing = os.pipe()
        os.close(writing)
        given = children._handed_over(io.FileIO(reading))
        number = given.fileno()
        given.close()
        os.close(number)  # as uvloop does; OSError if the object had done it

    uvloop.run(close_it())


def test_the_last_lines_are_kept_however_they_come() -> None:
    tail = StderrTail("s")
    for byte in b"one\ntwo\nthr":
        tail.feed(bytes([byte]))
    assert tail.text() == "one\ntwo"
    tail.flush()
    assert tail.last_line() == "thr"


def test_a_flood_leaves_its_last_lines_and_few_lines_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    tail = StderrTail("mcp server s")
    tail.feed(b"".join(b"line %d\n" % number for number in range(10_000)))
    lines = tail.text().split("\n")
    assert len(lines) == KEPT_LINES
    assert lines[-1] == "line 9999"
    assert 0 < len(caplog.messages) < 60
    assert caplog.messages[0].startswith("mcp server s: line 99")


def test_a_line_without_end_stays_small() -> None:
    tail = StderrTail("s")
    for _ in range(100):
        tail.feed(b"x" * 100_000)
    tail.flush()
    assert len(tail.text()) <= 500


def test_secrets_and_control_characters_are_removed(caplog: pytest.LogCaptureFixture) -> None:
    vault.learn(["sk-stderr-secret-1"])
    caplog.set_level(logging.DEBUG)
    tail = StderrTail("s")
    tail.feed(b"key sk-stderr-secret-1 \x1b[31mred \xff\n")
    assert "sk-stderr" not in tail.text() + caplog.text
    assert "\x1b" not in tail.text()
