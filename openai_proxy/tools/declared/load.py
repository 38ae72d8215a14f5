"""Tools without code as handlers, in addition to those of conf/tools/*.py."""

import asyncio
import hashlib
import importlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from openai_proxy.config.problems import Problem
from openai_proxy.config.tool_entries import MAX_DOCUMENT
from openai_proxy.config.tool_file import CommandAction, DeclaredTool, HttpAction, OpenApiSource, Tool, ToolFile
from openai_proxy.tools.custom import CustomTools
from openai_proxy.tools.declared.built import BuiltTools
from openai_proxy.tools.declared.documents import DocumentStore
from openai_proxy.tools.declared.openapi import DocumentError, operations, parse_document
from openai_proxy.tools.declared.request import make_request, read_answer
from openai_proxy.tools.handler import Handler
from openai_proxy.tools.schema import definition_fault

_CLIENT: Final = "openai_proxy.tools.declared.client"
_NAMED: Final = 5  # at most so many unusable operations are named one by one

Place = Callable[[Path, tuple[str | int, ...]], tuple[str, int, int]]
"""File, line and column of the value at a path in a file."""


def with_declared(
    custom: CustomTools, files: Iterable[ToolFile], previous: CustomTools | None, documents: DocumentStore, place: Place
) -> CustomTools:
    """`custom` with the tools of `files`. Reads documents from the disk and may parse 16 MiB: not for the loop."""
    before = previous.declared if previous is not None else {}
    declared: dict[Path, tuple[BuiltTools, ...]] = {}
    handlers, problems = dict(custom.handlers), list(custom.problems)
    for file in files:
        known = before.get(file.path, ())
        declared[file.path] = tuple(_made(entry, file.path.name, known, documents) for entry in file.tools)
        for made in declared[file.path]:
            where = place(file.path, made.entry.path)
            wrong = "parameters" if isinstance(made.entry, DeclaredTool) else "openapi"
            problems += [Problem(*place(file.path, (*made.entry.path, wrong)), fault) for fault in made.faults]
            for handler in made.handlers:
                if handler.name in handlers:
                    first = handlers[handler.name]
                    owner = first.origin if first.origin == "built in" else f"defined in {first.origin}"
                    message = f"the tool {handler.name!r} is already {owner}; this one is left out"
                    problems.append(Problem(*where, message))
                    continue
                handlers[handler.name] = handler
    return replace(custom, handlers=handlers, problems=tuple(problems), declared=declared)


def _made(entry: Tool, origin: str, known: tuple[BuiltTools, ...], documents: DocumentStore) -> BuiltTools:
    if isinstance(entry, DeclaredTool):
        same = next((made for made in known if made.entry == entry), None)
        return replace(same, entry=entry) if same is not None else _of_tools(entry, origin, "", (entry,))
    body, error = _document(entry, documents)
    digest = hashlib.sha256(body).hexdigest() if body is not None else ""
    faults = (f"{entry.source} cannot be fetched: {error}",) if error is not None else ()
    if body is None:
        return BuiltTools(entry, "", faults=faults, waiting=entry.is_url)
    same = next((made for made in known if made.entry == entry and made.digest == digest and made.handlers), None)
    if same is not None and same.faults == faults:
        return replace(same, entry=entry)
    name = "the document" if entry.is_url else Path(entry.source).name
    try:
        found = operations(parse_document(body, name), entry, name)
    except DocumentError as wrong:
        # A document that is now broken keeps its last good form.
        last = next((m for m in known if isinstance(m.entry, OpenApiSource) and m.entry.source == entry.source), None)
        return BuiltTools(entry, digest, last.handlers if last is not None else (), (*faults, str(wrong)))
    left_out = found.left_out[:_NAMED]
    if len(found.left_out) > _NAMED:
        left_out = (*left_out, f"{len(found.left_out) - _NAMED} more operations of {name} are left out")
    return _of_tools(entry, origin, digest, found.tools, (*faults, *left_out))


def _document(entry: OpenApiSource, documents: DocumentStore) -> tuple[bytes | None, str | None]:
    if entry.is_url:
        found = documents.get(entry.source)
        return found.body, found.error
    try:
        with Path(entry.source).open("rb") as file:
            return file.read(MAX_DOCUMENT), None
    except OSError as error:
        return None, (error.strerror or "it cannot be read").lower()


def _of_tools(
    entry: DeclaredTool | OpenApiSource,
    origin: str,
    digest: str,
    tools: Iterable[DeclaredTool],
    faults: tuple[str, ...] = (),
) -> BuiltTools:
    handlers: list[Handler] = []
    found = list(faults)
    for tool in tools:
        definition = _definition(tool)
        if (fault := definition_fault(definition)) is not None:
            found.append(fault)
        else:
            run = partial(run_declared, tool.action, tool.parameters)
            handlers.append(Handler(tool.name, definition, run, is_async=True, origin=origin))
    return BuiltTools(entry, digest, tuple(handlers), tuple(found))


def _definition(tool: DeclaredTool) -> dict[str, Any]:
    parameters = {"type": "object", "properties": {}, **tool.parameters}
    function: dict[str, Any] = {"name": tool.name, "parameters": parameters}
    if tool.description:
        function["description"] = tool.description
    return {"type": "function", "function": function}


async def run_declared(
    action: HttpAction | CommandAction, parameters: Mapping[str, Any], arguments: dict[str, Any]
) -> object:
    """Run a tool without code. Raises ToolFailure."""
    if isinstance(action, CommandAction):
        from openai_proxy.tools.declared import command

        return await command.run(action, parameters, arguments)
    request = make_request(action, parameters, arguments)
    if _CLIENT not in sys.modules:
        await asyncio.to_thread(importlib.import_module, _CLIENT)
    status, reason, kind, body = await sys.modules[_CLIENT].send(request, action.timeout)
    return read_answer(status, reason, kind, body, action.result)


def sources(files: Iterable[ToolFile]) -> Iterator[OpenApiSource]:
    """The documents to fetch."""
    for file in files:
        yield from (tool for tool in file.tools if isinstance(tool, OpenApiSource) and tool.is_url)
