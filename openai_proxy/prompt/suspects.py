"""Text in braces in a prompt that looks like a template but is not one, and is therefore used literally."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from openai_proxy.prompt.templates import MAX_CALL, Template

_OPENING: Final = re.compile(r"\{\{\s*([A-Za-z0-9_-]{1,128})\s*(\()?|\{%-?\s*(?:if|for|set|macro)\b[^\n%]*%?\}?")
_JINJA: Final = "Home Assistant's templates do not work here; its states are available through its MCP server"
_UNQUOTED: Final = re.compile(r"=\s*(?!true\b|false\b|null\b)([A-Za-z_]\w*)")
_PYTHON_WORDS: Final = {"True": "true", "False": "false", "None": "null"}


@dataclass(frozen=True, slots=True)
class Suspect:
    """One such text: `source` is its first line, which begins at `offset`; `why` says how to write it."""

    offset: int
    source: str
    why: str


def suspects(template: Template, known: Callable[[str], bool]) -> Iterator[Suspect]:
    """In text order. `known` says which names are tools: `{{ordinary_word}}` may be meant as text."""
    text = template.source
    at = 0
    for part in template.parts:
        if isinstance(part, str):
            for found in _OPENING.finditer(text, at, at + len(part)):
                if found[1] is None:
                    yield Suspect(found.start(), found[0], f"is Jinja and stays as text: {_JINJA}")
                elif found[2] or known(found[1]):
                    yield _suspect(text, found, known(found[1]))
            at += len(part)
        else:
            at += len(part.source)


def _suspect(text: str, found: re.Match[str], known: bool) -> Suspect:
    name, start = found[1], found.start()
    end = text.find("}}", found.end(), start + MAX_CALL)
    following = text.find("{{", found.end(), start + MAX_CALL)
    example = f'{{{{{name}(argument="value")}}}}'
    if end < 0 or 0 <= following < end:
        return Suspect(
            start, text[start : found.end()].split("\n")[0], f"is never closed: a template is written {example}"
        )
    source = text[start : end + 2].split("\n")[0]
    if not known:
        return Suspect(start, source, f"is not a template and stays as text: there is no tool {name}, and {_JINJA}")
    if not found[2]:
        return Suspect(start, source, f"is not a template and stays as text: write {{{{{name}()}}}} or {example}")
    return Suspect(start, source, f"is not a template and stays as text: {_fault(text[found.end() : end], example)}")


def _fault(arguments: str, example: str) -> str:
    """What is wrong between the parentheses."""
    if (word := _UNQUOTED.search(arguments)) is not None:
        right = _PYTHON_WORDS.get(word[1])
        return f"write {right}, not {word[1]}" if right else f"text needs quotes, as in {example}"
    if not arguments.rstrip().endswith(")"):
        return f"nothing may follow the closing parenthesis of {example}"
    if "=" not in arguments:
        return f"every argument needs its name, as in {example}"
    return f"it is written {example}, with commas between arguments; values are strings, numbers, true, false or null"
