"""`<think>…</think>` in an answer's text, told apart from the answer while it streams.

Open models write their reasoning into the content between these tags unless the server that runs them parses it out
(https://docs.vllm.ai/en/latest/features/reasoning_outputs.html); a voice assistant would read it aloud.
"""

from typing import Final

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"


class ThinkSplitter:
    """Splits text that comes in pieces, cut anywhere, into what is said and what is thought.

    At most seven characters are ever held back: a beginning that may still become a tag. A tag right after a
    backtick is an answer that talks about the tag, and stays. What is opened and never closed is thought to the end.

    Some chat templates open the tag themselves, in the prompt, so that an answer holds a `</think>` alone, after what
    was thought. By then that has been handed on as content; the tag goes, and `lone` says that it was seen. With
    `inside`, such an answer is expected from the start; if no tag comes, it was none, and `flush` gives all of it back
    as content.
    """

    __slots__ = ("_before", "_expected", "_held", "_inside", "lone")

    def __init__(self, *, inside: bool = False) -> None:
        self._inside = inside
        self._expected: list[str] | None = [] if inside else None  # what is to be given back if no tag comes
        self._held = ""
        self._before = ""  # the character before the held text
        self.lone = False  # a tag was closed that had not been opened

    def feed(self, text: str) -> tuple[str, str]:
        """(content, reasoning) that `text` decides."""
        if not self._inside and not self._held and "<" not in text:
            if text:
                self._before = text[-1]
            return text, ""
        said: list[str] = []
        thought: list[str] = []
        text, self._held = self._held + text, ""
        position = 0
        closing = text.find(_CLOSE)  # looked for once per tag, or many openings would make it quadratic
        while position < len(text):
            if 0 <= closing < position:
                closing = text.find(_CLOSE, position)
            opening = -1 if self._inside else text.find(_OPEN, position, closing if closing >= 0 else len(text))
            at, tag = (opening, _OPEN) if opening >= 0 else (closing, _CLOSE)
            if at < 0:
                self._hold(text, position, thought if self._inside else said)
                break
            end = at + len(tag)
            before = text[at - 1] if at > position else self._before
            if not self._inside and before == "`":
                said.append(text[position:end])
            elif tag is _OPEN:
                said.append(text[position:at])
                self._inside = True
            else:
                self.lone = self.lone or not self._inside or self._expected is not None
                (thought if self._inside else said).append(text[position:at])
                self._inside, self._expected = False, None
            self._before = ">"
            position = end
        if self._expected is not None:
            self._expected += thought
        return "".join(said), "".join(thought)

    def _hold(self, text: str, position: int, out: list[str]) -> None:
        """The rest of `text` goes to `out`, but for an end that may be the beginning of a tag."""
        held = _partial(text, position, _CLOSE)
        cut = len(text) - (held if self._inside else max(held, _partial(text, position, _OPEN)))
        out.append(text[position:cut])
        if cut > position:
            self._before = text[cut - 1]
        self._held = text[cut:]

    def flush(self) -> tuple[str, str]:
        """(content, reasoning) of what was held back when the text ended."""
        held, self._held = self._held, ""
        if self._expected is not None:
            expected, self._expected = self._expected, None
            return "".join(expected) + held, ""
        return ("", held) if self._inside else (held, "")


def _partial(text: str, position: int, tag: str) -> int:
    """Length of the longest end of `text[position:]` that is a beginning of `tag`."""
    for size in range(min(len(tag) - 1, len(text) - position), 0, -1):
        if tag.startswith(text[-size:]):
            return size
    return 0


def without_thoughts(text: str) -> str:
    """`text` without every closed `<think>…</think>`: what clients leave out when they quote an answer.

    Plain searches from where the last one ended, so that the time is linear: a pattern would look for the missing
    `</think>` again from every `<think>`.
    """
    at = text.find(_OPEN)
    if at < 0:
        return text
    kept: list[str] = []
    position = 0
    while at >= 0:
        end = text.find(_CLOSE, at + len(_OPEN))
        if end < 0:
            break
        kept.append(text[position:at])
        position = end + len(_CLOSE)
        at = text.find(_OPEN, position)
    kept.append(text[position:])
    return "".join(kept)


def closes_alone(text: str) -> bool:
    """True if `text` closes a thought that it does not open: all before `</think>` was thought."""
    closing = text.find(_CLOSE)
    return closing >= 0 and text[closing - 1 : closing] != "`" and text.find(_OPEN, 0, closing) < 0


def split_think(text: str) -> tuple[str, str]:
    """(content, reasoning) of a whole text."""
    splitter = ThinkSplitter(inside=closes_alone(text))
    said, thought = splitter.feed(text)
    more_said, more_thought = splitter.flush()
    return said + more_said, thought + more_thought
