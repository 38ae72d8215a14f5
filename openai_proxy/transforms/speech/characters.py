"""Which characters the speech filter acts on, as character classes for regular expressions."""

from typing import Final

EMOJI: Final = (
    "\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u25aa\u25ab\u25b6\u25c0\u25fb-\u25fe"
    # Miscellaneous Symbols and Dingbats, without ♀ ♂, musical notes, ✕ ✖ and circled digits
    "\u2600-\u263f\u2641\u2643-\u266c\u2670-\u2714\u2717-\u2775\u2794-\u27bf"
    "\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\U0001f000-\U0001faff"
)
"""Pictures: https://www.unicode.org/reports/tr51/, and the symbols that models use likewise (check marks, stars)."""

JOINERS: Final = "\u200d\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f"
"""Characters that join or style emoji. U+200D alone joins letters in Malayalam and Sinhala."""

STYLES: Final = "\ufe0e\ufe0f\u20e3"
"""Of these, those without any other use: variation selectors, and the keycap ("1\ufe0f\u20e3" is 1)."""

SENTENCE_ENDS: Final = frozenset(".!?…:;,。！？：；、，؟؛،।॥۔。")
"""Characters after which a line needs no full stop to be spoken as a separate sentence."""

CLOSERS: Final = frozenset(".,;:!?…)]}»”’。，、；：！？）］」』】؟،؛।")
"""Characters that follow a word without a space: none is left if something in between was removed."""

OPENERS: Final = frozenset("([{«„“‘¿¡（「『【")
"""Characters that no space follows."""

FULL_STOPS: Final = frozenset(".!?…。！？")
"""Those ends of a sentence that need nothing before them."""

QUOTES: Final = frozenset("\"'»”’)]}」』】）］›")
"""Closing quotation marks and brackets that may follow the end of a sentence."""


def is_cjk(character: str) -> bool:
    """True for Chinese and Japanese characters, whose texts have no spaces between words and end with 。."""
    return "\u3040" <= character <= "\u30ff" or "\u3400" <= character <= "\u9fff" or "\uf900" <= character <= "\ufaff"


def full_stop(character: str) -> str:
    """The full stop of the script that `character` belongs to."""
    if is_cjk(character):
        return "。"
    return "।" if "\u0900" <= character <= "\u09ff" else "."
