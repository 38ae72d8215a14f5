"""One answer of the model within a turn: what is sent to the client at once, and what it calls.

Text and every other member of a delta are passed on as they arrive. Tool calls are held back, because only the complete
round shows who runs them. Ours start as soon as each is complete, that is, when the next one begins or the round ends;
valid JSON alone does not show that, since some translators send "{}" before the real arguments.
"""

from typing import TYPE_CHECKING, Any, Final

from openai_proxy.agent.emit import TurnOutput
from openai_proxy.agent.plan import Plan, ToolOwner
from openai_proxy.dialects.chat.content import text_of
from openai_proxy.dialects.chat.errors import error_of
from openai_proxy.dialects.chat.fold import REASONING, MessageFold
from openai_proxy.dialects.chat.think import ThinkSplitter, closes_alone
from openai_proxy.errors import UpstreamError, UpstreamIncomplete
from openai_proxy.secrets import vault

CUT_OFF: Final = frozenset({"length", "content_filter"})
"""Finish reasons that may leave the last call incomplete."""

_LATER: Final = frozenset({"role", "tool_calls", "reasoning_details"})
"""Members of a delta that are shown, if at all, when the round is complete and known to be the last."""

_MAX_MESSAGE: Final = 500


if TYPE_CHECKING:
    from openai_proxy.transforms.speech import SpeechFilter


class Round:
    """Reads the chunks of one answer."""

    def __init__(
        self, plan: Plan, out: TurnOutput, *, strip_reasoning: bool, speech: bool = False, thinks: bool = False
    ) -> None:
        """`speech`: only speakable text is sent; `thinks`: the answer begins with reasoning (`Thinking`)."""
        self._plan = plan
        self._out = out
        self._strip = strip_reasoning
        self._speech: dict[int, SpeechFilter] | None = {} if speech else None
        self._thinks = thinks
        self._fold = MessageFold()
        self._think: dict[int, ThinkSplitter] = {}
        self._entries: dict[tuple[int, str], int] = {}  # (choice, member) -> entries numbered so far
        self._begun = 0  # calls seen so far
        self._finishing = False  # a finish_reason has been seen
        self._released = 0  # of those, how many `complete` has examined
        self.spoke = False  # something was sent to the client

    def feed(self, chunk: dict[str, Any]) -> None:
        """Process one chunk; its visible part is sent. Raises UpstreamError for an in-band error."""
        fold = self._fold
        fold.feed(chunk)
        if fold.error:
            raise in_band(fold.error)
        choices = chunk.get("choices")
        if not choices or not isinstance(choices, list):
            return
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            index = choice.get("index", 0)
            if type(index) is not int:
                index = 0
            if index >= self._plan.choices:
                continue
            if choice.get("finish_reason"):
                self._finishing = True  # possibly: the fold interprets the word
            delta = choice["delta"] if "delta" in choice else choice.get("message")
            visible = self._visible(index, delta) if delta and isinstance(delta, dict) else None
            logprobs = choice.get("logprobs") if self._speech is None else None
            if visible or logprobs:
                self.spoke = True
                self._out.delta(visible or {}, index, logprobs, chunk)

    @property
    def usage(self) -> dict[str, Any] | None:
        """The usage of this round, if it was reported."""
        return self._fold.usage

    @property
    def finished(self) -> bool:
        """True once every choice has its finish_reason."""
        return self._finishing and all(self._fold.finish_of(i) is not None for i in range(self._plan.choices))

    def complete(self) -> list[dict[str, Any]]:
        """The calls completed since the last time, if they are ours to run."""
        calls = self._fold.calls()
        if calls is None or (len(calls) == self._begun and not self._fold.finish_reason):
            return []
        self._begun = len(calls)
        ready: list[dict[str, Any]] = []
        finished = self._fold.finish_reason is not None
        limit = self._begun if finished else self._begun - 1
        while self._released < limit:
            # Fragments of two calls may be interleaved: before the end only a whole object counts as complete.
            if not finished and not calls.is_whole(self._released):
                break
            call = calls.call(self._released)
            if not self._is_clients(call):
                ready.append(call)
            self._released += 1
        return ready

    def end(self) -> None:
        """End the answer. Raises UpstreamIncomplete if it has no finish_reason."""
        self._fold.close()
        if any(self._fold.finish_of(index) is None for index in self.choices()):
            raise UpstreamIncomplete("The provider's answer ended before it was complete.")
        if self._fold.finish_reason == "error":
            raise UpstreamError("The provider broke off its answer.")
        for index, splitter in self._think.items():
            spoken_text, thought = splitter.flush()
            delta = self._delta(self._spoken(index, spoken_text, last=True), thought)
            if delta:
                self._out.delta(delta, index)

    @property
    def thinks(self) -> bool | None:
        """Whether the answer began with unmarked reasoning; None if it does not show that."""
        if any(splitter.lone for splitter in self._think.values()):
            return True
        return False if self._thinks and self._think else None

    def choices(self) -> list[int]:
        """The choices. Ollama and llama.cpp give one, whatever `n` says."""
        return sorted({0, *(index for index in self._fold.indices if 0 <= index < self._plan.choices)})

    def reason(self, index: int = 0) -> str:
        """The finish_reason of a choice, in one of the chat API's words."""
        return self._fold.finish_of(index) or "stop"

    def turn(self) -> dict[str, Any]:
        """The assistant message exactly as the provider sent it."""
        return self._fold.turn()

    def details(self, index: int = 0) -> list[Any]:
        """What the provider needs to get back of its reasoning, for the message that the client returns.

        That of other rounds belongs to calls which the client never sees, and the provider would refuse it.
        """
        found = [] if self._strip else self._fold.turn(index).get("reasoning_details")
        return self._numbered(index, "reasoning_details", found) if isinstance(found, list) else []

    def has_calls(self, index: int = 0) -> bool:
        """True if the model called anything at all."""
        return bool(self._fold.calls(index))

    def clients_calls(self, index: int = 0) -> list[dict[str, Any]]:
        """The complete calls for the client to run, in order."""
        calls = self._fold.calls(index)
        return [call for call in calls.calls() if self._is_clients(call)] if calls is not None else []

    def _is_clients(self, call: dict[str, Any]) -> bool:
        return "function" not in call or self._plan.owner(call["function"]["name"]) is ToolOwner.CLIENT

    def _visible(self, index: int, delta: dict[str, Any]) -> dict[str, Any]:
        visible: dict[str, Any] = {}
        for name, value in delta.items():
            if name == "content":
                if value:
                    self._add_content(index, value, visible)
            elif value is None or name in _LATER or (self._strip and name in REASONING):
                continue
            elif value != "":
                if name == "reasoning_content" and name in visible:
                    value = visible[name] + value
                elif type(value) is list:
                    value = self._numbered(index, name, value)
                visible[name] = value
        return visible

    def _numbered(self, index: int, name: str, entries: list[Any]) -> list[Any]:
        """A list member of a delta with `index` in every entry: openai-python cannot merge lists without it."""
        numbered: list[Any] = []
        for entry in entries:
            if isinstance(entry, dict) and "index" not in entry:
                number = self._entries.get((index, name), 0)
                self._entries[index, name] = number + 1
                entry = {**entry, "index": number}
            numbered.append(entry)
        return numbered

    def _add_content(self, index: int, value: Any, visible: dict[str, Any]) -> None:
        text, thoughts = (value, "") if type(value) is str else text_of(value)
        splitter = self._think.get(index)
        if splitter is None:
            splitter = self._think[index] = ThinkSplitter(inside=self._thinks or closes_alone(text))
        spoken_text, more = splitter.feed(text)
        for name, piece in self._delta(self._spoken(index, spoken_text), thoughts + more).items():
            visible[name] = visible.get(name, "") + piece

    def _spoken(self, index: int, text: str, *, last: bool = False) -> str:
        """`text` to send to the client; with `last` nothing follows in this answer."""
        if self._speech is None or not (text or last):
            return text
        from openai_proxy.transforms.speech import SpeechFilter  # its patterns are only loaded if speech is used

        speech = self._speech.get(index)
        if speech is None:
            speech = self._speech[index] = SpeechFilter()
        spoken = speech.feed(text)
        return spoken + speech.end() if last else spoken

    def _delta(self, spoken_text: str, thought: str) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if thought and not self._strip:
            delta["reasoning_content"] = thought
        if spoken_text:
            delta["content"] = spoken_text
        return delta


def in_band(error: Any) -> UpstreamError:
    """The error for an error object within a stream: the provider's text, without secrets, and its code."""
    read = error_of({"error": error}) or {"message": "", "code": None}
    words = vault.scrub(read["message"])[:_MAX_MESSAGE]
    code = read["code"]
    return UpstreamError(
        words or "The provider reported an error in the middle of its answer.",
        code=str(code)[:100] if code is not None else None,
    )
