"""Untrusted text on its way to a terminal: control sequences are shown instead of obeyed.

Model names, answers, log files and tool results are written by others. An escape sequence among them could rewrite the
screen, set the clipboard (OSC 52) or forge a line (CWE-150). Bidirectional controls are escaped too, because they can
make text look different from what it says (CVE-2021-42574). Letters of every script, no-break spaces and joined emoji
are kept.
"""

import re
from typing import Final

_CONTROLS: Final = (
    r"\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 except tabs and line feeds, DEL, and C1, which includes one-byte CSI and OSC
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # bidirectional controls
    r"\u2028\u2029"  # line and paragraph separators
    r"\ud800-\udfff"  # lone surrogates, which no stream can encode
)
_OBEYED: Final = re.compile(f"[{_CONTROLS}]")
_BREAKING: Final = re.compile(rf"[\t\n{_CONTROLS}]")


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode()


def printable(text: str) -> str:
    """`text` with control characters as their escapes (`\\x1b`); line feeds and tabs stay."""
    return _OBEYED.sub(_escaped, text)


def printable_line(text: str) -> str:
    """`text` as `printable` has it, on one line: line feeds and tabs are escaped as well."""
    return _BREAKING.sub(_escaped, text)
