"""What is stored about a conversation between its requests: tools that were found, and calls that await consent.

A conversation belongs to one caller and one model, and is identified by its client's id
(`dialects.chat.conversation_id`), else by the text of its first user message. That alone would confuse conversations,
so everything stored includes what the person had said by then, and applies only if that is the beginning of what the
person has said now.

Bounded by number and age; lives as long as the process. Daemons that share state exchange it, so that one can ask the
question and another get the answer.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from openai_proxy.agent.fingerprint import canonical, fingerprint, key, text
from openai_proxy.bounded_map import BoundedMap
from openai_proxy.store.shared import Shared, SharedTable

MAX_CONVERSATIONS: Final = 2000
MAX_QUESTIONS: Final = 64  # per conversation; the oldest are dropped
MAX_FOUND: Final = 400
TTL: Final = 3600.0  # seconds, the default of session_ttl

Digests = tuple[bytes, ...]
"""Fingerprints of what the person has said, message by message."""


@dataclass(slots=True)
class Question:
    """A call that awaits consent; `digests` is what the person had said when it was first made."""

    tool: str
    arguments: str
    digests: Digests


@dataclass(slots=True)
class _Kept:
    questions: list[Question] = field(default_factory=list)
    found: list[tuple[str, Digests]] = field(default_factory=list)


class Conversation:
    """One request's view of its conversation. Implements tools.base.Consent and tools.find_tools.FoundTools."""

    def __init__(
        self, kept: _Kept, digests: Digests, *, named: bool, changed: Callable[[], None] = lambda: None
    ) -> None:
        self._kept = kept
        self._digests = digests
        self._named = named
        self._changed = changed  # called after every change

    def given(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """True if the person may have agreed to this very call: they have spoken since it was first made.

        Consent is valid for one call. Without it, the call is noted, and may be confirmed by the person's next message.
        """
        wanted_arguments = canonical(arguments)
        waiting = [q for q in self._kept.questions if (q.tool, q.arguments) == (tool, wanted_arguments)]
        for question in waiting:
            if self._follows(question.digests) and question.digests != self._digests:
                self._kept.questions.remove(question)
                self._changed()
                return True
        if not any(question.digests == self._digests for question in waiting):
            self._kept.questions.append(Question(tool, wanted_arguments, self._digests))
            del self._kept.questions[:-MAX_QUESTIONS]
            self._changed()
        return False

    def found(self) -> tuple[str, ...]:
        """The tools found so far, in the order in which they were found."""
        return tuple(dict.fromkeys(name for name, digests in self._kept.found if self._follows(digests)))

    def add_found(self, names: Sequence[str]) -> None:
        """Offer these tools from now on."""
        known = set(self.found())
        self._kept.found += [(name, self._digests) for name in names if name not in known]
        del self._kept.found[:-MAX_FOUND]
        self._changed()

    def _follows(self, digests: Digests) -> bool:
        """True if what the person had said then is the beginning of what they have said now.

        A client that names its conversations may have dropped the oldest messages meanwhile.
        """
        dropped = range(len(digests)) if self._named else range(min(1, len(digests)))
        return any(digests[n:] == self._digests[: len(digests) - n] for n in dropped)


def digests_of(messages: Sequence[Any]) -> Digests:
    """A digest of each of the person's messages. Only reads `messages`, so it is thread-safe."""
    return tuple(
        bytes.fromhex(fingerprint(text(m.get("content"))))
        for m in messages
        if isinstance(m, Mapping) and m.get("role") == "user"
    )


class ConversationMemories:
    """All conversations. Belongs to the event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, ttl: float = TTL) -> None:
        self._kept: BoundedMap[_Kept] = BoundedMap(max_entries=MAX_CONVERSATIONS, ttl=ttl, clock=clock)
        self._shared: SharedTable | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def follow(self, ttl: float) -> None:
        """Keep conversations for `ttl` seconds from now on."""
        self._kept.ttl = ttl

    def of(
        self, caller: str, model: str, name: str | None, messages: Sequence[Any], digests: Digests | None = None
    ) -> Conversation:
        """The conversation of a request: its caller and model, the client's id for it, and what was said in it.

        `digests` is `digests_of(messages)`, if already computed.
        """
        digests = digests_of(messages) if digests is None else digests
        first = digests[0].hex() if digests else ""
        where = key(caller, model, "named", name) if name is not None else key(caller, model, "first", first)
        kept = self._kept_of(where)

        def changed() -> None:
            if self._shared is not None:
                self._shared.changed(where)

        return Conversation(kept, digests, named=name is not None, changed=changed)

    def _kept_of(self, where: str) -> _Kept:
        kept = self._kept.get(where)
        if kept is None:
            self._kept.put(where, kept := _Kept(), 0)
        return kept

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def share(self, shared: Shared) -> None:
        """Share these notes with the other daemons."""
        self._shared = shared.table("conversation_notes", read=self._read, take=self._take, names=list)

    def _read(self, name: str) -> tuple[Any, float] | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        questions = [(q.tool, q.arguments, [part.hex() for part in q.digests]) for q in kept.questions]
        found = [(tool, [part.hex() for part in digests]) for tool, digests in kept.found]
        return {"questions": questions, "found": found}, self._kept.ttl

    def _take(self, name: str, value: Any) -> None:
        if value is None:
            return
        questions = [Question(tool, arguments, _digests(digests)) for tool, arguments, digests in value["questions"]]
        found = [(str(tool), _digests(digests)) for tool, digests in value["found"]]
        kept = self._kept_of(name)  # the same object as before, for a running request
        kept.questions[:], kept.found[:] = questions, found


def _digests(parts: Sequence[str]) -> Digests:
    return tuple(map(bytes.fromhex, parts))
