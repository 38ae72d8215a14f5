"""What a plain scalar means in YAML 1.2's core schema, and which ones other readers interpret differently.

https://yaml.org/spec/1.2.2/#103-core-schema against https://yaml.org/type/ (YAML 1.1: `no`, 12:30, 010).
"""

import re
from typing import Any, NamedTuple

_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"true", "True", "TRUE"})
_FALSE = frozenset({"false", "False", "FALSE"})
_INT = re.compile(r"[-+]?[0-9]{1,64}\Z")
_BASED = re.compile(r"0(?:o[0-7]{1,64}|x[0-9a-fA-F]{1,64})\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,4})?\Z")
_INFINITY = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_OLD_TRUTH = {word: "true" if word in ("yes", "on") else "false" for word in ("yes", "no", "on", "off")}
_OCTAL = re.compile(r"[-+]?0[0-9]+\Z")
_SEXAGESIMAL = re.compile(r"[-+]?[0-9]+(?::[0-5]?[0-9])+\Z")


class Trap(NamedTuple):
    """A plain scalar that other YAML readers would interpret differently."""

    raw: str
    words: str


def core_value(text: str) -> Any:
    """The value of a plain scalar in the core schema; `text` itself if it is text."""
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if _INT.match(text):
        return int(text)
    if _BASED.match(text):
        return int(text, 0)
    if _FLOAT.match(text):
        return float(text)
    if _INFINITY.match(text):
        return float(text.replace(".", "", 1).lower())
    return text


def trap(text: str) -> Trap | None:
    """A warning if other readers interpret a plain scalar differently (`no`, `12:30`, `010`)."""
    truth = _OLD_TRUTH.get(text.lower())
    if truth is not None:
        return Trap(text, f'`{text}` is {truth} to some YAML readers and text to others: write {truth}, or "{text}"')
    if _OCTAL.match(text):
        bare = text.lstrip("+-").lstrip("0") or "0"
        return Trap(
            text,
            f"`{text}` is an octal number to some YAML readers and a decimal to others: "
            f'write {bare} for the number, or "{text}" for the text',
        )
    if _SEXAGESIMAL.match(text):
        return Trap(
            text, f'`{text}` is a base-60 number to some YAML readers and text to others: write "{text}" in quotes'
        )
    return None
