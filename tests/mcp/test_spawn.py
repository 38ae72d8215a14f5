"""Starting a child: also one nobody wants any more is ended."""

import asyncio
import os
import subprocess
import threading

import pytest

from openai_proxy.tools.mcp import spawn
from openai_proxy.tools.mcp.spawn import Child


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
