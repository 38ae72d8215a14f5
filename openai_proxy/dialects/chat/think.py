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
        rest, self._held = self._held + text, ""
        while rest:
            tag, out = (_CLOSE, thought) if self._inside else (_OPEN, said)
            at = rest.find(tag)
            if at < 0:
                keep = _partial(rest, tag)
                cut = len(rest) - keep
                out.append(rest[:cut])
                if cut:
                    self._before = rest[cut - 1]
                self._held = rest[cut:]
                break
            end = at + len(tag)
            if tag is _OPEN and (rest[at - 1] if at else self._before) == "`":
                out.append(rest[:end])
            else:
                out.append(rest[:at])
                self._inside = not self._inside
            self._before = ">"
            rest = rest[end:]
        return "".join(said), "".join(thought)

    def flush(self) -> tuple[str, str]:
        """(content, reasoning) of what was held back when the text ended."""
        held, self._held = self._held, ""
        return ("", held) if self._inside else (held, "")


def _partial(text: str, tag: str) -> int:
    """Length of the longest end of `text` that is a beginning of `tag`."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if tag.startswith(text[-size:]):
            return size
    return 0


def split_think(text: str) -> tuple[str, str]:
    """(content, reasoning) of a whole text."""
    splitter = ThinkSplitter()
    said, thought = splitter.feed(text)
    more_said, more_thought = splitter.flush()
    return said + more_said, thought + more_thought
