"""`load_skill` and `read_skill_file`: skills that a model opens when it needs them.

Skills are texts from the owner's disk. Nothing in them is ever run, and the answers say so, because many public skills
come with scripts and a model would otherwise wait for their output.
"""

import os
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from openai_proxy.config.skills import SkillFile
from openai_proxy.protocols.markup import escaped, quoted
from openai_proxy.tools.base import CallContext, Tool, ToolResult
from openai_proxy.tools.result import failure, success
from openai_proxy.tools.workers import Workers

MAX_FILE_BYTES: Final = 256 * 1024
MAX_LISTED: Final = 50
MAX_LISTED_DEPTH: Final = 4
MAX_SCANNED: Final = 2000  # entries; recommended by the guide for clients
FILE_SECONDS: Final = 10.0

_SKIPPED: Final = frozenset({"node_modules", "__pycache__"})
_NOT_RUN: Final = "Nothing in a skill's folder is executed; scripts can only be read."


@dataclass(frozen=True, slots=True)
class SkillTool:
    """One of the two tools. `run` does the work in a worker thread and raises SkillError for the model."""

    definition: dict[str, Any]
    run: Callable[[dict[str, Any]], str]
    workers: Workers

    @property
    def name(self) -> str:
        """The name the model sees."""
        name: str = self.definition["function"]["name"]
        return name

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        """The requested text, or why there is none."""
        try:
            text = await self.workers.run(lambda: self.run(arguments), timeout=FILE_SECONDS, name=self.name)
        except SkillError as error:
            return failure(str(error))
        except Exception as error:  # a disk that fails or hangs must not end the turn
            return failure(f"{self.name} failed: {getattr(error, 'strerror', None) or type(error).__name__}")
        return success(text)


class SkillError(Exception):
    """Why a skill or file is not available, in words for the model."""


def skill_tools(skills: Sequence[SkillFile], workers: Workers) -> list[Tool]:
    """The tools for `skills` (those that a model may load itself): none without skills, one without folders."""
    if not skills:
        return []
    table = {skill.id: skill for skill in skills}
    load = _definition(
        "load_skill",
        "Returns the instructions of a skill. Call it before a task that the skill is for.",
        {"name": {"type": "string", "enum": sorted(table), "description": "The skill's name."}},
    )
    tools: list[Tool] = [SkillTool(load, lambda arguments: load_skill(_named(table, arguments)), workers)]
    folders = {skill_id: skill for skill_id, skill in table.items() if skill.path is not None}
    if folders:
        read = _definition(
            "read_skill_file",
            f"Reads a text file that belongs to a skill, as listed by load_skill. {_NOT_RUN}",
            {
                "skill": {"type": "string", "enum": sorted(folders), "description": "The skill's name."},
                "path": {"type": "string", "description": "Relative to the skill, e.g. references/guide.md"},
            },
        )
        tools.append(
            SkillTool(
                read,
                lambda arguments: read_skill_file(_named(folders, arguments, "skill"), arguments.get("path")),
                workers,
            )
        )
    return tools


def load_skill(skill: SkillFile) -> str:
    """The body of `skill`, and the names of the files beside it. Reads the folder's listing: blocks briefly."""
    lines = [f"<skill_content name={quoted(skill.id)}>", skill.content.strip()]
    listed, more = resources(skill.path) if skill.path is not None else ([], False)
    if listed:
        lines += ["", f"Files of this skill can be read with read_skill_file. {_NOT_RUN}", "<skill_resources>"]
        lines += [f"<file>{escaped(name)}</file>" for name in listed]
        if more:
            lines.append(f"<!-- only the first {len(listed)} are listed -->")
        lines.append("</skill_resources>")
    lines.append("</skill_content>")
    return "\n".join(lines)


def resources(root: Path) -> tuple[list[str], bool]:
    """(relative names of up to MAX_LISTED files below `root`, sorted; whether there are more). Follows no links."""
    found: list[str] = []
    scanned = 0
    pending: list[tuple[Path, str, int]] = [(root, "", 1)]
    while pending:
        folder, prefix, depth = pending.pop(0)
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda e: e.name)
        except OSError:
            continue
        for entry in entries:
            scanned += 1
            if scanned > MAX_SCANNED:
                return sorted(found)[:MAX_LISTED], True
            if entry.name.startswith(".") or entry.name in _SKIPPED or not entry.name.isprintable():
                continue
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                if depth < MAX_LISTED_DEPTH:
                    pending.append((Path(entry.path), f"{name}/", depth + 1))
            elif entry.is_file(follow_symlinks=False) and name != "SKILL.md":
                found.append(name)
    return sorted(found)[:MAX_LISTED], len(found) > MAX_LISTED


def read_skill_file(skill: SkillFile, path: object) -> str:
    """The text of the file `path` of `skill`. Blocks. Raises SkillError for everything but a text file inside it."""
    root = skill.path
    if root is None:
        raise SkillError(f"The skill {skill.id} has no files.")
    if not isinstance(path, str) or not path.strip() or len(path) > 500 or not path.isprintable():
        raise SkillError("path must be the name of a file of the skill.")
    parts = PurePosixPath(path).parts
    inside = parts and not PurePosixPath(path).is_absolute() and "\\" not in path and ":" not in parts[0]
    if not inside or any(part == ".." or part.startswith((".", "~")) for part in parts):
        raise SkillError("Only files inside the skill's own folder can be read, by their relative path.")
    try:
        real_root = root.resolve(strict=True)
        real = real_root.joinpath(*parts).resolve(strict=True)
        if not real.is_relative_to(real_root):
            raise SkillError("Only files inside the skill's own folder can be read.")
        data = _read(real)
    except (OSError, RuntimeError, ValueError):  # missing, a loop of links, a surrogate
        raise SkillError(f"The skill {skill.id} has no file {path[:100]!r}.") from None
    if b"\0" in data:
        raise SkillError("This is not a text file.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SkillError("This is not a text file.") from None
    return f"<skill_file skill={quoted(skill.id)} path={quoted(path)}>\n{text}\n</skill_file>"


def _read(path: Path) -> bytes:
    # O_NOFOLLOW: the checked file may have been replaced by a link. O_NONBLOCK: a pipe must not block the thread.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb") as file:  # noqa: PTH123  # a descriptor has no Path
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SkillError("This is not a file.")
        data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise SkillError(f"The file is larger than {MAX_FILE_BYTES // 1024} KiB.")
    return data


def _named(table: dict[str, SkillFile], arguments: dict[str, Any], key: str = "name") -> SkillFile:
    name = arguments.get(key)
    skill = table.get(name) if isinstance(name, str) else None
    if skill is None:
        raise SkillError(f"There is no such skill. Skills: {', '.join(sorted(table))[:1000]}.")
    return skill


def _definition(name: str, description: str, properties: dict[str, Any]) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}
