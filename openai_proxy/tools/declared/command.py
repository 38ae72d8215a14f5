"""A command as a tool: a program with its arguments, never run through a shell, and killed with its descendants."""

import asyncio
import contextlib
import os
import secrets
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

from openai_proxy.children import Child, StderrTail
from openai_proxy.config.tool_file import CommandAction
from openai_proxy.secrets import vault
from openai_proxy.tasks import spawn
from openai_proxy.tools.declared import filling
from openai_proxy.tools.declared.filling import MISSING, Arguments
from openai_proxy.tools.handler import ToolFailure
from openai_proxy.tools.mcp.process import kill_marked
from openai_proxy.tools.mcp.settings import MARK, child_environment

MAX_OUTPUT: Final = 1 << 20
"""Bytes of output after which a program is killed: a model gets far less."""

_TERM_GRACE: Final = 0.5  # seconds a program has after SIGTERM, before SIGKILL
_DRAIN: Final = 0.2  # seconds for output still in the pipe when the program has ended
_SHOWN: Final = 500  # characters of a failed program's output


async def run(action: CommandAction, parameters: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """The program's output. Raises ToolFailure if it fails, takes too long or writes too much.

    When cancelled, it first kills the program and its descendants.
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
        raise ToolFailure(f"It did not answer within {action.timeout:g} seconds and was stopped.") from None


class _Program:
    """One run."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._output = bytearray()
        self._mark = secrets.token_hex(8)
        self._stderr = StderrTail(f"tool {words[0]}")
        self._open = 2  # stdout and stderr
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()

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
        waiting.add_done_callback(lambda _: self._changed.set())
        try:
            if child.stdin is not None and not child.stdin.is_closing():  # closed if the program has already ended
                if stdin:
                    child.stdin.write(stdin)
                child.stdin.close()
            while not child.exited.is_set():
                self._changed.clear()
                if self._too_much:
                    raise ToolFailure(f"It wrote more than {MAX_OUTPUT >> 20} MiB and was stopped.")
                await self._changed.wait()
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
            output = vault.scrub((self._stderr.text().strip() or text.strip())[-_SHOWN:])
            how = f"signal {-status}" if status < 0 else f"exit status {status}"
            raise ToolFailure(f"It failed with {how}" + (f": {output}" if output else "."))
        return text.rstrip("\n")

    @property
    def _too_much(self) -> bool:
        return len(self._output) > MAX_OUTPUT

    def _take(self, data: bytes) -> None:
        if not self._too_much:
            self._output += data
        if self._too_much:
            self._changed.set()

    def _end(self) -> None:
        self._open -= 1
        if not self._open:
            self._stderr.flush()
            self._ended.set()

    async def _stop(self, child: Child) -> None:
        """Kill the group, and descendants that have left it."""
        if child.stdin is not None and not child.exited.is_set():
            child.stdin.abort()  # what has not been read by now never will be
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
