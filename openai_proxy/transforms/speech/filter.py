"""An answer's text as it may be read aloud: no Markdown, emoji, addresses, tables, code blocks or citations.

Text goes through as soon as it is certain how it is to be spoken. Most of it is certain at once; a mark waits for the
next character or two, an opening bracket for its partner, at most to the end of its sentence. Cutting the text
differently changes nothing in the whole, and text that is fit to be spoken comes out as it went in: numbers,
formulas, identifiers and quotations of any language are not touched.
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

_SPECIAL: Final = re.compile(rf"[\n*_`~\[\]<\\(:!hH【\ue200{STYLES}{EMOJI}]")
"""Characters at which the scanner has to look closer, at an h and an exclamation mark only sometimes."""

_SOMETIMES: Final = re.compile(r"!(?=\[|\Z)|(?<![A-Za-z0-9_])[hH](?:t(?:t(?:ps?(?::(?:/(?:/|\Z)|\Z)|\Z)|\Z)|\Z)|\Z)")
"""The "!" of an image, and the beginning of an address; or what may become one of these at the end of the text."""

_BEGINNINGS: Final = frozenset("https"[:size] for size in range(1, 6)) | {"H", "Ht", "Htt", "Http", "Https"}
"""Words that may be the beginning of an address."""

_POINTS: Final = frozenset(".,;?-–—'’\"/%")
"""Of the pieces that text comes in, those that are most common besides words."""

Handler = Callable[[Inline, str, int, bool], int]


def _image(inline: Inline, text: str, at: int, final: bool) -> int:
    """The "!" before an image goes; only one at the start of a word can be that."""
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
    "【": links.mark,
    "\ue200": links.mark,
    ":": links.colon,
    "h": links.web_address,
    "H": links.web_address,
    "!": _image,
    **dict.fromkeys(STYLES, marks.style),
}


HELD: Final = 1000
"""Characters that wait for a decision at most. No mark is as long, and each piece looks at all that waits once more."""


class SpeechFilter:
    """Filters one text that comes in pieces. `feed` it, then `end` it once."""

    __slots__ = ("_buffer", "_flowing", "_inline", "_lines", "_marked", "_writer")

    def __init__(self, *, lines: bool = True) -> None:
        """Without `lines` the text is the inside of one line: nothing at its start is a mark."""
        self._buffer = ""  # what cannot be decided yet
        self._marked = lines
        self._flowing = False  # in the midst of a line, where nothing is held: most text is let through by one look
        self._writer = SpeechWriter()
        self._inline = Inline(self._writer, _plain)
        self._lines = SpeechLines(self._inline)

    def feed(self, text: str) -> str:
        """What may be spoken now that `text` has come."""
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
        """What is left now that nothing more comes."""
        self._scan(True)
        self._lines.end()
        self._writer.finish()
        return self._writer.take()

    def _scan(self, final: bool) -> None:
        text, lines, inline, writer = self._buffer, self._lines, self._inline, self._writer
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
        return (handler or marks.picture)(self._inline, text, at, final)


def _next_special(text: str, at: int) -> int:
    """Where the next character stands that needs a closer look; the end of `text` if there is none."""
    while (found := _SPECIAL.search(text, at)) is not None:
        at = found.start()
        if text[at] not in "hH!" or _SOMETIMES.match(text, at) is not None:
            return at
        at += 1
    return len(text)


def _within(inline: Inline, text: str, at: int, final: bool) -> int:
    """Go on within something that is not spoken."""
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
    inside = SpeechFilter(lines=False)
    return inside.feed(text) + inside.end()


def speakable(text: str) -> str:
    """The whole of `text` as it may be spoken."""
    whole = SpeechFilter()
    return whole.feed(text) + whole.end()
