"""Rejoins characters that a provider has cut in two.

Servers written in JavaScript cut text between the UTF-16 halves of an emoji; a half alone cannot be encoded.
"""

from typing import Any, Final

_MAX_DEPTH: Final = 24  # levels that are searched; no API nests its texts deeper


class SurrogateJoiner:
    """Holds back the first half of a character until the second arrives, separately for each text of a stream."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: dict[tuple[str, ...], str] = {}
        """First halves by the place of their text."""

    def mend(self, event: Any) -> Any:
        """`event`, a JSON value of a stream, with its texts repaired."""
        if not isinstance(event, dict):
            return event
        # Members that identify which text of the answer an event continues, in any of the APIs.
        place = tuple(str(event.get(name)) for name in ("type", "index", "output_index", "item_id"))
        return self._mended(event, place)

    def _mended(self, value: Any, path: tuple[str, ...]) -> Any:
        if isinstance(value, str):
            return self._text(value, path)
        if len(path) > _MAX_DEPTH:
            return value
        if isinstance(value, dict):
            return {key: self._mended(member, (*path, key)) for key, member in value.items()}
        if isinstance(value, list):
            return [self._mended(entry, (*path, _place(entry, at))) for at, entry in enumerate(value)]
        return value

    def _text(self, text: str, path: tuple[str, ...]) -> str:
        held = self.held.pop(path, "")
        text = held + text
        if text and "\ud800" <= text[-1] <= "\udbff":
            self.held[path] = text[-1]
            text = text[:-1]
        return encodable(text)


def encodable(text: str) -> str:
    """`text` with the halves of characters rejoined; a half alone becomes U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _place(entry: Any, at: int) -> str:
    """What distinguishes an entry of a list: its index, else its position."""
    index = entry.get("index") if isinstance(entry, dict) else None
    return str(index if type(index) is int else at)
