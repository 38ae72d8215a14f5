"""Values that are valid but surely a mistake: copied from an example, meant for another program, or dangling."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from openai_proxy.config.problems import Problem, did_you_mean, warning
from openai_proxy.config.snapshot import Snapshot
from openai_proxy.config.sources import Path as KeyPath
from openai_proxy.globs import is_glob

_PLACEHOLDER: Final = re.compile(
    r"(sk-|key-)?(\.{2,}|…|x{4,}|your[-_ ].*|my[-_ ]?(api[-_ ]?)?key|api[-_ ]?key|changeme)|<.*>|sk-.*\.\.\.",
    re.IGNORECASE,
)
_EXPRESSION: Final = re.compile(r"\A\^|\.\+|\$\Z|\\|\(.*\|")
_TYPOGRAPHIC: Final = re.compile(r"[“”„‘’][^“”„‘’]*[“”‘’]\Z")  # noqa: RUF001 - what people paste
_TWO_ARGUMENTS: Final = re.compile(r"--?[\w-]+ +\S")
_FRONTMATTER: Final = re.compile(r"---[ \t]*\n\w+:")
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}([-_]\w+)*\Z", re.IGNORECASE)


def placeholders(snapshot: Snapshot) -> Iterator[Problem]:
    """Keys as they appear in examples."""
    for name, connection in snapshot.proxy.connections.items():
        for key in connection.api_keys:
            if _PLACEHOLDER.fullmatch(key):
                place = snapshot.place("proxy", None, ("connections", name, "api_key"))
                yield warning(place, f"the key of {name} looks like an example: replace it with your own")


def expressions(snapshot: Snapshot) -> Iterator[Problem]:
    """Rules that are regular expressions, although globs are expected."""
    for pattern in snapshot.proxy.routing:
        if _EXPRESSION.search(pattern):
            yield warning(
                snapshot.place("proxy", None, ("routing", pattern)),
                f'"{pattern[:80]}" looks like a regular expression: rules are globs, such as "gpt-*"',
            )


def in_text(path: KeyPath, text: str) -> str | None:
    """What looks wrong about a text at `path` of any file."""
    if _TYPOGRAPHIC.match(text):
        return f'the quotes {text[0]} and {text[-1]} are part of the text: use " instead'
    if path[-2:-1] == ("args",) and _TWO_ARGUMENTS.match(text):
        return "this is one argument with a space in it: write each word as a separate argument"
    return None


def frontmatter(snapshot: Snapshot) -> Iterator[Problem]:
    """Skills with a frontmatter that is never closed."""
    for skill in snapshot.skills:
        if not skill.frontmatter and _FRONTMATTER.match(skill.content):
            place = snapshot.place("skill", f"{skill.model}/{skill.id}" if skill.model else skill.id)
            yield warning(
                place,
                "this --- opens a frontmatter that no second --- closes: the whole file is taken as the skill's text",
            )


def names_of_groups(snapshot: Snapshot) -> Iterator[Problem]:
    """Groups that refer to a server, or to an augmented model, that does not exist."""
    for group, settings in snapshot.proxy.groups.items():
        for index, name in enumerate(settings.allowed_models):
            if name.startswith("augmented/") and not is_glob(name) and name not in snapshot.models:
                place = snapshot.place("proxy", None, ("groups", group, "allowed_models", index))
                yield warning(place, f'there is no model "{name[:80]}"{did_you_mean(name, snapshot.models)}')
        for index, name in enumerate(settings.mcp or ()):
            if name != "tools" and not is_glob(name) and name not in snapshot.servers:
                place = snapshot.place("proxy", None, ("groups", group, "mcp", index))
                yield warning(place, f'there is no MCP server "{name[:80]}"{did_you_mean(name, snapshot.servers)}')


def languages(snapshot: Snapshot) -> Iterator[Problem]:
    """Language names where codes are expected."""
    for index, code in enumerate(snapshot.proxy.wyoming.languages if snapshot.proxy.wyoming is not None else ()):
        if not _LANGUAGE.match(code):
            place = snapshot.place("proxy", None, ("wyoming", "languages", index))
            yield warning(place, f'"{code[:40]}" is not a language code such as "de" or "en"')


def paths(snapshot: Snapshot) -> Iterator[Problem]:
    """Directories of local models that do not exist."""
    for name, connection in snapshot.proxy.connections.items():
        if connection.path is not None and not Path(connection.path).expanduser().is_dir():
            place = snapshot.place("proxy", None, ("connections", name, "path"))
            yield warning(place, "there is no such directory; expected one with a transformers model")
