"""Reads answers of the chat API with all the tolerance that real providers require.

`ChunkReader` yields chunks as they were sent, for the agent, which returns messages to the provider unchanged;
`ChatReader` yields tidy ones, for clients of other APIs.
"""

from typing import Any

from openai_proxy.dialects.base import Chunk
from openai_proxy.dialects.chat.chunks import chunk
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.chat.tidy import Tidy, as_chunk, is_plain_text
from openai_proxy.dialects.event_reader import EventReader
from openai_proxy.errors import UpstreamInvalid


class ChunkReader(EventReader):
    """Chunks as the provider sent them, with whole characters; a whole completion is one chunk.

    A completion's `message` counts as a delta. An error is a chunk, too. Completeness is not checked.
    """

    def _event(self, event: Any, chunks: list[Chunk]) -> None:
        if is_plain_text(event):
            chunks.append(event)
        elif event is not None:
            chunks.append(self._raw(event))

    def _raw(self, event: Any) -> Chunk:
        if isinstance(event, list) and event:
            event = event[0]  # Google's errors are in an array
        if not isinstance(event, dict):
            raise UpstreamInvalid("The provider sent something that is not a chat completion.")
        return self._exactly(event) if _holds_objects(event) else event

    def _finish(self, chunks: list[Chunk]) -> None:
        return

    def completion(self, document: Any) -> dict[str, Any]:
        made: list[Chunk] = []
        self._event(document, made)
        return made[0] if made else {}

    def _as_chunk(self, completion: dict[str, Any]) -> Chunk:
        return completion


class ChatReader(ChunkReader):
    """See base.AnswerReader."""

    def __init__(self) -> None:
        super().__init__()
        self._tidy = Tidy()

    def _event(self, event: Any, chunks: list[Chunk]) -> None:
        if is_plain_text(event):
            chunks.append(event)
            return
        tidy = self._tidy.chunk(self._raw(event)) if event is not None else None
        if tidy is not None:
            chunks.append(tidy)
            if "error" in tidy:
                self.ended = True

    def _done(self, chunks: list[Chunk]) -> None:
        chunks += self._tidy.close()
        if not self._tidy.finished:  # it has ended, although not explicitly: Snowflake, and many small servers
            chunks.append(self._end())
        self.ended = True

    def _finish(self, chunks: list[Chunk]) -> None:
        chunks += self._tidy.close()
        if not self._tidy.finished:
            EventReader._finish(self, chunks)

    def _end(self) -> Chunk:
        return self._tidy.chunk(chunk("", "", {}, finish_reason="stop")) or {}

    def completion(self, document: Any) -> dict[str, Any]:
        made: list[Chunk] = []
        ChatReader._event(self, document, made)
        if not made:
            raise UpstreamInvalid("The provider sent an answer that is not understood.")
        whole = made[0]
        if "error" in whole:
            return whole
        fold = MessageFold()
        fold.feed(whole)
        fold.close()
        if not fold.indices:
            raise UpstreamInvalid("The provider sent an answer that is not understood.")
        return fold.completion(think=False)

    def _as_chunk(self, completion: dict[str, Any]) -> Chunk:
        return as_chunk(completion)


def _holds_objects(chunk: dict[str, Any]) -> bool:
    """True if a tool call of `chunk` has its arguments as an object, whose numbers must be preserved exactly."""
    choices = chunk.get("choices")
    for choice in choices if type(choices) is list else ():
        delta = choice.get("delta") if type(choice) is dict else None
        calls = delta.get("tool_calls") if type(delta) is dict else None
        for call in calls if type(calls) is list else ():
            function = call.get("function") if isinstance(call, dict) else None
            if isinstance(function, dict) and isinstance(function.get("arguments"), dict | list):
                return True
    return False
