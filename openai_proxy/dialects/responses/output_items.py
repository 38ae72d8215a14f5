"""The items of an answer, each written from its first event to its last.

One item is open at a time; `OutputItem` is their base. A text delta costs about 1 µs, because everything but its text
and number is prepared once.
https://platform.openai.com/docs/api-reference/responses-streaming
"""

from abc import ABC, abstractmethod
from typing import Any

from openai_proxy.dialects import json_text
from openai_proxy.dialects.chat.deltas import joined, merge, settle
from openai_proxy.dialects.packed_reasoning import pack
from openai_proxy.dialects.responses.response_object import new_id
from openai_proxy.dialects.responses.tools import Declared, unwrap_custom


class EventWriter:
    """Numbers the events of one stream and collects their bytes."""

    def __init__(self) -> None:
        self._made: list[bytes] = []
        self._number = 0
        self.unread = False  # True if nobody reads the events, each of which repeats parts of the answer

    def emit(self, kind: str, members: dict[str, Any]) -> None:
        """Write an event `kind` with `members`."""
        if self.unread:
            return
        event = {"type": kind, "sequence_number": self._number, **members}
        self._number += 1
        # `join` releases the interpreter lock: an event may repeat the instructions and tools of a large request.
        self._made.append(b"".join((b"event: ", kind.encode(), b"\ndata: ", json_text.dumps(event), b"\n\n")))

    def delta(self, head: bytes, text: str) -> None:
        """Write an event that begins with `head`, up to the value of its `delta`."""
        if self.unread:
            return
        self._made.append(b'%b%b,"sequence_number":%d}\n\n' % (head, json_text.dumps(text), self._number))
        self._number += 1

    def take(self) -> bytes:
        """The bytes written since the last call."""
        if not self._made:
            return b""
        data = self._made[0] if len(self._made) == 1 else b"".join(self._made)
        self._made.clear()
        return data


def delta_head(kind: str, members: dict[str, Any]) -> bytes:
    """The beginning of a delta event for `EventWriter.delta`."""
    return b"event: %b\ndata: %b" % (kind.encode(), json_text.dumps({"type": kind, **members})[:-1] + b',"delta":')


class OutputItem(ABC):
    """An item being written: `item()` is its present state, at `index` of the answer's `output`."""

    def __init__(self, events: EventWriter, index: int) -> None:
        self.events = events
        self.index = index
        self.id = ""

    @abstractmethod
    def item(self, status: str = "in_progress") -> dict[str, Any]:
        """The item as it is now."""

    @abstractmethod
    def close(self, status: str) -> dict[str, Any]:
        """Write the end of the item; returns the whole item."""

    def _added(self, item: dict[str, Any]) -> None:
        self.events.emit("response.output_item.added", {"output_index": self.index, "item": item})

    def _done(self, item: dict[str, Any]) -> dict[str, Any]:
        self.events.emit("response.output_item.done", {"output_index": self.index, "item": item})
        return item

    def _at(self, **members: int) -> dict[str, Any]:
        return {"item_id": self.id, "output_index": self.index, **members}


class MessageItem(OutputItem):
    """The text of an answer, or its refusal."""

    def __init__(self, events: EventWriter, index: int) -> None:
        super().__init__(events, index)
        self.id = new_id("msg")
        self.phase: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._pieces: list[str] = []  # of the open part
        self._head = b""
        self._added(self.item())

    def text(self, text: str, logprobs: list[Any] | None = None) -> None:
        """More text."""
        if not self._parts or self._parts[-1]["type"] != "output_text":
            self._open({"type": "output_text", "text": "", "annotations": [], "logprobs": []})
        self._pieces.append(text)
        if logprobs:
            self._parts[-1]["logprobs"] += logprobs
            members = {**self._at(content_index=len(self._parts) - 1), "logprobs": logprobs}
            self.events.delta(delta_head("response.output_text.delta", members), text)
        else:
            self.events.delta(self._head, text)

    def refusal(self, text: str) -> None:
        """More of a refusal."""
        if not self._parts or self._parts[-1]["type"] != "refusal":
            self._open({"type": "refusal", "refusal": ""})
        self._pieces.append(text)
        self.events.delta(self._head, text)

    def annotation(self, annotation: dict[str, Any]) -> None:
        """A citation in the text."""
        if not self._parts or self._parts[-1]["type"] != "output_text":
            return
        noted = self._parts[-1]["annotations"]
        members = {**self._at(content_index=len(self._parts) - 1), "annotation_index": len(noted)}
        self.events.emit("response.output_text.annotation.added", {**members, "annotation": annotation})
        noted.append(annotation)

    def item(self, status: str = "in_progress") -> dict[str, Any]:
        content = [*self._parts[:-1], self._present()] if self._parts else []
        made = {"id": self.id, "type": "message", "status": status, "content": content, "role": "assistant"}
        return made if self.phase is None else {**made, "phase": self.phase}

    def close(self, status: str) -> dict[str, Any]:
        if not self._parts:
            self.text("")
        self._end()
        return self._done(self.item(status))

    def _open(self, part: dict[str, Any]) -> None:
        if self._parts:
            self._end()
        self._parts.append(part)
        self._pieces = []
        at = self._at(content_index=len(self._parts) - 1)
        self.events.emit("response.content_part.added", {**at, "part": dict(part)})
        if part["type"] == "output_text":
            self._head = delta_head("response.output_text.delta", {**at, "logprobs": []})
        else:
            self._head = delta_head("response.refusal.delta", at)

    def _present(self) -> dict[str, Any]:
        part = self._parts[-1]
        name = "text" if part["type"] == "output_text" else "refusal"
        return {**part, name: joined(self._pieces)}

    def _end(self) -> None:
        part = self._parts[-1] = self._present()
        self._pieces = [part.get("text") or part.get("refusal") or ""]
        at = self._at(content_index=len(self._parts) - 1)
        if part["type"] == "output_text":
            members = {**at, "text": part["text"], "logprobs": part["logprobs"]}
            self.events.emit("response.output_text.done", members)
        else:
            self.events.emit("response.refusal.done", {**at, "refusal": part["refusal"]})
        self.events.emit("response.content_part.done", {**at, "part": part})


class ReasoningItem(OutputItem):
    """Reasoning: readable as a summary, and packed for a client that returns it."""

    def __init__(self, events: EventWriter, index: int, *, packs: bool) -> None:
        super().__init__(events, index)
        self.id = new_id("rs")
        self._packs = packs
        self._pieces: list[str] = []
        self._details: dict[str, Any] = {}
        self._head = b""
        self._added(self.item())

    def text(self, text: str) -> None:
        """More of the reasoning."""
        if not self._pieces:
            at = self._at(summary_index=0)
            part = {"type": "summary_text", "text": ""}
            self.events.emit("response.reasoning_summary_part.added", {**at, "part": part})
            self._head = delta_head("response.reasoning_summary_text.delta", at)
        self._pieces.append(text)
        self.events.delta(self._head, text)

    def detail(self, detail: dict[str, Any]) -> None:
        """An entry of `reasoning_details`, or a piece of one."""
        merge(self._details, {"details": [detail]})

    def item(self, status: str = "in_progress") -> dict[str, Any]:
        summary = [{"type": "summary_text", "text": joined(self._pieces)}] if self._pieces else []
        return {"id": self.id, "type": "reasoning", "summary": summary}

    def close(self, status: str) -> dict[str, Any]:
        item = self.item()
        if self._pieces:
            at = self._at(summary_index=0)
            part = item["summary"][0]
            self.events.emit("response.reasoning_summary_text.done", {**at, "text": part["text"]})
            self.events.emit("response.reasoning_summary_part.done", {**at, "part": part})
        details = settle(self._details.get("details") or [])
        if details or self._packs:
            item["encrypted_content"] = pack(details)
        return self._done(item)


class CallItem(OutputItem):
    """A call of a client's tool, returned in the form in which the tool was declared."""

    def __init__(self, events: EventWriter, index: int, call_id: str, declared: Declared) -> None:
        super().__init__(events, index)
        self.kind = declared.kind
        self._members: dict[str, Any] = {"call_id": call_id}
        if self.kind == "tool_search":
            self.id = new_id("tsc")
            self._members["execution"] = "client"
        else:
            self.id = new_id("ctc" if self.kind == "custom" else "fc")
            self._members["name"] = declared.name
            if declared.namespace is not None:
                self._members["namespace"] = declared.namespace
        self._pieces: list[str] = []
        self._head = delta_head("response.function_call_arguments.delta", self._at())
        self._added(self._item("in_progress", {} if self.kind == "tool_search" else ""))

    @property
    def arguments(self) -> str:
        """The function's arguments so far."""
        return joined(self._pieces)

    @property
    def whole(self) -> bool:
        """True if the arguments are a complete object."""
        arguments = self.arguments
        return bool(arguments.strip()) and json_text.object_in(arguments) is not None

    def more(self, piece: str) -> None:
        """More of the arguments. Those of a custom tool or a search can only be sent when complete."""
        self._pieces.append(piece)
        if self.kind == "function":
            self.events.delta(self._head, piece)

    def item(self, status: str = "in_progress") -> dict[str, Any]:
        value: Any = self.arguments if self.kind == "function" else {} if self.kind == "tool_search" else ""
        return self._item(status, value)

    def close(self, status: str) -> dict[str, Any]:
        if self.kind == "custom":
            text = unwrap_custom(self.arguments)
            at = self._at()
            self.events.delta(delta_head("response.custom_tool_call_input.delta", at), text)
            self.events.emit("response.custom_tool_call_input.done", {**at, "input": text})
            return self._done(self._item(status, text))
        if self.kind == "tool_search":
            return self._done(self._item(status, json_text.object_in(self.arguments) or {}))
        if not self.arguments.strip():
            self.more("{}")
        members = {**self._at(), "name": self._members["name"], "arguments": self.arguments}
        self.events.emit("response.function_call_arguments.done", members)
        return self._done(self._item(status, self.arguments))

    def _item(self, status: str, value: Any) -> dict[str, Any]:
        kind = {"custom": "custom_tool_call", "tool_search": "tool_search_call"}.get(self.kind, "function_call")
        return {
            "id": self.id,
            "type": kind,
            "status": status,
            **self._members,
            "input" if self.kind == "custom" else "arguments": value,
        }
