"""Input items of a Responses request as chat messages.

A chat message holds one turn of the model: reasoning, text and calls in any order, directly followed by the results in
the order of the calls. Items need not be in that order, so they are sorted here.
https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from dataclasses import dataclass, field
from typing import Any, Final

from openai_proxy.dialects import json_text
from openai_proxy.dialects.chat.think import split_think
from openai_proxy.dialects.responses.content import text_and_parts, user_content
from openai_proxy.dialects.responses.reasoning import AFTER, FORMAT, thought_of, unpack
from openai_proxy.errors import BadRequest

NO_RESULT: Final = "The result of this call is not available."
_IMAGES_FOLLOW: Final = "The result is in the next message."


@dataclass(slots=True)
class _Slot:
    """A call and its result."""

    call: dict[str, Any]
    result: str | None = None
    parts: list[dict[str, Any]] = field(default_factory=list)  # images and files: a tool message holds only text


@dataclass(slots=True)
class _Turn:
    """The assistant's output between two messages of others."""

    texts: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    details: list[dict[str, Any]] = field(default_factory=list)
    slots: list[_Slot] = field(default_factory=list)
    phase: str | None = None
    unanswered: int = 0

    @property
    def ended(self) -> bool:
        """True once every call has its result: further output of the assistant is another turn."""
        return bool(self.slots) and not self.unanswered

    def messages(self) -> list[dict[str, Any]]:
        """The assistant's message, followed by the tool results."""
        if not (self.texts or self.refusals or self.slots):
            return []  # reasoning without an answer or a call
        message: dict[str, Any] = {"role": "assistant", "content": "\n\n".join(self.texts) if self.texts else None}
        if self.refusals:
            message["refusal"] = "\n\n".join(self.refusals)
        if self.thoughts:
            message["reasoning_content"] = "\n\n".join(self.thoughts)
        if self.details:
            message["reasoning_details"] = self.details
        if self.phase is not None:
            message["phase"] = self.phase
        if self.slots:
            message["tool_calls"] = [slot.call for slot in self.slots]
        made = [message]
        shown: list[dict[str, Any]] = []
        for slot in self.slots:
            text = slot.result
            if slot.parts:
                text = text or _IMAGES_FOLLOW
                shown.append({"type": "text", "text": f"From the result of {slot.call['function']['name']}:"})
                shown += slot.parts
            content = NO_RESULT if text is None else text
            made.append({"role": "tool", "tool_call_id": slot.call["id"], "content": content})
        if shown:
            made.append({"role": "user", "content": shown})
        return made


class ChatMessages:
    """Builds the messages of a chat request."""

    def __init__(self) -> None:
        self._entries: list[dict[str, Any] | _Turn] = []
        self._turn: _Turn | None = None
        self._open: dict[str, tuple[_Turn, _Slot]] = {}  # the item's call_id -> the call that awaits its result
        self._ids: set[str] = set()

    def messages(self) -> list[dict[str, Any]]:
        """All messages; the system messages at the start are merged, later ones become user messages.

        Many local models' templates accept a system message only at the beginning.
        """
        made: list[dict[str, Any]] = []
        for entry in self._entries:
            if isinstance(entry, _Turn):
                made += entry.messages()
            elif entry["role"] != "system" or not made:
                made.append(entry)
            elif len(made) == 1 and made[0]["role"] == "system":
                made[0] = {"role": "system", "content": f"{made[0]['content']}\n\n{entry['content']}"}
            else:
                made.append({"role": "user", "content": f"<system>\n{entry['content']}\n</system>"})
        return made

    def system(self, content: Any, param: str) -> None:
        """Add instructions, or a system or developer message."""
        text, parts = text_and_parts(content, param)
        if parts:
            raise BadRequest("A system message holds only text.", param=param, code="unsupported_content")
        self._close()
        if text:
            self._entries.append({"role": "system", "content": text})

    def user(self, content: Any, param: str) -> None:
        """Add a user message."""
        self._close()
        self._entries.append({"role": "user", "content": user_content(content, param)})

    def assistant(self, item: dict[str, Any], param: str) -> None:
        """Add an assistant message."""
        content = item.get("content")
        turn = self._current()
        if isinstance(content, str):
            self._say(turn, content)
        elif isinstance(content, list):
            texts: list[str] = []
            for index, part in enumerate(content):
                kind = part.get("type") if isinstance(part, dict) else None
                if kind in ("output_text", "input_text", "text"):
                    texts.append(str(part.get("text") or ""))
                elif kind == "refusal":
                    turn.refusals.append(str(part.get("refusal") or ""))
                else:
                    raise BadRequest(
                        "This kind of content is not supported in an assistant message.",
                        param=f"{param}.content[{index}]", code="unsupported_content",
                    )  # fmt: skip
            self._say(turn, "".join(texts))
        elif content is not None:
            raise BadRequest("A message's content must be a text or a list of parts.", param=f"{param}.content")
        if isinstance(item.get("phase"), str):
            turn.phase = item["phase"]

    def reasoning(self, item: dict[str, Any]) -> None:
        """Add a reasoning item: the text, and what its provider needs to get back."""
        details = unpack(item)
        text = thought_of(item)
        if details is None and not text:
            return
        turn = self._current()
        foreign = False
        for detail in details or ():
            foreign = foreign or str(detail.get("format") or "").startswith(FORMAT)
            # One message may have several reasoning items, so their entries are renumbered.
            placed = {**detail, "index": len(turn.details)}
            placed.pop(AFTER, None)
            if turn.slots:
                placed[AFTER] = len(turn.slots)
            turn.details.append(placed)
        if text and not foreign:
            turn.thoughts.append(text)

    def call(self, item: dict[str, Any], name: str, arguments: str, param: str) -> None:
        """Add a call of the tool that the model knows as `name`."""
        call_id = item.get("call_id")
        if not isinstance(call_id, str) or not call_id:
            raise BadRequest("A call needs a call_id.", param=f"{param}.call_id")
        if not name:
            raise BadRequest("A call needs the name of its tool.", param=f"{param}.name")
        waiting = self._open.get(call_id)
        if waiting is not None:
            function = waiting[1].call["function"]
            if function == {"name": name, "arguments": arguments}:
                return  # a duplicate: once from the stored response, once in the input
            raise BadRequest(f"Two different calls have the call_id {call_id[:64]!r}.", param=f"{param}.call_id")
        unique = call_id
        while unique in self._ids:  # some providers restart numbering their calls in each answer
            unique = f"{call_id}_{len(self._ids)}"
        self._ids.add(unique)
        turn = self._current()
        slot = _Slot({"id": unique, "type": "function", "function": {"name": name, "arguments": arguments}})
        turn.slots.append(slot)
        turn.unanswered += 1
        self._open[call_id] = (turn, slot)

    def result(self, item: dict[str, Any], output: Any, param: str) -> None:
        """Add the result of an earlier call."""
        call_id = item.get("call_id")
        waiting = self._open.pop(call_id, None) if isinstance(call_id, str) else None
        if waiting is None:
            raise BadRequest(
                f"No tool call found for function call output with call_id {str(call_id)[:64]}.",
                param=f"{param}.call_id",
            )
        turn, slot = waiting
        slot.result, slot.parts = output_of(output, f"{param}.output")
        turn.unanswered -= 1

    def _current(self) -> _Turn:
        if self._turn is None or self._turn.ended:
            self._turn = _Turn()
            self._entries.append(self._turn)
        return self._turn

    def _close(self) -> None:
        self._turn = None

    def _say(self, turn: _Turn, text: str) -> None:
        if text.startswith("<think>"):
            # Some clients send a summary that they received as reasoning back inside the text.
            text, thought = split_think(text)
            if thought and not turn.thoughts:
                turn.thoughts.append(thought)
        if text:
            turn.texts.append(text)


def output_of(output: Any, param: str) -> tuple[str, list[dict[str, Any]]]:
    """A result as text, and its images and files. Raises BadRequest for unknown kinds of parts."""
    if isinstance(output, list):
        return text_and_parts(output, param)
    if output is None:
        return "", []
    return (output if isinstance(output, str) else json_text.dumps(output).decode()), []
