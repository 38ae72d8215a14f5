"""An answer's text for reading aloud: no Markdown, emoji, addresses, tables, code blocks or citations.

Text is passed on as soon as it is certain how it will be spoken. Most of it is at once; a mark waits for the next
character or two, an opening bracket for its partner, at most to the end of its sentence. The result does not depend on
how the text is cut, and speakable text is unchanged: numbers, formulas, identifiers and quotations of any language are
not touched.
"""

import re
from collections.abc import Callable
from typing import Final

from openai_proxy.transforms.speech import inline as marks
from openai_proxy.transforms.speech import links
from openai_proxy.transforms.speech.characters import EMOJI, STYLES
from openai_proxy.transforms.speech.inline import MORE, Inline
from openai_proxy.transforms.speech.lines import NO_MARK, SpeechLines
from openai_proxy.transforms.speech.writer import SpeechWriter

_SPECIAL: Final = re.compile(rf"[\n*_`~\[\]<\\(:!&hH【\ue200{STYLES}{EMOJI}]")
"""Characters that the scanner must examine, an h and an exclamation mark only sometimes."""

_SOMETIMES: Final = re.compile(r"!(?=\[|\Z)|(?<![A-Za-z0-9_])[hH](?:t(?:t(?:ps?(?::(?:/(?:/|\Z)|\Z)|\Z)|\Z)|\Z)|\Z)")
"""The "!" of an image, and the beginning of an address; or what may become one of these at the end of the text."""

_BEGINNINGS: Final = frozenset("https"[:size] for size in range(1, 6)) | {"H", "Ht", "Htt", "Http", "Https"}
"""Words that may begin an address."""

_POINTS: Final = frozenset(".,;?-–—'’\"/%")
"""The most common pieces of streamed text, besides words."""

Handler = Callable[[Inline, str, int, bool], int]


def _image(inline: Inline, text: str, at: int, final: bool) -> int:
    """The "!" before an image is removed; only one at the start of a word can be that."""
    if inline.writer.before.isspace() or inline.writer.before in "(\0":
        if at + 1 == len(text) and not final:
            return MORE
        if text[at + 1 : at + 2] == "[":
            return at + 1
    inline.writer.write("!")
    return at + 1


_HANDLERS: Final[dict[str, Handler]] = {
    "*": marks.star,
    "_": marks.underscore,
    "`": marks.backtick,
    "~": marks.tilde,
    "\\": marks.backslash,
    "(": marks.parenthesis,
    "[": links.bracket,
    "]": links.left_over,
    "<": links.angle,
    "&": marks.entity,
    "【": links.mark,
    "\ue200": links.mark,
    ":": links.colon,
    "h": links.web_address,
    "H": links.web_address,
    "!": _image,
    **dict.fromkeys(STYLES, marks.style),
}


HELD: Final = 1000
"""Maximum characters that wait for a decision. No mark is as long, and each piece examines all of them again."""


class SpeechFilter:
    """Filters one text that arrives in pieces. Call `feed` for each, then `end` once."""

    __slots__ = ("_buffer", "_flowing", "_line", "_lines", "_marked", "_writer")

    def __init__(self, *, lines: bool = True) -> None:
        """Without `lines` the text is the inside of one line: nothing at its start is a mark."""
        self._buffer = ""  # what cannot be decided yet
        self._marked = lines
        self._flowing = False  # inside a line with nothing held back, most text passes after one check
        self._writer = SpeechWriter()
        self._line = Inline(self._writer, _plain)
        self._lines = SpeechLines(self._line)

    def feed(self, text: str) -> str:
        """What may be spoken now that `text` has arrived."""
        writer = self._writer
        if self._flowing:
            word = text[1:] if text[:1] == " " else text
            if (word.isalnum() and word not in _BEGINNINGS and word.isascii()) or word in _POINTS:
                return writer.pass_word(text, word)
            if _next_special(text, 0) == len(text):
                return writer.pass_on(text)
        self._buffer += text
        self._scan(False)
        if len(self._buffer) > HELD:
            self._scan(True)
        return writer.take()

    def end(self) -> str:
        """The rest, at the end of the text."""
        self._scan(True)
        self._lines.end()
        self._writer.finish()
        return self._writer.take()

    def _scan(self, final: bool) -> None:
        text, lines, inline, writer = self._buffer, self._lines, self._line, self._writer
        at = 0
        while at < len(text):
            following = NO_MARK
            if lines.fence:
                following = lines.in_fence(text, at, final)
            elif inline.busy:
                following = _within(inline, text, at, final)
            elif self._marked and writer.fresh:
                following = lines.begin(text, at, final)
            if following == NO_MARK and writer.removed and (closed := writer.close_up(text, at)) != at:
                following = closed
            elif following == NO_MARK:
                end = _next_special(text, at)
                if end > at:
                    writer.write(text[at:end])
                    following = end
                else:
                    following = self._special(text, at, final)
            if following == MORE:
                break
            at = following
        self._buffer = text[at:]
        self._flowing = not (self._buffer or writer.empty or writer.removed or inline.busy)

    def _special(self, text: str, at: int, final: bool) -> int:
        character = text[at]
        if character == "\n":
            self._lines.newline()
            return at + 1
        handler = _HANDLERS.get(character)
        return (handler or marks.picture)(self._line, text, at, final)


def _next_special(text: str, at: int) -> int:
    """The position of the next character to examine; the end of `text` if there is none."""
    while (found := _SPECIAL.search(text, at)) is not None:
        at = found.start()
        if text[at] not in "hH!" or _SOMETIMES.match(text, at) is not None:
            return at
        at += 1
    return len(text)


def _within(inline: Inline, text: str, at: int, final: bool) -> int:
    """Continue within something that is not spoken."""
    if inline.in_address:
        return links.address(inline, text, at, final)
    if inline.in_target:
        return links.target(inline, text, at)
    if inline.skipping:
        line = text.find("\n", at)
        inline.skipping = line < 0
        return line if line >= 0 else len(text)
    return marks.after_picture(inline, text, at)


def _plain(text: str) -> str:
    if _next_special(text, 0) == len(text):
        return text
    inside = SpeechFilter(lines=False)
    return inside.feed(text) + inside.end()


def speakable(text: str) -> str:
    """The speakable part of the whole `text`."""
    whole = SpeechFilter()
    return whole.feed(text) + whole.end()
