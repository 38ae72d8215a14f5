"""A command as a tool: a program with its arguments, never through a shell, ended with all that it started."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.config.tool_file import CommandAction
from openai_proxy.secrets import vault
from openai_proxy.tasks import spawn
from openai_proxy.tools.declared import filling
from openai_proxy.tools.declared.filling import MISSING, Arguments
from openai_proxy.tools.handler import ToolFailure
from openai_proxy.tools.mcp.process import kill_marked
from openai_proxy.tools.mcp.settings import MARK, child_environment
from openai_proxy.tools.mcp.spawn import Child, StderrTail

MAX_OUTPUT: Final = 1 << 20
"""Bytes of its output after which a program is ended: what a model gets of it is far less."""

_TERM_GRACE: Final = 0.5  # seconds a program has after SIGTERM, before SIGKILL
_DRAIN: Final = 0.2  # seconds for output that is still on its way when the program has ended
_SHOWN: Final = 500  # characters of what a failed program said


async def run(action: CommandAction, parameters: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """What the program writes to stdout. Raises ToolFailure where it fails, takes too long or writes too much.

    Cancelled, it ends the program and all that it started first.
    """
    arguments = Arguments(given, parameters)
    words = [word for text in action.command if (word := filling.command_word(text, arguments)) is not None]
    stdin = b""
    if action.stdin is not None:
        text = filling.fill_value(action.stdin, arguments)
        stdin = b"" if text is MISSING else filling.as_text(text).encode("utf-8", "replace")
    program = _Program(words)
    scope = asyncio.timeout(action.timeout)
    try:
        async with scope:
            return await program.run(stdin)
    except TimeoutError:
        if not scope.expired():
            raise
        raise ToolFailure(f"It gave no answer within {action.timeout:g} seconds and was ended.") from None


class _Program:
    """One run."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._output = bytearray()
        self._mark = secrets.token_hex(8)
        self._stderr = StderrTail(words[0])
        self._open = 2  # stdout and stderr
        self._ended = asyncio.Event()
        self._news = asyncio.Event()

    async def run(self, stdin: bytes) -> str:
        environment = {**child_environment(os.environ, {}), MARK: self._mark}
        try:
            child = await Child.start(
                self._words[0], self._words[1:], environment, None,
                stdout=(self._take, self._end), stderr=(self._stderr.feed, self._end),
            )  # fmt: skip
        except (OSError, ValueError) as error:  # ValueError: a NUL in an argument
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise ToolFailure(f"The program cannot be run: {reason}") from None
        waiting = spawn(child.exited.wait(), name=f"wait for {self._words[0][:64]}")
        waiting.add_done_callback(lambda _: self._news.set())
        try:
            if child.stdin is not None and not child.stdin.is_closing():  # closed: the program has ended already
                if stdin:
                    child.stdin.write(stdin)
                child.stdin.close()
            while not child.exited.is_set():
                self._news.clear()
                if self._too_much:
                    raise ToolFailure(f"It wrote more than {MAX_OUTPUT >> 20} MiB and was ended.")
                await self._news.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN):
                    await self._ended.wait()
        finally:
            waiting.cancel()
            await self._stop(child)
        if self._too_much:
            raise ToolFailure(f"It wrote more than {MAX_OUTPUT >> 20} MiB.")
        return self._result(child.returncode or 0)

    def _result(self, status: int) -> str:
        text = self._output.decode("utf-8", "replace")
        if status:
            said = vault.scrub((self._stderr.text().strip() or text.strip())[-_SHOWN:])
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            raise ToolFailure(f"It failed with {how}" + (f": {said}" if said else "."))
        return text.rstrip("\n")

    @property
    def _too_much(self) -> bool:
        return len(self._output) > MAX_OUTPUT

    def _take(self, data: bytes) -> None:
        if not self._too_much:
            self._output += data
        if self._too_much:
            self._news.set()

    def _end(self) -> None:
        self._open -= 1
        if not self._open:
            self._stderr.flush()
            self._ended.set()

    async def _stop(self, child: Child) -> None:
        """End the group, and what has left it."""
        if child.stdin is not None and not child.exited.is_set():
            child.stdin.abort()  # what was not read by now will not be
        try:
            if not child.exited.is_set():
                _signal(child, signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TERM_GRACE):
                        await child.exited.wait()
        finally:
            _signal(child, signal.SIGKILL)
            child.close()
        if not child.exited.is_set():
            await child.exited.wait()
        if sys.platform == "linux":
            await asyncio.to_thread(kill_marked, self._mark)


def _signal(child: Child, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
