"""Which skills a model has, and what its prompt contains of them.

`inject` adds their whole text; `on_demand` only a catalogue, and the tools of tools/skills.py return the rest
(https://agentskills.io/client-implementation/adding-skills-support). A skill is called by its id, the file's or
folder's name, which is unique; a `name` in its frontmatter may differ and is only shown.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from openai_proxy.config.skills import SkillFile
from openai_proxy.protocols.markup import escaped, quoted

MAX_INJECTED: Final = 200_000  # characters of all skills together; the largest public one has 75 kB
MAX_CATALOGUE: Final = 16_000  # characters
MAX_DESCRIPTION: Final = 1536  # where Claude Code truncates an entry of its list

_INTRODUCTION: Final = (
    "The following skills are instructions for particular tasks. When a task matches a description, call load_skill "
    "with that name and follow what it says before you go on."
)


def choose(
    skills: Iterable[SkillFile], model: str, *, named: Collection[str] = (), include_global: bool = True
) -> tuple[SkillFile, ...]:
    """The skills of `model`, sorted by id: its own, and all global ones or those `named`.

    A model's own skill hides a global one of the same id. A skill with `disable-model-invocation` is left out unless
    it is named: then its owner has decided.
    """
    chosen: dict[str, SkillFile] = {}
    for skill in skills:
        if skill.model is None:
            if not include_global and skill.id not in named:
                continue
        elif skill.model != model:
            continue
        if hidden(skill) and skill.id not in named:
            continue
        if skill.model is not None or skill.id not in chosen:
            chosen[skill.id] = skill
    return tuple(chosen[skill_id] for skill_id in sorted(chosen))


def callable_skills(skills: Sequence[SkillFile]) -> tuple[SkillFile, ...]:
    """Those of `skills` that a model may load itself; in `on_demand` mode it gets no others."""
    return tuple(skill for skill in skills if not hidden(skill))


def hidden(skill: SkillFile) -> bool:
    """True if its author forbids models to load it (`disable-model-invocation`)."""
    value = skill.frontmatter.get("disable-model-invocation", False)
    return value is True or (isinstance(value, str) and value.strip().lower() in ("true", "yes", "on", "1"))


def injected(skills: Sequence[SkillFile], limit: int = MAX_INJECTED) -> str:
    """The text of all `skills` for the prompt, in order, at most about `limit` characters, or "" if there are none.

    Truncation is marked, so that the model does not mistake half an instruction for a whole one.
    """
    pieces: list[str] = []
    left = limit
    for number, skill in enumerate(skills):
        text = skill.content
        if len(text) > left:
            names = ", ".join(s.id for s in skills[number + 1 :][:20])
            rest = f" Left out entirely: {names}." if names else ""
            marker = f"\n\n[… the skills are too long; {len(text) - left} characters of this one are left out.{rest}]"
            pieces.append(_wrapped(skill, text[:left] + marker))
            break
        left -= len(text)
        pieces.append(_wrapped(skill, text))
    return "\n\n".join(pieces)


def catalogue(skills: Sequence[SkillFile], limit: int = MAX_CATALOGUE) -> str:
    """The prompt's catalogue of skills that can be loaded: name and description of each, or "" if there are none.

    Beyond `limit` characters all descriptions are shortened equally, but no name is ever dropped.
    """
    shown = callable_skills(skills)
    if not shown:
        return ""
    room = max(40, min(MAX_DESCRIPTION, limit // len(shown)))
    lines = [_INTRODUCTION, "<available_skills>"]
    for skill in shown:
        description = " ".join(skill.description.split())
        if len(description) > room and sum(len(s.description) for s in shown) > limit:
            description = description[: room - 1] + "…"
        elif len(description) > MAX_DESCRIPTION:
            description = description[: MAX_DESCRIPTION - 1] + "…"
        lines.append(f"<skill name={quoted(skill.id)}>{escaped(description)}</skill>")
    lines.append("</available_skills>")
    return "\n".join(lines)


def _wrapped(skill: SkillFile, text: str) -> str:
    # Only the name is quoted: Markdown with code in it reads better unescaped.
    return f"<skill_content name={quoted(skill.id)}>\n{text.strip()}\n</skill_content>"
