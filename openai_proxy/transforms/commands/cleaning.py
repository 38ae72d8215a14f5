"""A request without its commands: those to run, and the changes to its body.

Only the newest user message is obeyed, and only if the assistant has not answered since: a client that returns tool
results sends the same message again. Older messages are cleaned in the same way, and a message that consists of
commands only is removed together with the proxy's answer to it.
"""

from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from string import whitespace
from typing import Any

from openai_proxy import steps
from openai_proxy.dialects import json_text
from openai_proxy.transforms.commands.dialogue import DialogueTurn, dialogue
from openai_proxy.transforms.commands.parser import CommandCall, SearchBudget, find, without
from openai_proxy.transforms.commands.protected import protected
from openai_proxy.transforms.spans import Span
from openai_proxy.transforms.splicing import Path, splice

_SAYS_NOTHING = whitespace + ".,;:!?…"
"""Punctuation left over from a message of commands alone if it was dictated, or typed as a sentence."""


@dataclass(slots=True)
class Cleaned:
    """`calls` are to be run; `alone` is True if the newest message contains nothing but commands, known or not.

    `unknown` are the names of unknown commands (reported only if they stand alone).
    """

    turns: list[DialogueTurn]
    calls: list[CommandCall] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    alone: bool = False
    replace: dict[Path, bytes] = field(default_factory=dict)
    remove: set[Path] = field(default_factory=set)

    def applied(self, body: bytes) -> bytes:
        """`body` with the changes; every other byte stays."""
        return splice(body, self.replace, self.remove) if self.replace or self.remove else body


def clean(path: str, document: Mapping[str, Any], prefix: str, known: Collection[str]) -> Cleaned:
    """What to do about the commands in a request to the endpoint `path`."""
    turns = dialogue(path, document)
    result = Cleaned(turns)
    budget = SearchBudget()
    spoken = max((index for index, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
    newest = max((index for index, turn in enumerate(turns) if turn.role == "user"), default=-1)
    for index, turn in enumerate(turns):
        if turn.role != "user":
            continue
        found = _found(turn, prefix, budget)
        if path == "/completions" and not turn.text.startswith(prefix):
            continue  # code to be completed may contain anything
        if not any(calls for _, _, calls in found):
            continue
        only = not turn.more and all(steps.blank(without(text, calls), signs=_SAYS_NOTHING) for _, text, calls in found)
        if index == newest and index > spoken:
            calls = [call for _, _, several in found for call in several]
            result.calls = [call for call in calls if call.name in known]
            result.unknown = [call.name for call in calls if call.name not in known]
            result.alone = only
            if only:
                continue
        elif only and turn.path:
            result.remove.add(turn.path)
            if index + 1 < len(turns) and turns[index + 1].role == "assistant":
                result.remove.add(turns[index + 1].path)
            continue
        _take_out(result, turn, found, known)
    return result


def _found(turn: DialogueTurn, prefix: str, budget: SearchBudget) -> list[tuple[Path, str, list[CommandCall]]]:
    """The commands in each text of a message. Code that begins in one part may end in a later one."""
    if all(steps.find(text, prefix) < 0 for _, text in turn.texts):
        return [(where, text, []) for where, text in turn.texts]
    spans = protected(steps.join((text for _, text in turn.texts), "\n"), prefix)
    found: list[tuple[Path, str, list[CommandCall]]] = []
    offset = 0
    for where, text in turn.texts:
        found.append((where, text, find(text, prefix, spans=_part(spans, offset, len(text)), budget=budget)))
        offset += len(text) + 1
    return found


def _part(spans: list[Span], offset: int, length: int) -> list[Span]:
    """The part of `spans` within the `length` characters from `offset` on, relative to it."""
    first = max(bisect_right(spans, (offset, 0)) - 1, 0)
    last = bisect_right(spans, (offset + length, 0))
    return [(max(start - offset, 0), end - offset) for start, end in spans[first:last] if end > offset]


def _take_out(
    result: Cleaned, turn: DialogueTurn, found: list[tuple[Path, str, list[CommandCall]]], known: Collection[str]
) -> None:
    """Remove the known commands from a message with other content; parts that become empty are removed."""
    emptied: list[Path] = []
    for where, text, calls in found:
        ours = [call for call in calls if call.name in known]
        if not ours:
            continue
        rest = without(text, ours)
        if not steps.blank(rest) or where[-1] != "text":
            result.replace[where] = json_text.dumps(rest)
        else:
            emptied.append(where[:-1])
    if len(emptied) < len(found) or turn.more:
        result.remove.update(emptied)
    else:
        result.replace.update({(*where, "text"): b'""' for where in emptied})
