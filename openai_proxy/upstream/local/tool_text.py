"""Extracts tool calls from the text of a local model while it streams.

Templates teach models to write `<tool_call>{"name": …, "arguments": {…}}</tool_call>` (Hermes, Qwen and similar:
https://huggingface.co/docs/transformers/chat_extras). What cannot be parsed remains text: nothing is lost.
"""

from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.chat.calls import new_call_id

_OPEN: Final = "<tool_call>"
_CLOSE: Final = "</tool_call>"


class ToolCallText:
    """Call `feed` with pieces of text; it returns deltas: `{"content": …}` and `{"tool_calls": […]}`."""

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._held = ""
        self._after_call = False  # line ends between calls are the template's, not the answer's
        self.calls = 0

    def feed(self, text: str) -> list[dict[str, Any]]:
        """The deltas completed by `text`; a possible start of a call is held back."""
        made: list[dict[str, Any]] = []
        held = self._held + text
        while held:
            if self._after_call:
                held = held.lstrip("\n")
                self._after_call = not held
                continue
            start = held.find(_OPEN)
            if start < 0:
                keep = _partial(held)
                _text(made, held[: len(held) - keep])
                held = held[len(held) - keep :]
                break
            end = held.find(_CLOSE, start)
            _text(made, held[:start])
            held = held[start:]
            if end < 0:
                break
            whole, held = held[: end - start + len(_CLOSE)], held[end - start + len(_CLOSE) :]
            call = self._call(whole)
            if call is None:
                _text(made, whole)
            else:
                made.append(call)
                self._after_call = True
        self._held = held
        return made

    def end(self) -> list[dict[str, Any]]:
        """What was held back."""
        held, self._held = self._held, ""
        # Some models end right after the call without closing it.
        call = self._call(held + _CLOSE) if held.startswith(_OPEN) else None
        if call is not None:
            return [call]
        return [{"content": held}] if held else []

    def _call(self, whole: str) -> dict[str, Any] | None:
        try:
            call = json_text.loads(whole[len(_OPEN) : -len(_CLOSE)].strip())
            name, arguments = call["name"], call.get("arguments", call.get("parameters")) or {}
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
        if name not in self._names:
            return None
        text = arguments if isinstance(arguments, str) else json_text.text(arguments)
        entry = {"index": self.calls, "id": new_call_id(), "type": "function"}
        self.calls += 1
        return {"tool_calls": [{**entry, "function": {"name": name, "arguments": text}}]}


def _text(made: list[dict[str, Any]], text: str) -> None:
    if text:
        made.append({"content": text})


def _partial(text: str) -> int:
    """How many characters at the end of `text` may begin a call."""
    for size in range(min(len(_OPEN) - 1, len(text)), 0, -1):
        if _OPEN.startswith(text[-size:]):
            return size
    return 0
