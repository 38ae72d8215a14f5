"""conf/skills: texts that explain to a model how to do something.

`name.md` (with or without frontmatter), `name.yaml`, or a folder with SKILL.md, the Agent Skills standard. Folders are
read as leniently as its guide for clients asks (https://agentskills.io/client-implementation/adding-skills-support):
unknown and malformed frontmatter members are kept, a name that differs from the folder's is accepted, and so are
values with a colon that should have been quoted.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import Field

from openai_proxy.config.fields import StrictModel
from openai_proxy.config.problems import Problem
from openai_proxy.config.sources import SourceOrigin
from openai_proxy.config.validate import validate
from openai_proxy.config.yaml_text import BrokenYaml, Node, parse

_FRONTMATTER = re.compile(rb"\A(?:\xef\xbb\xbf)?---[ \t]*\r?\n(.*?)^---[ \t]*(?:\r?\n|\Z)", re.DOTALL | re.MULTILINE)
_PLAIN_PAIR = re.compile(r"([A-Za-z_][\w-]*):[ \t]+([^\s'\"|>\[{&*!].*?)[ \t]*\Z")
MAX_DESCRIPTION = 1024


class SkillYaml(StrictModel):
    """conf/skills/name.yaml."""

    name: str | None = Field(default=None, description="Shown to the model; default: the file's name.")
    description: str = Field(default="", description="When to use it: what the model reads in on_demand mode.")
    content: str = Field(description="The text of the skill.")


@dataclass(frozen=True, slots=True)
class SkillFile:
    """One skill. `path` is the folder whose files it may read (None for a single file), `model` its only user."""

    id: str
    name: str
    description: str
    content: str
    path: Path | None = None
    model: str | None = None
    frontmatter: dict[str, Any] = field(default_factory=dict)


def read_skill(
    data: bytes, file: str, skill_id: str, *, folder: Path | None, model: str | None
) -> SkillFile | list[Problem]:
    """The skill in `data`, or what is wrong with it."""
    if folder is None and file.endswith((".yaml", ".yml")):
        return _from_yaml(data, file, skill_id, model)
    found = _FRONTMATTER.match(data)
    head: dict[str, Any] = {}
    body = data
    if found is not None:
        body = data[found.end() :]
        node = _frontmatter(found[1], file)
        if isinstance(node, BrokenYaml):
            return list(node.problems)
        head = node.value if node.entries is not None else {}
    try:
        content = body.decode("utf-8-sig").replace("\r\n", "\n").strip("\n")
    except UnicodeDecodeError:
        return [Problem(file, 1, 1, "this is not UTF-8 text: save the file as UTF-8")]
    if not content.strip() and not head:
        return [Problem(file, 1, 1, "the file is empty: a skill is a text")]
    name, description = head.get("name"), head.get("description")
    return SkillFile(
        id=skill_id,
        name=str(name).strip() if isinstance(name, str | int | float) and str(name).strip() else skill_id,
        description=description.strip() if isinstance(description, str) else _first_words(content),
        content=content,
        path=folder,
        model=model,
        frontmatter=head,
    )


def _from_yaml(data: bytes, file: str, skill_id: str, model: str | None) -> SkillFile | list[Problem]:
    node = parse(data, file)
    if isinstance(node, BrokenYaml):
        return list(node.problems)
    if node.value is None:
        return [Problem(file, 1, 1, "the file is empty: a skill has name, description and content")]
    skill, mistakes = validate(SkillYaml, node.value, lambda path, key: SourceOrigin(file, node).place(path, key=key))
    if skill is None:
        return mistakes.problems
    description = skill.description or _first_words(skill.content)
    return SkillFile(skill_id, skill.name or skill_id, description, skill.content.strip("\n"), model=model)


def _frontmatter(data: bytes, file: str) -> Node | BrokenYaml:
    """The frontmatter; if it is not valid YAML, it is read again with its plain values quoted."""
    node = parse(data, file, first_line=2)
    if not isinstance(node, BrokenYaml):
        return node
    lines = []
    for line in data.decode("utf-8", "replace").splitlines():
        pair = _PLAIN_PAIR.match(line)
        quoted = pair and "'" + pair[2].replace("'", "''") + "'"
        lines.append(f"{pair[1]}: {quoted}" if pair else line)
    again = parse("\n".join(lines).encode(), file, first_line=2)
    return node if isinstance(again, BrokenYaml) else again


def _first_words(content: str) -> str:
    """The first line with words in it: the description of a skill that has none."""
    for line in content.splitlines():
        text = line.strip().lstrip("#").strip()
        if text:
            return text[:MAX_DESCRIPTION]
    return ""
