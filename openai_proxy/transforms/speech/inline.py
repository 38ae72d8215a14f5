"""Marks within a line: emphasis, code, escapes, pictures.

Each function examines the text from `at` on and returns where to continue, or `MORE` while what follows could still
change the decision. The decision does not depend on how the text is cut into pieces: this makes the filter exact. With
`final` there is no more text.
"""

import re
from collections.abc import Callable
from typing import Final

from openai_proxy.transforms.speech.characters import EMOJI, JOINERS
from openai_proxy.transforms.speech.writer import PICTURE, SpeechWriter

MORE: Final = -1
MAX_HELD: Final = 300  # maximum characters to wait for, if no sentence ends before

SENTENCE_END: Final = re.compile(r"[!?…](?=\s)|\w{3}\.(?=\s)|[。！？\n]")
"""The end of a sentence, for limiting how long text is held: neither "Dr. No" nor "3. May" ends one."""

_PICTURES: Final = re.compile(f"[{EMOJI}{JOINERS}]+")
_ESCAPED: Final = frozenset("*_`~#|>.+-\n")
_ENTITIES: Final = {"amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "#39": "'", "nbsp": " ", "#160": " "}
_ENTITY: Final = re.compile(f"&({'|'.join(_ENTITIES)});")
_ENTITY_SO_FAR: Final = re.compile(r"&(?:[a-z]{0,4}|#\d{0,3})\Z")
_IDENTIFIER: Final = re.compile(r"[a-z0-9_]+(?!\w)")
_DUNDER: Final = re.compile(r"__[a-z0-9]+(?:_[a-z0-9]+)*__(?!\w)")
_WORD: Final = re.compile(r"\w*")
_UNDERSCORED: Final = re.compile(r"(?<=[^\s_])_+(?!\w)")


class Inline:
    """The state within a paragraph."""

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
        self.stars: set[int] = set()  # open emphasis, by the length of its mark
        self.underscores: set[int] = set()
        self.in_address = False  # within a bare address
        self.in_target = False  # within the target of a link
        self.depth = 0  # parentheses open in either
        self.in_picture = False  # the last thing was a picture: what joins it to the next is removed, too
        self.skipping = False  # the rest of the line is not spoken

    @property
    def busy(self) -> bool:
        """True inside something that is not spoken."""
        return self.in_address or self.in_target or self.in_picture or self.skipping

    def end_paragraph(self) -> None:
        """End emphasis, which does not extend beyond an empty line."""
        self.stars.clear()
        self.underscores.clear()


def run_end(text: str, at: int) -> int:
    """Where the run of the character at `at` ends."""
    mark, end = text[at], at + 1
    while end < len(text) and text[end] == mark:
        end += 1
    return end


def star(inline: Inline, text: str, at: int, final: bool) -> int:
    """`*`, `**`, `***`: emphasis is removed, multiplication stays ("2*3", "2 * 3", "x**2")."""
    end = run_end(text, at)
    if end == len(text) and not final:
        return MORE
    size = end - at
    before = inline.writer.before
    after = text[end] if end < len(text) else "\n"
    is_open = size in inline.stars
    if before.isspace() and after.isspace():
        _apart(inline, text[at:end], is_open=is_open)
        return end
    if _is_operand(before, ")]") and _is_operand(after, "(") and not (is_open and not before.isdigit()):
        within = size > 1 and _ends_a_word(text, end, size, final)
        if within == MORE:
            return MORE
        if within:
            inline.stars.add(size)
        else:
            inline.writer.write(text[at:end])
    elif is_open and not before.isspace():
        inline.stars.discard(size)
    elif not after.isspace():
        inline.stars.add(size)
    return end


def _ends_a_word(text: str, at: int, size: int, final: bool) -> int:
    """1 if the word at `at` ends in a run of `size` stars not followed by an operand, 0 if not, or MORE.

    "Living**room** light" is emphasis, "x**y" and "x**y**2" are powers.
    """
    end = _WORD.match(text, at, at + MAX_HELD).end()  # type: ignore[union-attr]  # it also matches nothing
    if end < len(text) and text[end] != "*":
        return 0
    closed = run_end(text, end) if end < len(text) else end
    if closed < len(text):
        return int(closed - end == size and not _is_operand(text[closed], "("))
    return int(closed - end == size) if final or len(text) >= at + MAX_HELD else MORE


def _apart(inline: Inline, run: str, *, is_open: bool) -> None:
    """Stars between spaces: one multiplies, two after a number are its power; "** important **" is emphasis."""
    writer = inline.writer
    if len(run) == 1 or (len(run) == 2 and not is_open and _is_number(writer.last[-1:])):
        writer.write(run)
    elif is_open:
        inline.stars.discard(len(run))
        writer.remove()
    else:
        inline.stars.add(len(run))
        writer.remove()


def _is_number(character: str) -> bool:
    return character.isdigit() or character == ")"


def _is_operand(character: str, brackets: str) -> bool:
    return character.isascii() and (character.isalnum() or character in brackets)


def underscore(inline: Inline, text: str, at: int, final: bool) -> int:
    """`_emphasis_` is removed; snake_case, __init__ and _private stay."""
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
    """The marks of inline code are removed; the text between them is ordinary text."""
    return run_end(text, at)


def entity(inline: Inline, text: str, at: int, final: bool) -> int:
    """`&amp;` is "&", `&nbsp;` a space; other ampersands stay."""
    if (found := _ENTITY.match(text, at)) is not None:
        inline.writer.write(_ENTITIES[found.group(1)])
        return found.end()
    if not final and _ENTITY_SO_FAR.match(text, at) is not None:
        return MORE
    inline.writer.write("&")
    return at + 1


def tilde(inline: Inline, text: str, at: int, final: bool) -> int:
    """`~~struck~~` loses its marks; "~5" stays."""
    end = run_end(text, at)
    if end == len(text) and not final:
        return MORE
    after = text[end] if end < len(text) else "\n"
    if end - at != 2:
        inline.writer.write(text[at:end])
    elif inline.writer.before.isspace() and after.isspace():
        inline.writer.remove()
    return end


def backslash(inline: Inline, text: str, at: int, final: bool) -> int:
    """A backslash before a Markdown character is removed; LaTeX and paths keep theirs."""
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
    """A variation selector after a character that stays."""
    return at + 1


def parenthesis(inline: Inline, text: str, at: int, final: bool) -> int:
    """ "(" is removed if everything up to ")" is."""
    inline.writer.wait("(")
    return at + 1
