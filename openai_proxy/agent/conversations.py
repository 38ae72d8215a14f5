"""What is kept of a conversation between its requests: tools that were found, and questions that wait for a yes.

A conversation is the caller's, one model's, and has the id its client gave it (`dialects.chat.conversation`), else the
text of its first user message. That alone would mistake two conversations for one, so everything kept remembers what
the person had said by then, and counts only where that is the beginning of what the person has said now.

Bounded by number and age; lives as long as the process. Daemons that share their state know it of each other, so that
a question may be asked by one and the yes come to another.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Final

from openai_proxy.agent.fingerprint import canonical, key, text
from openai_proxy.store.shared import Shared, SharedTable

MAX_CONVERSATIONS: Final = 2000
MAX_QUESTIONS: Final = 64  # of one conversation; the oldest go
MAX_FOUND: Final = 400
TTL: Final = 3600.0  # seconds, the default of session_ttl

Said = tuple[bytes, ...]
"""Fingerprints of what the person has said, message by message."""


@dataclass(slots=True)
class Question:
    """A call that waits for the person's yes; `said` is what the person had said when it was first made."""

    tool: str
    arguments: str
    said: Said


@dataclass(slots=True)
class _Kept:
    questions: list[Question] = field(default_factory=list)
    found: list[tuple[str, Said]] = field(default_factory=list)
    used: float = 0.0


class Conversation:
    """One request's view of its conversation. Implements tools.base.Consent and tools.find_tools.FoundTools."""

    def __init__(self, kept: _Kept, said: Said, *, named: bool, changed: Callable[[], None] = lambda: None) -> None:
        self._kept = kept
        self._said = said
        self._named = named
        self._changed = changed  # told after every change

    def given(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """True if the person may have said yes to this very call: they have spoken since it was first made.

        A yes is good for one call. If there is none, the call is noted, and counts from the person's next message on.
        """
        asked = canonical(arguments)
        waiting = [q for q in self._kept.questions if (q.tool, q.arguments) == (tool, asked)]
        for question in waiting:
            if self._follows(question.said) and question.said != self._said:
                self._kept.questions.remove(question)
                self._changed()
                return True
        if not any(question.said == self._said for question in waiting):
            self._kept.questions.append(Question(tool, asked, self._said))
            del self._kept.questions[:-MAX_QUESTIONS]
            self._changed()
        return False

    def found(self) -> tuple[str, ...]:
        """The tools that were found so far, in the order they were found in."""
        return tuple(dict.fromkeys(name for name, said in self._kept.found if self._follows(said)))

    def add_found(self, names: Sequence[str]) -> None:
        """From now on these are offered."""
        known = set(self.found())
        self._kept.found += [(name, self._said) for name in names if name not in known]
        del self._kept.found[:-MAX_FOUND]
        self._changed()

    def _follows(self, said: Said) -> bool:
        """True if what the person had said then is the beginning of what they have said now.

        Where the client names its conversations, it may have dropped the oldest messages meanwhile.
        """
        dropped = range(len(said)) if self._named else range(min(1, len(said)))
        return any(said[n:] == self._said[: len(said) - n] for n in dropped)


def said_in(messages: Sequence[Any]) -> Said:
    """A digest of each thing the person said. Touches nothing but `messages`, so any thread may work it out."""
    return tuple(
        blake2b(text(m.get("content")).encode(errors="replace"), digest_size=16).digest()
        for m in messages
        if isinstance(m, Mapping) and m.get("role") == "user"
    )


class ConversationMemories:
    """All that is remembered. Belongs to the event loop."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, ttl: float = TTL) -> None:
        self._clock = clock
        self.ttl = ttl
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # least recently used first
        self._shared: SharedTable | None = None

    def __len__(self) -> int:
        return len(self._kept)

    def of(
        self, caller: str, model: str, name: str | None, messages: Sequence[Any], said: Said | None = None
    ) -> Conversation:
        """The conversation of a request: who asks which model, the id the client gave it, and what was said in it.

        `said` is `said_in(messages)`, where that has been worked out elsewhere.
        """
        said = said_in(messages) if said is None else said
        first = said[0].hex() if said else ""
        where = key(caller, model, "named", name) if name is not None else key(caller, model, "first", first)
        kept = self._kept_of(where)

        def changed() -> None:
            if self._shared is not None:
                self._shared.changed(where)

        return Conversation(kept, said, named=name is not None, changed=changed)

    def _kept_of(self, where: str) -> _Kept:
        now = self._clock()
        kept = self._kept.pop(where, None)
        if kept is None or now - kept.used > self.ttl:
            kept = _Kept()
        kept.used = now
        self._kept[where] = kept
        while len(self._kept) > MAX_CONVERSATIONS or next(iter(self._kept.values())).used < now - self.ttl:
            self._kept.popitem(last=False)
        return kept

    # -- shared with other daemons ----------------------------------------------------------------------------------

    def share(self, shared: Shared) -> None:
        """Let other daemons know, and know of theirs."""
        self._shared = shared.table("conversation_notes", read=self._read, take=self._take, names=list)

    def _read(self, name: str) -> tuple[Any, float] | None:
        kept = self._kept.get(name)
        if kept is None:
            return None
        questions = [(q.tool, q.arguments, [part.hex() for part in q.said]) for q in kept.questions]
        found = [(tool, [part.hex() for part in said]) for tool, said in kept.found]
        return {"questions": questions, "found": found}, self.ttl

    def _take(self, name: str, value: Any) -> None:
        if value is None:
            return
        questions = [Question(tool, arguments, _said(said)) for tool, arguments, said in value["questions"]]
        found = [(str(tool), _said(said)) for tool, said in value["found"]]
        kept = self._kept_of(name)  # the same object as before, for a request that is under way
        kept.questions[:], kept.found[:] = questions, found


def _said(parts: Sequence[str]) -> Said:
    return tuple(map(bytes.fromhex, parts))
