"""Explains invalid YAML in words that say how to fix it.

A scanner reports where it stopped, often lines after the mistake, so the lines themselves are checked for common
mistakes. Imported only if something is wrong.
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
_BLOCK_TEXT = re.compile(r":\s*[|>][-+\d]*\s*$")
_QUOTES = {"\u201c": '"', "\u201d": '"', "\u201e": '"', "\u2018": "'", "\u2019": "'"}


_DASH = re.compile(r"\s*-(?=[^\s-])|\s*-(?=-\w)")
_PAGE = re.compile(r"\s*<(!doctype|html|\?xml)", re.IGNORECASE)
_TOML = re.compile(r"\[[\w.]+\]\s*$|\w+\s*=\s*\S")


class YamlMark(NamedTuple):
    """A position in the text, counted from 0."""

    line: int
    column: int


class Explanation(NamedTuple):
    """What is wrong and where (from 0); `again` is the first line to leave out in order to read the rest."""

    line: int
    column: int
    message: str
    again: int


def explain(problem: str, context: str, place: YamlMark, opened: YamlMark | None, text: str) -> Explanation:
    """Explain the scanner's `problem` at `place`, found in a `context` that began at `opened`."""
    lines = text.split("\n")
    focus = place.line
    if opened is not None and "could not find expected ':'" in problem:
        focus = opened.line
    line = lines[focus] if focus < len(lines) else ""
    for found in _suspicions(problem, context, place, opened, lines, focus):
        return found
    column = place.column if focus == place.line else max(len(line) - len(line.lstrip()), 0)
    message = "this cannot be read as YAML: are its quotes, brackets, colons and indentation right?"
    return Explanation(focus, column, message, focus)


def _suspicions(
    problem: str, context: str, place: YamlMark, opened: YamlMark | None, lines: Sequence[str], focus: int
) -> Iterator[Explanation]:
    line = lines[focus] if focus < len(lines) else ""
    if "'\\t'" in problem:
        yield Explanation(place.line, place.column, "YAML does not allow tabs for indentation: use spaces", focus)
    if _PAGE.match(lines[0]):
        yield Explanation(
            0, 0, "this is a web page, not YAML: copy the text that it shows, or fetch the raw file", len(lines) - 1
        )
    if line.startswith("```"):
        yield Explanation(focus, 0, "``` belongs to Markdown, not to YAML: remove these lines", focus)
    for number, written in enumerate(lines[: focus + 1]):
        if (slashes := re.match(r"\s*//", written)) is not None:
            column = slashes.end() - 2
            yield Explanation(number, column, "// does not begin a comment in YAML: write #", number)
    if any(_TOML.match(one) for one in lines[: focus + 1]):
        yield Explanation(
            focus, 0, "this looks like TOML: YAML is written `key: value`, and sections by indentation", focus
        )
    for number in (focus, focus - 1):
        if number >= 0 and number < len(lines) and (odd := invisible(lines[number])) is not None:
            column, name = odd
            message = f"this line contains {name}, which YAML does not understand: type it again"
            yield Explanation(number, column, message, number)
    for pattern in (_STAR, _BANG, _ODD_START):
        found = pattern.search(line)
        if found is not None and (focus != place.line or found.start(1) <= place.column + 1):
            first = found[1][0]
            message = f'a text that begins with {first} needs quotes: "{found[1][:40]}"'
            yield Explanation(focus, found.start(1), message, focus)
    yield from _quotes(problem, context, place, opened, lines)
    yield from _brackets(problem, context, place, opened, lines)
    yield from _colons(problem, place, lines, focus)
    yield from _indentation(problem, place)


def _quotes(
    problem: str, context: str, place: YamlMark, opened: YamlMark | None, lines: Sequence[str]
) -> Iterator[Explanation]:
    if "quoted scalar" in context and opened is not None:
        if "end of stream" in problem or "document separator" in problem:
            yield Explanation(*opened, "the quote that opens here is never closed", opened.line)
        elif "escape" in problem:
            message = (
                "inside double quotes a backslash begins an escape: put the text in single quotes, or write \\\\ for it"
            )
            yield Explanation(*place, message, opened.line)
    if "<block end>" in problem and "'<scalar>'" in problem:
        yield from _closed_too_early(place, lines)


def _closed_too_early(place: YamlMark, lines: Sequence[str]) -> Iterator[Explanation]:
    """A quoted text ended just before `place`: on its line, or lines below because it was not closed there."""
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
            message = f"text after the closing quote: inside {quote}…{quote} a {quote} is written {escape}"
            yield Explanation(*place, message, number)
        yield Explanation(number, column, "the quote that opens here is not closed on its line", number)
        return


def _last_open(lines: Sequence[str]) -> YamlMark | None:
    """The last bracket that is never closed; quotes are only roughly considered."""
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
) -> Iterator[Explanation]:
    if "but got '{'" in problem:
        message = "unexpected brace: inside { } and [ ], a text such as ${NAME} needs quotes"
        yield Explanation(*place, message, opened.line if opened else place.line)
    if "flow node" in context and "<stream end>" in problem:
        opened = _last_open(lines) or opened
        yield _never_closed(opened or place, lines)
    if "while parsing a flow" in context and opened is not None:
        bracket, closing = ("[", "]") if "sequence" in context else ("{", "}")
        if "<stream end>" in problem:
            yield _never_closed(opened, lines)
        if place.line == opened.line:
            message = f"expected a comma or {closing}"
            yield Explanation(*place, message, opened.line)
        message = f"the {bracket} that opens here is not closed, or a comma is missing before line {place.line + 1}"
        yield Explanation(*opened, message, opened.line)
    if "<document start>" in problem:
        message = "text after the end of the content: is a bracket, brace or quote closed too early?"
        yield Explanation(*place, message, place.line)
    for closing in ("]", "}"):
        if f"found '{closing}'" in problem:
            yield Explanation(*place, f"an extra {closing}: nothing that it could close is open", place.line)


def _never_closed(opened: YamlMark, lines: Sequence[str]) -> Explanation:
    rest = lines[opened.line][opened.column :] if opened.line < len(lines) else ""
    hint = ": a # begins a comment, so a text with one needs quotes" if " #" in rest else ""
    return Explanation(*opened, f"the {rest[:1] or '['} that opens here is never closed{hint}", opened.line)


def _colons(problem: str, place: YamlMark, lines: Sequence[str], focus: int) -> Iterator[Explanation]:
    line = lines[focus] if focus < len(lines) else ""
    for number in (focus, focus - 1):
        if number >= 0 and (tight := _NO_SPACE.match(lines[number])) is not None and "quoted" not in problem:
            yield Explanation(number, tight.end(1), f"a space is missing after the colon: `{tight[1]}: …`", number)
    if "could not find expected ':'" in problem:
        above = next((number for number in range(focus - 1, -1, -1) if lines[number].strip()), 0)
        if focus and _BLOCK_TEXT.search(lines[above]):
            message = f"the text that begins after line {above + 1} must be indented more deeply than its key"
        elif _DASH.match(line):
            message = "each item of a list begins with a dash and a space: is one of them missing?"
        elif _WORD.fullmatch(line):
            message = f"a colon is missing after `{line.strip()[:60]}`"
        else:
            message = "expected `key: value`: is a colon missing, or does a text need quotes or more indentation?"
        yield Explanation(focus, len(line) - len(line.lstrip()), message, focus)
    if "mapping values are not allowed" in problem:
        if len(_PAIR.findall(line[: place.column + 2])) > 1:
            yield Explanation(*place, "a colon and a space inside a text: put the text in quotes", place.line)
        key = re.search(r"([\w.-]+)\s*$", line[: place.column])
        what = f"`{key[1][:60]}:`" if key is not None else "a colon"
        message = f"unexpected {what}: is this line indented like its neighbours, and is the text above it complete?"
        yield Explanation(*place, message, place.line)


def _indentation(problem: str, place: YamlMark) -> Iterator[Explanation]:
    if "<block end>" in problem and "found '-'" in problem:
        yield Explanation(*place, "a list item among keys: is its - indented like its neighbours?", place.line)
    if "expected <block end>" in problem:
        yield Explanation(*place, "this line is not indented like any of the lines above it", place.line)


def invisible(text: str) -> tuple[int, str] | None:
    """Column and name of the first invisible or look-alike character in `text`; None without one."""
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
