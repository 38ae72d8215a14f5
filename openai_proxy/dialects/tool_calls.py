"""Tool calls for APIs that send them only complete, and whose tool results need not name the call they answer.

Ollama and Gemini send a call in one piece with its arguments as an object, and match results by name or by order.
"""

from typing import Any, Final

import orjson

from openai_proxy.dialects.chat.calls import CallFold
from openai_proxy.dialects.chat.deltas import is_object
from openai_proxy.errors import UpstreamInvalid

_MAX_LOOKS: Final = 64
"""How often the arguments of an incomplete call are parsed; a longer call is parsed when it has ended."""


class CallIds:
    """Assigns ids to a conversation's calls, and matches results to calls."""

    def __init__(self) -> None:
        self._used: set[str] = set()
        self._open: list[tuple[str, str]] = []  # (id, name) of the calls without a result, in order

    def call(self, name: str, given: Any = None) -> str:
        """The id of the next call: its own, else a counter, so that it is the same next time."""
        call_id = given if isinstance(given, str) and given and given not in self._used else self._counted()
        self._used.add(call_id)
        self._open.append((call_id, name))
        return call_id

    def result(self, name: Any = None, given: Any = None) -> str:
        """The id of the call that a result answers: by its id, else the oldest open call of its name, else the oldest.

        A result without a call gets a new id.
        """
        known = isinstance(given, str) and given in self._used
        at = next((i for i, (call_id, _) in enumerate(self._open) if call_id == given), None) if known else None
        if at is None and known:
            return str(given)
        if at is None and isinstance(name, str) and name:
            at = next((i for i, (_, called) in enumerate(self._open) if called == name), None)
        elif at is None and self._open:
            at = 0
        if at is not None:
            return self._open.pop(at)[0]
        call_id = given if isinstance(given, str) and given else self._counted()
        self._used.add(call_id)
        return call_id

    def _counted(self) -> str:
        number = len(self._used)
        while f"call_{number}" in self._used:
            number += 1
        return f"call_{number}"


class WholeCalls:
    """Collects the fragments of a stream's tool calls and returns each call once, as soon as it is complete."""

    def __init__(self) -> None:
        self._fold = CallFold()
        self._given = 0  # calls already returned
        self._looks = 0  # how often the current call's arguments were parsed

    def __len__(self) -> int:
        return self._given

    def feed(self, entries: Any) -> list[dict[str, Any]]:
        """The calls completed by `entries`, the `tool_calls` of a delta, in chat message form, in order."""
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict):
                self._fold.feed(entry)
        return self._take(ended=False)

    def flush(self) -> list[dict[str, Any]]:
        """The calls completed by the end of the answer. Raises UpstreamInvalid if arguments are not an object."""
        return self._take(ended=True)

    def _take(self, *, ended: bool) -> list[dict[str, Any]]:
        made: list[dict[str, Any]] = []
        while self._given < len(self._fold) and (ended or self._is_whole(self._given)):
            call = self._fold.call(self._given)
            if ended and not is_object(call.get("function", {}).get("arguments", "")):
                raise UpstreamInvalid("The provider sent a tool call whose arguments are not an object.")
            made.append(call)
            self._given += 1
            self._looks = 0
        return made

    def _is_whole(self, at: int) -> bool:
        """Whether call `at` is complete: its arguments are a whole object, or the next call has begun."""
        if self._looks >= _MAX_LOOKS or self._fold.goes_on(at):  # before all of it is joined
            return False
        arguments = self._fold.arguments(at).strip()
        if not arguments:
            return at + 1 < len(self._fold)
        if not self._fold.name(at) or not arguments.endswith("}"):
            return False
        self._looks += 1
        return is_object(arguments)


def arguments_object(arguments: Any) -> Any:
    """A call's `arguments`, JSON text, as an object for `orjson.dumps`; the text is not parsed twice.

    Raises UpstreamInvalid if it is not an object.
    """
    if isinstance(arguments, dict):
        return arguments
    text = arguments.strip() if isinstance(arguments, str) else ""
    if not text:
        return {}
    if not is_object(text):
        raise UpstreamInvalid("The provider sent a tool call whose arguments are not an object.")
    return orjson.Fragment(text)
