"""What the client sees of a turn, as one sequence of chunks, whether streamed or folded into one completion.

Role first; text as it arrives; calls complete, one per chunk, in sequence; one finish; usage if requested. One id, one
model, one creation time.
"""

import time
from collections.abc import Callable
from typing import Any, Final

from openai_proxy.dialects.chat.chunks import chunk, usage_chunk

_PRIVATE: Final = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "error", "obfuscation", "x_groq"}
)  # members of the provider's envelope that are replaced by ours, valid per round, or padding that no longer fits


class TurnOutput:
    """Builds the chunks of one answer and passes each to `put`."""

    def __init__(
        self,
        put: Callable[[dict[str, Any]], None],
        *,
        id: str,  # noqa: A002  # the member's name
        model: str,
        clock: Callable[[], float],
    ) -> None:
        self._put = put
        self._id = id
        self._model = model
        self._created = int(time.time())
        self._clock = clock
        self._begun: set[int] = set()  # choices whose role has been sent
        self._round_began = False  # no text of this round has been sent
        self._ends_open = False  # the text so far does not end in white space
        self.shown: list[str] = []  # the text that the client has seen
        self.sent_at = clock()

    def role(self, index: int = 0) -> None:
        """The first chunk of a choice. The first choice opens the stream; others begin when they have something."""
        self._begun.add(index)
        self._chunk({"role": "assistant", "content": ""}, index)

    def new_round(self) -> None:
        """Text from here on belongs to another message of the model."""
        self._round_began = True

    def delta(
        self, delta: dict[str, Any], index: int = 0, logprobs: Any = None, envelope: dict[str, Any] | None = None
    ) -> None:
        """Send text and other members unchanged; `envelope` is the provider's chunk, with its service_tier and more."""
        self._begin(index)
        content = delta.get("content")
        if content:
            if self._round_began:
                self._round_began = False
                if self._ends_open and not content[0].isspace():
                    # Two messages of the model become one for the client: without this, "One moment.It is 20 °C."
                    delta = {**delta, "content": "\n\n" + content}
                    content = delta["content"]
            self._ends_open = not content[-1].isspace()
            self.shown.append(content)
        built = self._build(delta, index)
        if logprobs is not None:
            built["choices"][0]["logprobs"] = logprobs
        if envelope is not None and not envelope.keys() <= _PRIVATE:
            for name, value in envelope.items():
                if name not in _PRIVATE and value is not None:
                    built[name] = value
        self._send(built)

    def status(self, members: dict[str, Any]) -> None:
        """A status chunk: an empty delta and `proxy_status`."""
        built = self._build({}, 0)
        built["proxy_status"] = {"type": "tool_execution", **members}
        self._send(built)

    def heartbeat(self) -> None:
        """A sign of life for clients and middleboxes that give up on silence."""
        self._chunk({}, 0)

    def call(self, position: int, call: dict[str, Any], index: int = 0) -> None:
        """One complete call of the client's."""
        self._begin(index)
        self._chunk({"tool_calls": [{"index": position, **call}]}, index)

    def finish(self, reason: str, index: int = 0) -> None:
        """The end of a choice."""
        self._begin(index)
        self._send(chunk(self._id, self._model, {}, created=self._created, finish_reason=reason, index=index))

    def usage(self, usage: dict[str, Any]) -> None:
        """The summed usage."""
        self._send(usage_chunk(self._id, self._model, usage, created=self._created))

    def _begin(self, index: int) -> None:
        if index not in self._begun:
            self.role(index)

    def _chunk(self, delta: dict[str, Any], index: int) -> None:
        self._send(self._build(delta, index))

    def _build(self, delta: dict[str, Any], index: int) -> dict[str, Any]:
        return chunk(self._id, self._model, delta, created=self._created, index=index)

    def _send(self, built: dict[str, Any]) -> None:
        self.sent_at = self._clock()
        self._put(built)
