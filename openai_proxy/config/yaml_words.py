"""What is wrong with text that is not YAML, in words that say what to do about it.

A scanner says where it stopped, which is often lines behind the mistake. So the lines themselves are looked at for
what people really do wrong. Imported only where something is wrong.
"""

import re
import string
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_STARTS = r"(?:^\s*(?:-\s+)*|:\s+|[\[{,]\s*)"  # where a key or value may begin
_STAR = re.compile(rf"{_STARTS}(\*[^\s,\]}}:]*)")
_BANG = re.compile(rf"{_STARTS}(![^\s,\]}}:]*)")
_ODD_START = re.compile(rf"{_STARTS}([%@`][^\s,\]}}:]*)")
_NO_SPACE = re.compile(r"^\s*(?:-\s+)?([A-Za-z_][\w-]*):(?![\s/]|$)\S")
_QUOTE = re.compile(r"(?:^\s*(?:-\s+)*|:\s+|[\[{,]\s*)([\"'])")
_PAIR = re.compile(r":\s")
_WORD = re.compile(r"\s*(?:-\s+)?[\w.-]+\s*")
_QUOTES = {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2018": "'", "\u2019": "'"}


_TOML = re.compile(r"\[[\w.]+\]\s*$|\w+\s*=\s*\S")


class YamlMark(NamedTuple):
    """A place in the text, counted from 0."""

    line: int
    column: int


class Explained(NamedTuple):
    """What is wrong and where (from 0); `again` is the first line that must be left out to read the rest."""

    line: int
    column: int
    message: str
    again: int


def explain(problem: str, context: str, place: YamlMark, opened: YamlMark | None, text: str) -> Explained:
    """In words: the scanner's `problem` at `place`, met in a `context` that began at `opened`."""
    lines = text.split("\n")
    focus = place.line
    if opened is not None and "could not find expected ':'" in problem:
        focus = opened.line
    line = lines[focus] if focus < len(lines) else ""
    for found in _suspicions(problem, context, place, opened, lines, focus):
        return found
    column = place.column if focus == place.line else max(len(line) - len(line.lstrip()), 0)
    return Explained(focus, column, f"not YAML: {problem}" + (f" ({context})" if context else ""), focus)


def _suspicions(
    problem: str, context: str, place: YamlMark, opened: YamlMark | None, lines: Sequence[str], focus: int
) -> Iterator[Explained]:
    line = lines[focus] if focus < len(lines) else ""
    if "'\\t'" in problem:
        yield Explained(place.line, place.column, "a tab cannot indent or begin anything in YAML: use spaces", focus)
    if line.startswith("```"):
        yield Explained(focus, 0, "``` belongs to Markdown, not to YAML: take these lines out", focus)
    for number, written in enumerate(lines[: focus + 1]):
        if (slashes := re.match(r"\s*//", written)) is not None:
            column = slashes.end() - 2
            yield Explained(number, column, "// begins no comment in YAML: write # for it", number)
    if any(_TOML.match(one) for one in lines[: focus + 1]):
        yield Explained(
            focus, 0, "this looks like TOML: YAML is written `key: value`, and sections by indentation", focus
        )
    for number in (focus, focus - 1):
        if number >= 0 and number < len(lines) and (odd := invisible(lines[number])) is not None:
            column, name = odd
            message = f"this line holds {name}, which YAML does not understand: type it anew"
            yield Explained(number, column, message, number)
    for pattern in (_STAR, _BANG, _ODD_START):
        found = pattern.search(line)
        if found is not None and (focus != place.line or found.start(1) <= place.column + 1):
            first = found[1][0]
            message = f'a text that begins with {first} needs quotes: "{found[1][:40]}"'
            yield Explained(focus, found.start(1), message, focus)
    yield from _quotes(problem, context, place, opened, lines)
    yield from _brackets(problem, context, place, opened, lines)
    yield from _colons(problem, place, lines, focus)
    yield from _indentation(problem, place)


def _quotes(
    problem: str, context: str, place: YamlMark, opened: YamlMark | None, lines: Sequence[str]
) -> Iterator[Explained]:
    if "quoted scalar" in context and opened is not None:
        if "end of stream" in problem or "document separator" in problem:
            yield Explained(*opened, "the quote that opens here is never closed", opened.line)
        elif "escape" in problem:
            message = (
                "inside double quotes a backslash begins an escape: put the text in single quotes, or write \\\\ for it"
            )
            yield Explained(*place, message, opened.line)
    if "<block end>" in problem and "'<scalar>'" in problem:
        yield from _closed_too_early(place, lines)


def _closed_too_early(place: YamlMark, lines: Sequence[str]) -> Iterator[Explained]:
    """A quoted text ended just before `place`: in its own line, or lines below because it was never closed there."""
    text = "\n".join(lines)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    stopped = starts[place.line] + place.column
    for number in range(place.line, max(place.line - 20, -1), -1):
        found = _QUOTE.search(lines[number])
        if found is None:
            continue
        quote, column = found[1], found.start(1)
        closed = text.find(quote, starts[number] + column + 1)
        if not 0 <= closed < stopped:
            continue
        if closed < starts[number + 1]:
            escape = "twice" if quote == "'" else 'as \\"'
            message = f"text behind the closing quote: inside {quote}…{quote} a {quote} is written {escape}"
            yield Explained(*place, message, number)
        yield Explained(number, column, "the quote that opens here is not closed in its line", number)
        return


def _last_open(lines: Sequence[str]) -> YamlMark | None:
    """The last bracket that nothing closes; what stands in quotes is not looked at closely."""
    waiting: list[tuple[str, YamlMark]] = []
    for number, line in enumerate(lines):
        for column, char in enumerate(re.sub(r"'[^']*'|\"[^\"]*\"|#.*", lambda found: " " * len(found[0]), line)):
            if char in "[{":
                waiting.append((char, YamlMark(number, column)))
            elif char in "]}" and waiting:
                waiting.pop()
    return waiting[-1][1] if waiting else None


def _brackets(
    problem: str, context: str, place: YamlMark, opened: YamlMark | None, lines: Sequence[str]
) -> Iterator[Explained]:
    if "but got '{'" in problem:
        message = "unexpected brace: inside { } and [ ], a text such as ${NAME} needs quotes"
        yield Explained(*place, message, opened.line if opened else place.line)
    if "flow node" in context and "<stream end>" in problem:
        opened = _last_open(lines) or opened
        bracket = lines[opened.line][opened.column] if opened is not None and opened.line < len(lines) else "["
        where = opened or place
        yield Explained(*where, f"the {bracket} that opens here is never closed", where.line)
    if "while parsing a flow" in context and opened is not None:
        bracket, closing = ("[", "]") if "sequence" in context else ("{", "}")
        if "<stream end>" in problem:
            yield Explained(*opened, f"the {bracket} that opens here is never closed", opened.line)
        if place.line == opened.line:
            message = f"expected a comma or {closing}"
            yield Explained(*place, message, opened.line)
        message = f"the {bracket} that opens here is not closed, or a comma is missing before line {place.line + 1}"
        yield Explained(*opened, message, opened.line)
    for closing in ("]", "}"):
        if f"found '{closing}'" in problem:
            yield Explained(*place, f"a {closing} too many: nothing that it could close is open", place.line)


def _colons(problem: str, place: YamlMark, lines: Sequence[str], focus: int) -> Iterator[Explained]:
    line = lines[focus] if focus < len(lines) else ""
    for number in (focus, focus - 1):
        if number >= 0 and (tight := _NO_SPACE.match(lines[number])) is not None and "quoted" not in problem:
            yield Explained(number, tight.end(1), f"a space is missing after the colon: `{tight[1]}: …`", number)
    if "could not find expected ':'" in problem:
        if _WORD.fullmatch(line):
            message = f"a colon is missing behind `{line.strip()[:60]}`"
        else:
            message = "expected `key: value`: is a colon missing, or does a text need quotes or more indentation?"
        yield Explained(focus, len(line) - len(line.lstrip()), message, focus)
    if "mapping values are not allowed" in problem:
        if len(_PAIR.findall(line[: place.column + 2])) > 1:
            yield Explained(*place, "a colon and a space inside a text: put the text in quotes", place.line)
        message = "unexpected `key:`: is this line indented like its neighbours, and is the text above it complete?"
        yield Explained(*place, message, place.line)


def _indentation(problem: str, place: YamlMark) -> Iterator[Explained]:
    if "<block end>" in problem and "found '-'" in problem:
        yield Explained(*place, "a list item among keys: is its - indented as its neighbours are?", place.line)
    if "expected <block end>" in problem:
        yield Explained(*place, "this line is indented like none of the lines above it", place.line)


def invisible(text: str) -> tuple[int, str] | None:
    """Column and name of the first character in `text` that looks like nothing, or like another; None without one."""
    for column, char in enumerate(text):
        if char < "\x7f":
            continue
        if unicodedata.category(char) in ("Cf", "Zs", "Zl", "Zp", "Cc"):
            return column, f"an invisible character ({_named(char)})"
        meant = _QUOTES.get(char) or unicodedata.normalize("NFKC", char)
        if len(meant) == 1 and meant in string.punctuation:
            return column, f"the character {char} instead of {meant}"
    return None


def _named(char: str) -> str:
    return f"{unicodedata.name(char, 'no name').lower()}, U+{ord(char):04X}"
