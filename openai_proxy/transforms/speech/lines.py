"""The kind of a line, determined by its beginning: heading, list item, quotation, table row, fence, rule.

The conventions of `inline` apply here, too; `NO_MARK` means that the line continues as ordinary text.
"""

import re
from typing import Final

from openai_proxy.transforms.speech.inline import MORE, Inline, run_end
from openai_proxy.transforms.speech.writer import SpeechWriter

NO_MARK: Final = -2

TEXT: Final = 0
HEADING: Final = 1
ITEM: Final = 2
NUMBERED: Final = 3
ROW: Final = 4

_MAX_ROW: Final = 2000
_MAX_INFO: Final = 100  # characters after the opening of a code fence
_MARKS: Final = frozenset(" \t\r\n#>-*+•◦‣▪●○■_=`~|0123456789")

_BLANKS: Final = re.compile(r"[ \t\r]*")
_RULE: Final = re.compile(r"(?:([-*_])(?:[ \t]*\1){2,}|={3,})[ \t\r]*(?:\n|\Z)")
_RULE_SO_FAR: Final = re.compile(r"(?:([-*_])(?:[ \t]*\1)*|=+)[ \t\r]*\Z")
_BULLET: Final = re.compile(r"[-*+•◦‣▪●○■][ \t]+(?:\[[ xX]\][ \t]+)?")
_BULLET_SO_FAR: Final = re.compile(r"[-*+•◦‣▪●○■](?:[ \t]+(?:\[(?:[ xX]\]?)?[ \t]*)?)?\Z")
_NUMBER: Final = re.compile(r"\d{1,3}[.)][ \t]")
_NUMBER_SO_FAR: Final = re.compile(r"\d{1,3}[.)]?\Z")
_FENCE_END: Final = re.compile(r"[ \t>]*(`*|~*)[ \t\r]*(?:\n|\Z)")
_FENCE_END_SO_FAR: Final = re.compile(r"[ \t>]*(?:`*|~*)[ \t\r]*\Z")
_CELL_END: Final = re.compile(r"(?<!\\)\|")
_ALIGNMENT: Final = re.compile(r"[ \t]*:?-+:?[ \t]*")


class SpeechLines:
    """The position of a text within its lines."""

    __slots__ = ("_fence_start", "_items", "_table", "fence", "inline", "kind")

    def __init__(self, inline: Inline) -> None:
        self.inline = inline
        self.kind = TEXT  # of the line we are in
        self.fence = ""  # the mark that opened the code block we are in
        self._fence_start = False  # at the start of a line of it
        self._items = 0  # numbered lines in a row: a single one may be a date ("3. Oktober 1990")
        self._table = False  # the line before was a row

    @property
    def writer(self) -> SpeechWriter:
        """Where the text goes."""
        return self.inline.writer

    def newline(self) -> None:
        """End a line whose content has been written."""
        self._end_line()
        self.inline.skipping = False
        self.writer.newline()
        self.kind = TEXT

    def end(self) -> None:
        """End the whole text."""
        self._end_line()
        self._settle(TEXT)

    def _end_line(self) -> None:
        writer = self.writer
        if writer.empty:
            return
        if self.kind == HEADING:
            writer.end_sentence()
        elif self.kind in (ITEM, NUMBERED):
            writer.owed = self.kind
        if self.kind in (TEXT, HEADING):
            self._items = 0
        if self.kind != ROW:
            self._table = False

    def _settle(self, kind: int) -> None:
        """The previous line has ended, and this one, of `kind`, does not continue it."""
        owed = self.writer.owed
        if owed == ITEM or (owed == NUMBERED and (kind == NUMBERED or self._items > 1)):
            self.writer.end_sentence()
            self.writer.owed = TEXT
        elif kind != TEXT:
            self.writer.owed = TEXT

    def begin(self, text: str, at: int, final: bool) -> int:
        """Read one mark at the start of a line, or the white space before it."""
        first = text[at]
        if first not in _MARKS:
            return NO_MARK
        if first in " \t\r":
            end = _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if not self.writer.removed:
                self.writer.write(text[at:end])
            return end
        if first == "\n":
            self._blank()
            return NO_MARK
        if first == "#":
            return self._heading(text, at, final)
        if first == ">":
            return self._quotation(text, at, final)
        if first in "`~":
            return self._open_fence(text, at, final)
        if first == "|":
            return self._row(text, at, final)
        if first.isdigit():
            return self._number(text, at, final)
        return self._rule_or_item(text, at, final)

    def _blank(self) -> None:
        self.inline.end_paragraph()
        self._table = False
        if self.kind == TEXT:
            self._settle(TEXT)

    def _heading(self, text: str, at: int, final: bool) -> int:
        end = run_end(text, at)
        if end == len(text) and not final:
            return MORE
        if end - at > 6 or text[end : end + 1] not in ("", " ", "\t", "\n", "\r"):
            return NO_MARK
        self._settle(HEADING)
        self.inline.end_paragraph()
        self.writer.remove_mark()
        self.kind = HEADING
        return end

    def _quotation(self, text: str, at: int, final: bool) -> int:
        following = text[at + 1 : at + 2]
        after = text[at + 2 : at + 3] if following == " " else following
        if not after and not final:
            return MORE
        if after.isdigit() or following == "=":
            return NO_MARK  # "> 5"
        self.writer.remove_mark()
        return at + 1

    def _number(self, text: str, at: int, final: bool) -> int:
        if self.kind != TEXT:
            return NO_MARK
        if _NUMBER.match(text, at) is not None:
            self._settle(NUMBERED)
            self._items += 1
            self.kind = NUMBERED
        elif not final and _NUMBER_SO_FAR.match(text, at) is not None:
            return MORE
        return NO_MARK

    def _rule_or_item(self, text: str, at: int, final: bool) -> int:
        if not final and _RULE_SO_FAR.match(text, at) is not None:
            return MORE
        if (rule := _RULE.match(text, at)) is not None:
            return self._leave_out(rule.end() - 1 if text[rule.end() - 1] == "\n" else rule.end())
        if not final and _BULLET_SO_FAR.match(text, at) is not None:
            return MORE
        bullet = _BULLET.match(text, at)
        if bullet is None or (text[at] == "+" and text[bullet.end() : bullet.end() + 1].isdigit()):
            return NO_MARK
        self._settle(ITEM)
        self.writer.remove_mark()
        self.kind, self._items = ITEM, 0
        return bullet.end()

    def _leave_out(self, end: int) -> int:
        """A line that consists only of marks; its line break is at `end`."""
        self._settle(HEADING)
        self.writer.remove_mark()
        self.kind, self._items = TEXT, 0
        return end

    def _open_fence(self, text: str, at: int, final: bool) -> int:
        end = run_end(text, at)
        if end == len(text) and not final:
            return MORE
        if end - at < 3:
            return NO_MARK
        line = text.find("\n", end, end + _MAX_INFO)
        info = text[end : line if line >= 0 else end + _MAX_INFO]
        if text[at] == "`" and "`" in info:
            return NO_MARK
        if line < 0 and (not final or len(text) >= end + _MAX_INFO):
            return MORE if len(text) < end + _MAX_INFO else NO_MARK
        self.fence, self._fence_start = text[at:end], False
        return self._leave_out(line if line >= 0 else len(text))

    def in_fence(self, text: str, at: int, final: bool) -> int:
        """Inside a code block: nothing is spoken."""
        if self._fence_start:
            if not final and _FENCE_END_SO_FAR.match(text, at) is not None:
                return MORE
            closing = _FENCE_END.match(text, at)
            self._fence_start = False
            if closing is not None and closing.group(1).startswith(self.fence):
                self.fence = ""
                return closing.end() - 1 if text[closing.end() - 1] == "\n" else closing.end()
        line = text.find("\n", at)
        if line < 0:
            return len(text)
        self._fence_start = True
        return line + 1

    def _row(self, text: str, at: int, final: bool) -> int:
        """`| a | b |` becomes "a, b."; the line below a table's header is removed."""
        line = text.find("\n", at, at + _MAX_ROW)
        if line < 0 and not final and len(text) < at + _MAX_ROW:
            return MORE
        end = line if line >= 0 else min(len(text), at + _MAX_ROW)
        row = text[at:end].rstrip()
        cells = [cell.replace("\\|", "|").strip() for cell in _CELL_END.split(row)]
        closed = not cells[-1]
        if len(cells) < 3 or not (self._table or (closed and (len(cells) > 3 or row[1:2] == " "))):
            return NO_MARK
        cells = cells[1:-1] if closed else cells[1:]
        self._settle(ROW)
        self.inline.end_paragraph()
        self.writer.remove_mark()
        if not all(_ALIGNMENT.fullmatch(cell) for cell in cells):
            spoken = (self.inline.plain(cell).strip() for cell in cells)
            if words := ", ".join(cell for cell in spoken if cell):
                self.writer.write(words)
                self.writer.end_sentence()
        self.kind, self._table, self._items = ROW, True, 0
        return end
