"""Writes what the speech filter lets through so that removals leave no trace.

White space, an opening bracket and a colon wait in `gap` for the next visible character, since what follows may be
removed: "See (https://x.example)." becomes "See.", "Done 🎉!" becomes "Done!".
"""

from typing import Final

from openai_proxy.transforms.speech.characters import (
    CLOSERS,
    FULL_STOPS,
    OPENERS,
    QUOTES,
    SENTENCE_ENDS,
    full_stop,
    is_cjk,
)

NOTHING: Final = 0
TAKEN: Final = 1  # something was removed from the gap
PICTURE: Final = 2  # the same, and it also separated the words on both sides


class SpeechWriter:
    """Collects the text to be spoken. `take` returns what has become certain since the last call."""

    __slots__ = ("_parts", "empty", "gap", "last", "owed", "removed", "spaced", "trimming")

    def __init__(self) -> None:
        self._parts: list[str] = []
        self.gap = ""  # white space, "(" and ":" before the next visible character
        self.removed = NOTHING  # whether something was removed from the gap
        self.spaced = False  # there is white space after what was removed
        self.last = ""  # the last two visible characters, without white space between them
        self.empty = True  # nothing visible is on this line yet
        self.trimming = False  # a whole line was removed: at most two line breaks surround it
        self.owed = 0  # the previous line may need a full stop, unless more of it follows on this line

    def take(self) -> str:
        """The text since the last call."""
        text = "".join(self._parts)
        self._parts.clear()
        return text

    @property
    def fresh(self) -> bool:
        """True while nothing of this line is visible, so that the mark of a list or heading may follow."""
        return self.empty and not self.gap.rpartition("\n")[2].strip()

    @property
    def before(self) -> str:
        """The character before the scanner's position; a line break at the start of a line."""
        if self.gap:
            return self.gap[-1]
        if self.empty:
            return "\n"
        return "\0" if self.removed else self.last[-1]

    def write(self, text: str) -> None:
        """Write text without line breaks; after `close_up`, if something was removed."""
        if self.removed and not text[0].isspace():
            self._join(text[0])
        body = text.rstrip()
        if body:
            gap = self.gap
            if gap:
                self._parts.append(gap)
            self._parts.append(body)
            self.gap = text[len(body) :]
            self._remember(body)
            self.empty = self.trimming = False
            self.owed = 0
        elif text:
            self.gap += text

    def pass_on(self, text: str) -> str:
        """`write` and `take` in one, if this line has begun and nothing was removed."""
        body = text.rstrip()
        if not body:
            self.gap += text
            return ""
        gap = self.gap
        self.gap = text[len(body) :]
        self._remember(body)
        return gap + body

    def wait(self, character: str) -> None:
        """A "(" or ":" that is written only with what follows it."""
        if self.removed:
            if character == ":":
                self.gap = self.gap.rstrip(" \t(")
            elif self.removed == PICTURE and not self.gap and not self.empty:
                self.gap = " "
            self.removed = NOTHING
        self.gap += character

    def pass_word(self, text: str, word: str) -> str:
        """The same for `word` with at most a space before it, which is `text`."""
        gap = self.gap
        self.gap = ""
        self.last = word[-2:] if len(word) > 1 else self.last[-1:] + word
        return gap + text if gap else text

    def _remember(self, body: str) -> None:
        last = body[-2:]
        if len(last) < 2 or last[0].isspace():
            last = "".join((self.last + body).split())[-2:]
        self.last = last

    def remove(self, kind: int = TAKEN) -> None:
        """Something that is not spoken was here."""
        self.removed = max(self.removed, kind)
        self.spaced = False

    def remove_mark(self) -> None:
        """The mark at the start of a line, and its indentation."""
        self.gap = self.gap.rstrip(" \t\r")
        self.remove()

    def newline(self) -> None:
        """The end of a line."""
        if not self.removed:
            self.gap += "\n"
        elif not self.empty:
            self._tidy()
            self.gap += "\n"
            self.removed = NOTHING
        elif not self.last:
            self.gap = ""  # nothing has been written yet
        elif not self.trimming:
            self.trimming = True  # the line disappears with its content
        elif self.gap.count("\n") < 2:
            self.gap += "\n"
        self.empty = True

    def end_sentence(self) -> None:
        """Make what has been written end like a sentence."""
        last = self.last[-1:]
        if last in QUOTES and len(self.last) > 1:
            last = self.last[0]
        if not last or last in SENTENCE_ENDS or ":" in self.gap:
            return
        self._parts.append(full_stop(last))
        self.last = self.last[-1:] + full_stop(last)

    def finish(self) -> None:
        """End the text: write what is waiting, unless it introduced something that was removed."""
        if self.removed:
            self._tidy()
            self.gap = ""
        elif self.gap:
            self._parts.append(self.gap)
            self.gap = ""

    def _tidy(self) -> None:
        """Drop what introduced something removed at the end of a line: "More: https://…" becomes "More."."""
        lead = self.gap.rstrip()
        while lead.endswith(("(", ":")):
            if lead.endswith(":") and self.last:
                self._parts.append(".")
                self.last = self.last[-1:] + "."
            lead = lead[:-1].rstrip()
        self.gap = lead

    def close_up(self, text: str, at: int) -> int:
        """After a removal: skip white space and a ")" that are no longer needed."""
        character = text[at]
        if character == ")" and self.gap.rstrip().endswith("("):
            self.gap = self.gap.rstrip()[:-1]
            return at + 1
        if character.isspace() and character != "\n":
            self.spaced = True
            closed = self.gap[-1].isspace() or self.gap[-1] == "(" if self.gap else self.empty
            if not closed:
                self.gap += character
            return at + 1
        return at

    def _join(self, first: str) -> None:
        """Adapt the gap, from which something was removed, to the character `first` that follows."""
        if first in CLOSERS:
            if not self.spaced:  # else it is French: "Paris ☀ !"
                self.gap = self.gap.rstrip(" \t")
            if first in FULL_STOPS and self.gap.endswith(":"):
                self.gap = self.gap[:-1]
        elif self.trimming and ":" in self.gap:
            self.gap = self.gap.replace(":", ".", 1)
        elif self.removed == PICTURE and not self.gap and not self.empty and _apart(self.last[-1:], first):
            self.gap = " "
        self.removed = NOTHING


def _apart(before: str, after: str) -> bool:
    """True if a space is needed between two characters that had a picture between them."""
    if not after.isalnum() or is_cjk(before) or is_cjk(after):
        return False
    return not before.isspace() and before not in OPENERS
