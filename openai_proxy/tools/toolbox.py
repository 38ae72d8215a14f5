"""The tools of one augmented model: looked up by name, in one stable order, called safely.

A `Toolset` lives as long as its generation; a `Toolbox` is what one request sees of it and does not change, so a server
that changes its tools in mid-conversation changes the next request's list rather than this one's.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, Final

from openai_proxy.config.problems import did_you_mean
from openai_proxy.dialects import json_text
from openai_proxy.dialects.tool_schema import tool_for
from openai_proxy.nearest import nearest
from openai_proxy.plugin_loader import describe
from openai_proxy.tools.base import CallContext, Tool, ToolResult
from openai_proxy.tools.handler import Handler, handler_tool
from openai_proxy.tools.result import failure, success
from openai_proxy.tools.schema import ArgumentCheck, definition_fault
from openai_proxy.tools.workers import Workers

log = logging.getLogger(__name__)

Live = Callable[[], Sequence[Tool]]
"""Tools that may change while the generation lives: those of MCP servers."""

DEFAULT_TIMEOUT: Final = 60.0
MAX_ARGUMENT_BYTES: Final = 4 * 1024 * 1024


_ASK: Final = (
    "This was not run yet: it needs the person's consent. Say what you are about to do and ask whether you may. Once "
    "the person has agreed in their next message, make the same call again, with exactly these arguments."
)
_NOBODY_ASKS: Final = (
    "This was not run: it needs a person's consent, and nobody can be asked here. "
    "Use it in a conversation with the model."
)


class Toolbox:
    """The tools of one request, by name. Immutable except for its cache of schema checks."""

    __slots__ = ("_checks", "_cleaned", "_confirm", "_tools")

    def __init__(
        self, tools: Iterable[Tool] = (), before: "Toolbox | None" = None, confirm: Sequence[str] = ()
    ) -> None:
        """If two tools have one name, the first is kept. Results of `before` for equal tools are reused.

        `confirm` are globs on names: those tools run only with a person's consent.
        """
        self._confirm = tuple(confirm)
        table: dict[str, Tool] = {}
        for tool in tools:
            if table.setdefault(tool.name, tool) is not tool:
                log.warning("two tools are called %s; the first one is kept", tool.name)
        # Always by name: a list in another order is another prompt prefix, and misses the provider's cache.
        self._tools: dict[str, Tool] = dict(sorted(table.items()))
        self._checks: dict[str, ArgumentCheck] = {}
        # The provider gets a copy in a form that none refuses; arguments are checked against the tool's own schema.
        self._cleaned: dict[str, dict[str, Any]] = {}
        for name, tool in self._tools.items():
            if before is not None and before._tools.get(name) == tool:
                self._cleaned[name] = before._cleaned[name]
                if (check := before._checks.get(name)) is not None:
                    self._checks[name] = check
            else:
                self._cleaned[name] = tool_for(tool.definition, "openai")

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._tools

    def names(self) -> tuple[str, ...]:
        """The names, sorted."""
        return tuple(self._tools)

    def definitions(self) -> list[dict[str, Any]]:
        """The function tools, sorted by name, in OpenAI's dialect; the dicts are shared and must not be changed."""
        return list(self._cleaned.values())

    def with_more(self, tools: Sequence[Tool]) -> "Toolbox":
        """A toolbox of these tools and others."""
        return Toolbox((*self._tools.values(), *tools), before=self, confirm=self._confirm)

    def get(self, name: str) -> Tool | None:
        """The tool called exactly `name`."""
        return self._tools.get(name)

    async def run(
        self,
        name: str,
        arguments: str | Mapping[str, Any] | None,
        context: CallContext | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> ToolResult:
        """One call by the model, from the text of its arguments to a result for the model.

        An unknown tool, arguments that are not a JSON object or violate the schema, failure and `timeout` (seconds) are
        all results with `is_error`; only cancellation is raised.
        """
        tool = self._tools.get(name)
        if tool is None:
            return failure(f"There is no tool {name[:64]!r}.{suggest(name, self._tools)}")
        try:
            given = parse_arguments(arguments)
        except ValueError as error:
            return failure(str(error))
        given, wrong = self._check(tool).admit(given)
        if wrong is not None:
            return failure(f"Wrong arguments for {name}: {wrong}")
        context = context or CallContext()
        if self.needs_consent(tool) and not (context.consent is not None and context.consent.given(name, given)):
            return failure(_ASK if context.consent is not None else _NOBODY_ASKS)
        scope = asyncio.timeout(timeout)
        try:
            async with scope:
                result = await tool.call(given, context)
        except TimeoutError as error:
            if scope.expired():
                log.warning("tool %s did not answer within %g s", name, timeout)
                return failure(f"{name} did not answer within {timeout:g} seconds.")
            return failure(f"{name} failed: {describe(error)}")
        except Exception as error:
            log.exception("tool %s raised an error instead of returning one", name)
            return failure(f"{name} failed: {describe(error)}")
        if result.is_error:
            return failure(result.text)
        fit = success(result.text)
        if result.blocks or result.structured is not None:
            return replace(fit, blocks=result.blocks, structured=result.structured)
        return fit

    def needs_consent(self, tool: Tool) -> bool:
        """True for a tool that runs only with a person's consent, under its own name or the one a model sees."""
        if not self._confirm:
            return False
        server, source = getattr(tool, "server", None), getattr(tool, "source", None)
        names = (tool.name,) if source is None else (tool.name, f"mcp_{server}_{source.name}")
        return any(fnmatchcase(name, glob) for name in names for glob in self._confirm)

    def _check(self, tool: Tool) -> ArgumentCheck:
        check = self._checks.get(tool.name)
        if check is None:
            function = tool.definition.get("function") or {}
            check = self._checks[tool.name] = ArgumentCheck(function.get("parameters"))
        return check


class Toolset:
    """A model file's tools, for the life of a generation: handlers and a view of its MCP servers."""

    def __init__(self, tools: Sequence[Tool] = (), live: Live | None = None, confirm: Sequence[str] = ()) -> None:
        """`confirm`: globs on the names of tools that run only with a person's consent."""
        self._fixed = tuple(tools)
        self._live = live
        self._confirm = tuple(confirm)
        self._seen: tuple[Tool, ...] = ()
        self._toolbox = Toolbox(self._fixed, confirm=self._confirm)

    def toolbox(self) -> Toolbox:
        """The tools as they are now; the same object until a server's tools change."""
        if self._live is None:
            return self._toolbox
        now = tuple(self._live())
        # By identity: an equal tool may still belong to a server that has been replaced.
        if len(now) != len(self._seen) or any(a is not b for a, b in zip(now, self._seen, strict=True)):
            # Ours first: a server cannot take over the name of one of our tools.
            self._toolbox = Toolbox((*self._fixed, *now), before=self._toolbox, confirm=self._confirm)
            self._seen = now
        return self._toolbox


Report = Callable[[int, str], None]
"""Called with (index in `tools:`, what is wrong); the caller knows the file and the place."""


def offered(
    entries: Sequence[str | Mapping[str, Any]],
    handlers: Mapping[str, Handler],
    workers: Workers,
    *,
    report: Report,
    complete: bool = True,
) -> list[Tool]:
    """The tools of a model file's `tools:`, each a handler's name or a full definition that its handler runs.

    Invalid ones are reported and left out; the rest is used. Unless `handlers` are `complete`, an unknown name may
    become known later and is left out silently.
    """
    tools: list[Tool] = []
    seen: set[str] = set()
    for index, entry in enumerate(entries):
        definition: Mapping[str, Any] | None = None
        if isinstance(entry, str):
            name = entry
        else:
            definition = normalised(entry)
            if (fault := definition_fault(definition)) is not None:
                report(index, fault)
                continue
            name = definition["function"]["name"]
        handler = handlers.get(name)
        if handler is None:
            if complete:
                report(index, f'no tool handler is called "{name[:80]}"{did_you_mean(name, handlers)}')
        elif name in seen:
            report(index, f"the tool {name!r} is listed twice")
        else:
            seen.add(name)
            tools.append(handler_tool(handler, workers, definition=definition))
    return tools


def build_toolset(
    handlers: Mapping[str, Handler], workers: Workers, live: Live | None = None, confirm: Sequence[str] = ()
) -> Toolset:
    """Every handler and every MCP tool, for templates and `execute_tools`."""
    return Toolset([handler_tool(h, workers) for h in handlers.values()], live, confirm)


def normalised(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A full definition in OpenAI's shape; a bare function ({"name": …, "parameters": …}) gets its envelope."""
    if "function" not in entry and "name" in entry:
        function = {k: v for k, v in entry.items() if k != "type"}
        if "input_schema" in function:  # Anthropic's name for it
            function["parameters"] = function.pop("input_schema")
        return {"type": "function", "function": function}
    return {"type": "function", **entry}


def parse_arguments(arguments: str | Mapping[str, Any] | None) -> dict[str, Any]:
    """The arguments of a call as a dict. Raises ValueError with words for the model.

    Nothing and "" mean none (https://platform.openai.com/docs/guides/function-calling); invalid JSON is never treated
    as an empty object, since a tool that runs with defaults nobody chose may do the wrong thing.
    """
    if arguments is None:
        return {}
    if isinstance(arguments, Mapping):
        return dict(arguments)
    if not arguments.strip():
        return {}
    if len(arguments) > MAX_ARGUMENT_BYTES:
        raise ValueError("The arguments are too large.")
    try:
        value = json_text.loads(arguments)
    except ValueError:
        raise ValueError("The arguments are not valid JSON; send one JSON object.") from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("The arguments must be a JSON object.")
    return value


def suggest(name: str, known: Iterable[str]) -> str:
    """ " Did you mean x?" with the known name nearest to `name`, for the model; or "" if none is near."""
    near = nearest(name, known)
    return f" Did you mean {near[0]}?" if near else ""
