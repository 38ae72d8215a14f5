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
    """

    __slots__ = ("_before", "_held", "_inside")

    def __init__(self) -> None:
        self._inside = False
        self._held = ""
        self._before = ""  # the character before the held text

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
        while position < len(text):
            tag, out = (_CLOSE, thought) if self._inside else (_OPEN, said)
            at = text.find(tag, position)
            if at < 0:
                cut = len(text) - _partial(text, position, tag)
                out.append(text[position:cut])
                if cut > position:
                    self._before = text[cut - 1]
                self._held = text[cut:]
                break
            end = at + len(tag)
            if tag is _OPEN and (text[at - 1] if at > position else self._before) == "`":
                out.append(text[position:end])
            else:
                out.append(text[position:at])
                self._inside = not self._inside
            self._before = ">"
            position = end
        return "".join(said), "".join(thought)

    def flush(self) -> tuple[str, str]:
        """(content, reasoning) of what was held back when the text ended."""
        held, self._held = self._held, ""
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


def split_think(text: str) -> tuple[str, str]:
    """(content, reasoning) of a whole text."""
    splitter = ThinkSplitter()
    said, thought = splitter.feed(text)
    more_said, more_thought = splitter.flush()
    return said + more_said, thought + more_thought
