"""Separates `<think>…</think>` from an answer's text while it streams.

Open models write their reasoning into the content between these tags unless their server parses it
(https://docs.vllm.ai/en/latest/features/reasoning_outputs.html); a voice assistant would read it aloud.
"""

from typing import Final

from openai_proxy.steps import find, join, pieces

_OPEN: Final = "<think>"
_CLOSE: Final = "</think>"


class ThinkSplitter:
    """Splits text that arrives in arbitrary pieces into content and reasoning.

    At most seven characters are held back, as a possible beginning of a tag. A tag right after a backtick belongs to an
    answer about the tag, and is kept. Reasoning without a closing tag extends to the end.

    Some chat templates put the opening tag into the prompt, so the answer has only a `</think>`, after the reasoning.
    By then the reasoning was already passed on as content; the tag is removed, and `lone` is set. With `inside`, such
    an answer is expected from the start; if no tag follows, `flush` returns all of it as content.
    """

    __slots__ = ("_before", "_expected", "_held", "_inside", "lone")

    def __init__(self, *, inside: bool = False) -> None:
        self._inside = inside
        self._expected: list[str] | None = [] if inside else None  # what to return if no tag follows
        self._held = ""
        self._before = ""  # the character before the held text
        self.lone = False  # a closing tag had no opening one

    def feed(self, text: str) -> tuple[str, str]:
        """(content, reasoning) that `text` completes."""
        if not self._inside and not self._held and "<" not in text:
            if text:
                self._before = text[-1]
            return text, ""
        answer: list[str] = []
        thought: list[str] = []
        text, self._held = self._held + text, ""
        position = 0
        closing = text.find(_CLOSE)  # searched once per tag, or many opening tags would make it quadratic
        while position < len(text):
            if 0 <= closing < position:
                closing = text.find(_CLOSE, position)
            opening = -1 if self._inside else text.find(_OPEN, position, closing if closing >= 0 else len(text))
            at, tag = (opening, _OPEN) if opening >= 0 else (closing, _CLOSE)
            if at < 0:
                self._hold(text, position, thought if self._inside else answer)
                break
            end = at + len(tag)
            before = text[at - 1] if at > position else self._before
            if not self._inside and before == "`":
                answer.append(text[position:end])
            elif tag is _OPEN:
                answer.append(text[position:at])
                self._inside = True
            else:
                self.lone = self.lone or not self._inside or self._expected is not None
                (thought if self._inside else answer).append(text[position:at])
                self._inside, self._expected = False, None
            self._before = ">"
            position = end
        if self._expected is not None:
            self._expected += thought
        return "".join(answer), "".join(thought)

    def _hold(self, text: str, position: int, out: list[str]) -> None:
        """Append the rest of `text` to `out`, except an end that may be the beginning of a tag."""
        held = _partial(text, position, _CLOSE)
        cut = len(text) - (held if self._inside else max(held, _partial(text, position, _OPEN)))
        out.append(text[position:cut])
        if cut > position:
            self._before = text[cut - 1]
        self._held = text[cut:]

    def flush(self) -> tuple[str, str]:
        """(content, reasoning) held back at the end of the text."""
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
    """`text` without every closed `<think>…</think>`: what clients omit when they return an answer.

    Plain searches, each from the end of the last one, keep the time linear: a regular expression would look for a
    missing `</think>` again from every `<think>`.
    """
    at = find(text, _OPEN)
    if at < 0:
        return text
    kept: list[str] = []
    position = 0
    while at >= 0:
        end = find(text, _CLOSE, at + len(_OPEN))
        if end < 0:
            break
        kept += pieces(text, position, at)
        position = end + len(_CLOSE)
        at = find(text, _OPEN, position)
    kept += pieces(text, position)
    return join(kept)


def closes_alone(text: str) -> bool:
    """True if `text` has a `</think>` without an opening tag: everything before it is reasoning."""
    closing = text.find(_CLOSE)
    return closing >= 0 and text[closing - 1 : closing] != "`" and text.find(_OPEN, 0, closing) < 0


def split_think(text: str) -> tuple[str, str]:
    """(content, reasoning) of a whole text."""
    splitter = ThinkSplitter(inside=closes_alone(text))
    answer, thought = splitter.feed(text)
    more_said, more_thought = splitter.flush()
    return answer + more_said, thought + more_thought
