"""Characters cut in two by a provider, joined again.

Servers written in JavaScript cut text between the UTF-16 halves of an emoji; each half alone cannot be encoded.
"""

from typing import Any, Final

_MAX_DEPTH: Final = 24  # levels that are looked into; no API has its texts so deep


class Halves:
    """Holds back the first half of a character until the second comes; each text of a stream for itself."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: dict[tuple[str, ...], str] = {}
        """First halves by the place of their text."""

    def mend(self, event: Any) -> Any:
        """`event`, a JSON value of a stream, with the texts in it mended."""
        if not isinstance(event, dict):
            return event
        # What says which text of the answer an event goes on with, in one API or another.
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
        try:
            text.encode()
        except UnicodeEncodeError:
            return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return text


def _place(entry: Any, at: int) -> str:
    """What tells an entry of a list from the others: its index, else its position."""
    index = entry.get("index") if isinstance(entry, dict) else None
    return str(index if type(index) is int else at)
