"""The available commands. Each is a function in a module of `builtin`, where it is found automatically:

    @command("hello", "Say hello.")
    def hello(call: Call, context: CommandContext) -> str:
        return "Hello."

It returns a sentence about what it did, or raises CommandError. `!/help` is generated from the decorators.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import NamedTuple

from openai_proxy.transforms.commands.context import CommandContext
from openai_proxy.transforms.commands.parser import CommandCall

Run = Callable[[CommandCall, CommandContext], str]


class Command(NamedTuple):
    """One command: its name, an example of its arguments, and what it does."""

    name: str
    takes: str
    does: str
    run: Run


_found: dict[str, Command] = {}


def command(name: str, does: str, takes: str = "") -> Callable[[Run], Run]:
    """Make the decorated function the command `name`. `takes` is an example of its arguments, without brackets."""

    def register(run: Run) -> Run:
        if name in _found:
            raise ValueError(f"two commands are called {name}")
        _found[name] = Command(name, takes, does, run)
        return run

    return register


def commands() -> Mapping[str, Command]:
    """All commands by name. The first call imports `builtin`, so without commands it is never loaded."""
    if not _found:
        from openai_proxy.transforms.commands import builtin

        for module in pkgutil.iter_modules(builtin.__path__):
            importlib.import_module(f"{builtin.__name__}.{module.name}")
    return _found
