"""`{{tool_name(arg="value", n=10, x=1.5, flag=true, nothing=null)}}` in a system prompt: found once, run per request.

The grammar (contract, "Templates"):

    template = "{{" space name space "(" [argument {"," argument} [","]] ")" space "}}"
    argument = key space "=" value               key = letter or _, then letters, digits, _ and -
    value    = string | integer | float | true | false | null
    string   = "…" or '…', one line, with the escapes \\" \\' \\\\ \\/ \\n \\r \\t \\b \\f \\uXXXX; before any other
               character a backslash is a backslash

A value replaces its call in place only if it can never change. Otherwise the sentence with the call is moved from the
prompt to the end of the conversation (`Rendered.changing`), so that the prompt is identical in every request, and stays
in the provider's cache with everything after it.

Anything else is kept as written, byte for byte. The text is scanned once; the search for the end of a call stops after
`MAX_CALL` characters, so the time stays linear.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from openai_proxy import tasks
from openai_proxy.protocols.call_arguments import Grammar, json_like, read_arguments

MAX_CALL: Final = 10_000  # characters of one call
MAX_NOTE: Final = 200
MAX_CACHED: Final = 256  # results
MAX_CACHED_LENGTH: Final = 100_000  # characters of one result
_SENTENCE_END: Final = re.compile(r"[.!?…][\"')\]]*(?:[ \t]+|[ \t]*\n)|[\u3002\uff01\uff1f]\n?|\n")
STEADY: Final = frozenset({"calculator"})
"""Built-in tools whose result depends on nothing but the arguments."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ARGUMENTS: Final = Grammar(re.compile(r"([A-Za-z_][A-Za-z0-9_-]{0,127})[ \t\r\n]*="), json_like)
_SPACE: Final = re.compile(r"[ \t\r\n]*")


class TemplateOutcome(Protocol):
    """A tool's result (tools.base.ToolResult has this shape)."""

    @property
    def text(self) -> str:
        """The result, or the reason of a failure, as readable text."""
        ...

    @property
    def is_error(self) -> bool:
        """True for a failure."""
        ...


Call = Callable[[str, dict[str, Any]], Awaitable[TemplateOutcome]]
"""Runs the named tool with arguments; failures are returned as an outcome."""


@dataclass(frozen=True, slots=True)
class TemplateCall:
    """One call in a text: `source` is exactly what is written there; `line` and `column` count from 1 in the text."""

    name: str
    arguments: dict[str, Any]
    source: str
    line: int
    column: int

    @property
    def key(self) -> tuple[str, bytes]:
        """Equal for calls that mean the same."""
        return self.name, orjson.dumps(self.arguments, option=orjson.OPT_SORT_KEYS)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text after its calls: what is the same in every request, and the sentences that may change."""

    text: str
    changing: str = ""


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: literal pieces and calls, in order."""

    parts: tuple[str | TemplateCall, ...]

    @property
    def calls(self) -> tuple[TemplateCall, ...]:
        """The calls, in order."""
        return tuple(part for part in self.parts if isinstance(part, TemplateCall))

    @property
    def source(self) -> str:
        """The text that was parsed, byte for byte."""
        return "".join(part if isinstance(part, str) else part.source for part in self.parts)

    @property
    def text(self) -> str | None:
        """The whole text if there is nothing to call, so that most prompts cost nothing per request."""
        if not self.parts:
            return ""
        return self.parts[0] if len(self.parts) == 1 and isinstance(self.parts[0], str) else None

    def placed(self, values: Mapping[tuple[str, bytes], str], known: Callable[[str], bool]) -> "Rendered":
        """The text with `values`, by the keys of calls. Calls of unknown tools stay as written.

        A call without a value, as in a client's probe, which waits for no tool, is replaced by its name.
        """
        fixed: list[str] = []
        changing: list[str] = []
        for sentence in _sentences(self.parts):
            texts = [
                part
                if isinstance(part, str)
                else values.get(part.key, f"[{part.name}]")
                if known(part.name)
                else part.source
                for part in sentence
            ]
            if not any(not isinstance(p, str) and p.name not in STEADY and known(p.name) for p in sentence):
                fixed += texts
                continue
            before = sentence[0] if isinstance(sentence[0], str) else ""
            title = _title(fixed) if not before.strip(" \t-*") else ""
            changing.append(f"{title}{''.join(texts).strip()}")
            if fixed and texts[-1].endswith("\n") and not fixed[-1].endswith("\n"):
                fixed[-1] = f"{fixed[-1].rstrip(' ')}\n"
        return Rendered("".join(fixed), "\n".join(changing))

    def unknown(self, known: Callable[[str], bool]) -> tuple[TemplateCall, ...]:
        """The calls of unknown tools: problems at load, literal text at request time."""
        return tuple(call for call in self.calls if not known(call.name))


class TemplateCache:
    """Reusable results of template calls. Bounded; the oldest is dropped first."""

    def __init__(self, size: int = MAX_CACHED) -> None:
        self._size = size
        self._results: OrderedDict[tuple[str, bytes], tuple[float, str]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._results)

    def get(self, call: TemplateCall, age: float) -> str | None:
        """The text of an equal call at most `age` seconds ago."""
        found = self._results.get(call.key)
        return found[1] if found is not None and time.monotonic() - found[0] <= age else None

    def put(self, call: TemplateCall, text: str) -> None:
        """Store the new result of `call`, unless it is huge."""
        if len(text) > MAX_CACHED_LENGTH:
            return
        self._results[call.key] = (time.monotonic(), text)
        self._results.move_to_end(call.key)
        while len(self._results) > self._size:
            self._results.popitem(last=False)


def parse(text: str) -> Template:
    """The template of `text`. Never raises; anything but calls is literal."""
    parts: list[str | TemplateCall] = []
    literal = position = counted = line_start = 0
    line = 1
    while (found := text.find("{{", position)) >= 0:
        scanned = _call(text, found)
        if scanned is None:
            position = found + 1  # "{{{f()}}}" is "{", a call and "}"
            continue
        name, arguments, end = scanned
        if newlines := text.count("\n", counted, found):
            line += newlines
            line_start = text.rfind("\n", counted, found) + 1
        counted = found
        if found > literal:
            parts.append(text[literal:found])
        parts.append(TemplateCall(name, arguments, text[found:end], line, found - line_start + 1))
        literal = position = end
    if literal < len(text):
        parts.append(text[literal:])
    return Template(tuple(parts))


async def render(
    template: Template,
    call: Call,
    *,
    known: Callable[[str], bool],
    timeout: float = 3.0,
    cache: TemplateCache | None = None,
    cache_seconds: float = 0.0,
) -> Rendered:
    """The text with the results of its calls; all run concurrently, equal ones once.

    A call of a tool that is not `known` stays literal; one that fails or takes longer than `timeout` seconds becomes a
    short note. Results up to `cache_seconds` old are taken from `cache`. Only cancellation is raised.
    """
    if (text := template.text) is not None:
        return Rendered(text)
    keep = cache if cache_seconds > 0 else None
    values: dict[tuple[str, bytes], str] = {}
    pending: dict[tuple[str, bytes], TemplateCall] = {}
    for part in template.calls:
        key = part.key
        if key in values or key in pending or not known(part.name):
            continue
        if keep is not None and (kept := keep.get(part, cache_seconds)) is not None:
            values[key] = kept
        else:
            pending[key] = part
    if len(pending) == 1:
        ((key, only),) = pending.items()
        values[key] = await _value(only, call, timeout, keep)
    elif pending:
        running = [
            tasks.spawn(_value(one, call, timeout, keep), name=f"template {one.name}") for one in pending.values()
        ]
        try:
            values.update(zip(pending, await asyncio.gather(*running), strict=True))
        finally:
            for task in running:
                task.cancel()
    return template.placed(values, known)


def _sentences(parts: Sequence[str | TemplateCall]) -> Iterator[list[str | TemplateCall]]:
    """`parts` cut after every sentence and every line."""
    sentence: list[str | TemplateCall] = []
    for part in parts:
        if not isinstance(part, str):
            sentence.append(part)
            continue
        position = 0
        for end in _SENTENCE_END.finditer(part):
            yield [*sentence, part[position : end.end()]]
            sentence, position = [], end.end()
        if position < len(part):
            sentence.append(part[position:])
    if sentence:
        yield sentence


def _title(fixed: list[str]) -> str:
    """Remove a line that introduces what follows ("Devices:") from the end of `fixed` and return it; "" if none."""
    last = len(fixed)
    while last and not fixed[last - 1].strip():
        last -= 1
    if not last or not fixed[last - 1].rstrip().endswith(":") or not fixed[last - 1].endswith("\n"):
        return ""
    title = fixed[last - 1]
    del fixed[last - 1 :]
    return title


async def _value(part: TemplateCall, call: Call, timeout: float, cache: TemplateCache | None) -> str:
    scope = asyncio.timeout(timeout)
    try:
        async with scope:
            outcome = await call(part.name, part.arguments)
    except TimeoutError:
        return _note(part.name, f"no answer within {timeout:g} s" if scope.expired() else "it timed out")
    except Exception as error:  # a tool promises results; the prompt must not depend on that promise
        return _note(part.name, type(error).__name__)
    if outcome.is_error:
        return _note(part.name, outcome.text)
    text = outcome.text.strip("\r\n")
    if cache is not None:
        cache.put(part, text)
    return text


def _note(name: str, reason: str) -> str:
    """What replaces a failed call in the prompt: one line, without braces that could look like a call."""
    reason = " ".join(reason.split()).rstrip(".")
    if len(reason) > MAX_NOTE:
        reason = reason[: MAX_NOTE - 1] + "…"
    return f"[{name} is not available now: {reason}]"


def _call(text: str, start: int) -> tuple[str, dict[str, Any], int] | None:
    """(name, arguments, end) of the call that begins with the "{{" at `start`, or None."""
    limit = min(len(text), start + MAX_CALL)
    position = _space(text, start + 2, limit)
    if (name := _NAME.match(text, position, limit)) is None:
        return None
    position = _space(text, name.end(), limit)
    if not text.startswith("(", position, limit):
        return None
    pairs, end = read_arguments(_ARGUMENTS, text, position + 1, limit)
    arguments = {str(key): value for key, value in pairs}
    if end is None or len(arguments) < len(pairs):
        return None
    position = _space(text, end, limit)
    return (name.group(), arguments, position + 2) if text.startswith("}}", position, limit) else None


def _space(text: str, position: int, limit: int) -> int:
    match = _SPACE.match(text, position, limit)
    return match.end() if match is not None else position
