"""Cuts streamed text into whole sentences that can be spoken at once. Pure, without I/O."""

import re
from typing import Final

LONGEST: Final = 3000
"""Maximum characters spoken at once; OpenAI's speech API accepts 4096."""

_CLOSING: Final = r"\"'”’»)\]"  # noqa: RUF001 - quotation marks and brackets that belong to the sentence before
_END: Final = re.compile(
    rf"(?<![.!?…])[.!?…]++[{_CLOSING}]*+(?=\s)|(?<![。！？])[。！？]++[」』”’）]*+|\n++"  # noqa: RUF001 - of Chinese, Japanese
)
_ABBREVIATED: Final = re.compile(
    r"(?:^|[\s(])(?:[^\W\d_]|\d{1,3}|Mr|Mrs|Ms|Dr|Prof|St|No|Nr|vs|bzw|ca|usw|etc|resp|approx|Sr|Sra"
    r"|z\.\s?B|d\.\s?h|u\.\s?a|p\.\s?ej)\.$"
)
"""Words whose full stop does not end a sentence: initials, ordinals (`am 3. Mai`), common abbreviations."""


class SentenceCutter:
    """Takes text piece by piece and returns the sentences that have ended."""

    def __init__(self) -> None:
        self._text = ""

    def feed(self, piece: str) -> list[str]:
        """The sentences that `piece` ends, without outer space."""
        self._text += piece
        found: list[str] = []
        begin = position = 0
        while (end := _END.search(self._text, position)) is not None:
            position = end.end()
            sentence = self._text[begin:position]
            if not _ABBREVIATED.search(sentence[-12:]):
                found += parts(sentence)
                begin = position
        self._text = self._text[begin:]
        while len(self._text) > LONGEST:
            first, self._text = _cut(self._text)
            found += parts(first)
        return found

    def rest(self) -> list[str]:
        """What is left at the end."""
        text, self._text = self._text, ""
        return parts(text)


def parts(text: str) -> list[str]:
    """`text` in pieces of at most LONGEST characters, cut between words; none if there is nothing to say."""
    found: list[str] = []
    text = text.strip()
    while text:
        first, text = _cut(text)
        if any(character.isalnum() for character in first):
            found.append(first.strip())
    return found


def _cut(text: str) -> tuple[str, str]:
    if len(text) <= LONGEST:
        return text, ""
    at = text.rfind(" ", LONGEST // 2, LONGEST)
    at = at if at > 0 else LONGEST
    return text[:at], text[at:].lstrip()
