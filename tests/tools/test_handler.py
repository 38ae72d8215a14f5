import asyncio
import inspect
import sys
import threading
import time

import pytest

from openai_proxy.secrets import vault
from openai_proxy.tools.base import CallContext, ToolResult
from openai_proxy.tools.handler import Handler, ToolFailure, handler_tool
from openai_proxy.tools.toolbox import Toolbox
from openai_proxy.tools.workers import Workers


def make(run):
    definition = {"type": "function", "function": {"name": "t", "parameters": {"type": "object", "properties": {}}}}
    handler = Handler("t", definition, run, is_async=inspect.iscoroutinefunction(run))
    return handler_tool(handler, Workers())


async def call(run, *, timeout=5.0):
    return await Toolbox([make(run)]).run("t", {"a": 1}, CallContext(), timeout=timeout)


async def test_a_sync_handler_runs_off_the_loop_and_an_async_one_on_it():
    async def here(arguments):
        return threading.get_ident() == main

    main = threading.get_ident()
    assert (await call(lambda a: threading.get_ident() == main)).text == "false"
    assert (await call(here)).text == "true"


async def test_a_coroutine_from_a_sync_handler_is_awaited():
    async def later():
        return "done"

    assert (await call(lambda a: later())).text == "done"


def recurse(arguments):
    return recurse(arguments)


def leave(arguments):
    sys.exit(3)


def interrupt(arguments):
    raise KeyboardInterrupt


def stop(arguments):
    raise StopIteration


class Silent(Exception):
    def __str__(self):
        raise ValueError("no words")


def speechless(arguments):
    raise Silent


async def leave_async(arguments):
    sys.exit(3)


async def interrupt_async(arguments):
    await asyncio.sleep(0)
    raise KeyboardInterrupt


async def cancel_oneself(arguments):
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    "run",
    [recurse, leave, interrupt, stop, speechless, leave_async, interrupt_async, cancel_oneself, lambda a: a["missing"]],
)
async def test_whatever_a_handler_raises_is_an_error_for_the_model(run):
    result = await call(run)
    assert result.is_error
    assert result.text


async def test_an_error_carries_its_reason_but_no_secret_and_no_path():
    vault.learn(["sk-tool-secret-99"])

    def fail(arguments):
        raise OSError("cannot open /srv/house/key.txt with sk-tool-secret-99")

    result = await call(fail)
    assert result.is_error
    assert result.text == "t failed: OSError: cannot open [path] with [REDACTED]"


async def test_a_failure_with_a_message_for_the_model_is_passed_on():
    def fail(arguments):
        raise ToolFailure("There is no such lamp.")

    assert await call(fail) == ToolResult("There is no such lamp.", is_error=True)


async def test_a_hanging_handler_is_abandoned():
    release = threading.Event()
    sync = await call(lambda a: release.wait(20), timeout=0.05)
    release.set()

    async def hang(arguments):
        await asyncio.Event().wait()

    slow = await call(hang, timeout=0.05)
    for result in (sync, slow):
        assert result.is_error
        assert "did not answer within 0.05 seconds" in result.text


async def test_a_handler_that_ignores_its_cancellation_does_not_block():
    end = asyncio.Event()

    async def stubborn(arguments):
        while not end.is_set():
            try:
                await end.wait()
            except asyncio.CancelledError:
                continue

    assert (await call(stubborn, timeout=0.05)).is_error
    end.set()
    await asyncio.sleep(0)


async def test_the_call_ends_at_once_when_the_client_disconnects():
    release = threading.Event()

    async def hang(arguments):
        await asyncio.Event().wait()

    for run in (lambda a: release.wait(20), hang):
        task = asyncio.ensure_future(call(run, timeout=30))
        await asyncio.sleep(0.01)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - started < 5
    release.set()
    await asyncio.sleep(0)


async def test_unusual_results_become_text():
    assert (await call(lambda a: None)).text == "(no output)"
    assert (await call(lambda a: {"lamps": [1, 2]})).text == '{"lamps":[1,2]}'
    assert (await call(lambda a: object)).text
    assert (await call(lambda a: ToolResult("no", is_error=True))).is_error
