"""Marks within a line: emphasis, code, escapes, pictures.

Each function looks at the text from `at` on and returns where to go on, or `MORE` while what follows could still
change the decision. Given the same text it decides the same, however the text is cut into pieces: this is what makes
the filter exact. With `final` nothing follows any more.
"""

import re
from collections.abc import Callable
from typing import Final

from openai_proxy.transforms.speech.characters import EMOJI, JOINERS
from openai_proxy.transforms.speech.writer import PICTURE, SpeechWriter

MORE: Final = -1
MAX_HELD: Final = 300  # characters that are waited for, where no sentence ends before

SENTENCE_END: Final = re.compile(r"[!?…](?=\s)|\w{3}\.(?=\s)|[。！？\n]")
"""The end of a sentence, as far as it limits how long text is held: "Dr. No" does not end one, nor does "3. May"."""

_PICTURES: Final = re.compile(f"[{EMOJI}{JOINERS}]+")
_ESCAPED: Final = frozenset("*_`~#|>.+-\n")
_IDENTIFIER: Final = re.compile(r"[a-z0-9_]+(?!\w)")
_DUNDER: Final = re.compile(r"__[a-z0-9]+(?:_[a-z0-9]+)*__(?!\w)")
_UNDERSCORED: Final = re.compile(r"(?<=[^\s_])_+(?!\w)")


class Inline:
    """What is known within a paragraph."""

    __slots__ = (
        "depth",
        "in_address",
        "in_picture",
        "in_target",
        "plain",
        "skipping",
        "stars",
        "underscores",
        "writer",
    )

    def __init__(self, writer: SpeechWriter, plain: Callable[[str], str]) -> None:
        """`plain` is the filter for the text of a link: a whole text, without rules for lines."""
        self.writer = writer
        self.plain = plain
        self.stars: set[int] = set()  # emphasis that is open, by the length of its mark
        self.underscores: set[int] = set()
        self.in_address = False  # within a bare address
        self.in_target = False  # within the target of a link
        self.depth = 0  # parentheses open in either
        self.in_picture = False  # the last thing seen was a picture: what joins it to the next goes, too
        self.skipping = False  # the rest of the line is not spoken

    @property
    def busy(self) -> bool:
        """True within something that is not spoken."""
        return self.in_address or self.in_target or self.in_picture or self.skipping

    def end_paragraph(self) -> None:
        """Emphasis does not reach beyond an empty line."""
        self.stars.clear()
        self.underscores.clear()


def run_end(text: str, at: int) -> int:
    """Where the run of the character at `at` ends."""
    mark, end = text[at], at + 1
    while end < len(text) and text[end] == mark:
        end += 1
    return end


def star(inline: Inline, text: str, at: int, final: bool) -> int:
    """`*`, `**`, `***`: emphasis goes, multiplication stays ("2*3", "2 * 3", "x**2")."""
    end = run_end(text, at)
    if end == len(text) and not final:
        return MORE
    size = end - at
    before = inline.writer.before
    after = text[end] if end < len(text) else "\n"
    if before.isspace() and after.isspace():
        inline.writer.write(text[at:end])
        return end
    is_open = size in inline.stars
    if _is_operand(before, ")]") and _is_operand(after, "(") and not (is_open and not before.isdigit()):
        inline.writer.write(text[at:end])
    elif is_open and not before.isspace():
        inline.stars.discard(size)
    elif not after.isspace():
        inline.stars.add(size)
    return end


def _is_operand(character: str, brackets: str) -> bool:
    return character.isascii() and (character.isalnum() or character in brackets)


def underscore(inline: Inline, text: str, at: int, final: bool) -> int:
    """`_emphasis_` goes; snake_case, __init__ and _private stay."""
    end = run_end(text, at)
    if end == len(text) and not final:
        return MORE
    writer, size = inline.writer, end - at
    before = writer.before
    after = text[end] if end < len(text) else "\n"
    is_open = size in inline.underscores
    if before.isalnum():
        if is_open and not after.isalnum():
            inline.underscores.discard(size)
        else:
            writer.write(text[at:end])
        return end
    if after.isalnum():
        return _opening(inline, text, at, end, final)
    if before.isspace() and after.isspace():
        writer.write(text[at:end])
    elif is_open:
        inline.underscores.discard(size)
    elif not after.isspace():
        inline.underscores.add(size)
    return end


def _opening(inline: Inline, text: str, at: int, end: int, final: bool) -> int:
    """An underscore before a word: emphasis if it is closed within its sentence, else perhaps part of a name."""
    writer, size = inline.writer, end - at
    if (name := _DUNDER.match(text, at)) is not None and (name.end() < len(text) or final):
        writer.write(name.group())
        return name.end()
    sentence = SENTENCE_END.search(text, end, at + MAX_HELD)
    limit = sentence.end() if sentence is not None else min(len(text), at + MAX_HELD)
    for closing in _UNDERSCORED.finditer(text, end, limit):
        if closing.end() - closing.start() == size and (closing.end() < len(text) or final):
            inline.underscores.add(size)
            return end
    if not final and sentence is None and len(text) <= at + MAX_HELD:
        return MORE
    if (name := _IDENTIFIER.match(text, end)) is not None:
        writer.write(text[at : name.end()])
        return name.end()
    inline.underscores.add(size)
    return end


def backtick(inline: Inline, text: str, at: int, final: bool) -> int:
    """The marks of inline code go; what stands between them is ordinary text."""
    return run_end(text, at)


def tilde(inline: Inline, text: str, at: int, final: bool) -> int:
    """`~~struck~~` loses its marks; "~5" stays."""
    end = run_end(text, at)
    if end == len(text) and not final:
        return MORE
    after = text[end] if end < len(text) else "\n"
    if end - at != 2 or (inline.writer.before.isspace() and after.isspace()):
        inline.writer.write(text[at:end])
    return end


def backslash(inline: Inline, text: str, at: int, final: bool) -> int:
    """A backslash before a character of Markdown goes; LaTeX and paths keep theirs."""
    end = run_end(text, at)
    if end == len(text) and not final:
        return MORE
    if end == len(text) or text[end] not in _ESCAPED:
        inline.writer.write(text[at:end])
    return end


def picture(inline: Inline, text: str, at: int, final: bool) -> int:
    """An emoji, or several."""
    found = _PICTURES.match(text, at)
    assert found is not None
    inline.writer.remove(PICTURE)
    inline.in_picture = found.end() == len(text)
    return found.end()


def after_picture(inline: Inline, text: str, at: int) -> int:
    """What joins an emoji, which ended the last piece of text, to the next one."""
    found = _PICTURES.match(text, at)
    end = found.end() if found is not None else at
    inline.in_picture = end == len(text)
    return end


def style(inline: Inline, text: str, at: int, final: bool) -> int:
    """A variation selector behind a character that stays."""
    return at + 1


def parenthesis(inline: Inline, text: str, at: int, final: bool) -> int:
    """ "(" goes if all that follows up to ")" does."""
    inline.writer.wait("(")
    return at + 1
