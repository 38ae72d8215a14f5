"""`{{tool_name(arg="value", n=10, x=1.5, flag=true, nothing=null)}}` in a system prompt: found once, run per request.

The grammar (contract, "Templates"):

    template = "{{" space name space "(" [argument {"," argument} [","]] ")" space "}}"
    argument = key space "=" value               key = letter or _, then letters, digits, _ and -
    value    = string | integer | float | true | false | null
    string   = "…" or '…', one line, with the escapes \\" \\' \\\\ \\/ \\n \\r \\t \\b \\f \\uXXXX; before any other
               character a backslash is a backslash

A value stands where its call stands only if it can never change. Else the sentence with the call leaves the prompt and
is told behind the conversation (`Rendered.changing`): so the prompt is the same text at every request, and stays in the
provider's cache with all that follows it.

What is not exactly that stays as it is written, byte for byte. The scanner goes over the text once; a call that
never closes is given up after `MAX_CALL` characters, so the time stays linear.
"""

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from openai_proxy import tasks

MAX_CALL: Final = 10_000  # characters of one call
MAX_NOTE: Final = 200
MAX_CACHED: Final = 256  # results
MAX_CACHED_LENGTH: Final = 100_000  # characters of one result
_SENTENCE_END: Final = re.compile(r"[.!?…][\"')\]]*(?:[ \t]+|[ \t]*\n)|[\u3002\uff01\uff1f]\n?|\n")
STEADY: Final = frozenset({"calculator"})
"""Built-in tools whose result depends on nothing but the arguments."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,127}")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,300})(\.[0-9]{1,300})?([eE][+-]?[0-9]{1,3})?(?![\w.])")
_WORD: Final = re.compile(r"(true|false|null)(?![\w.])")
_CHUNK: Final = {'"': re.compile(r'[^"\\\x00-\x1f]*'), "'": re.compile(r"[^'\\\x00-\x1f]*")}
_HEX: Final = re.compile(r"[0-9a-fA-F]{4}")
_WORDS: Final[dict[str, Any]] = {"true": True, "false": False, "null": None}
_ESCAPES: Final = {'"': '"', "'": "'", "\\": "\\", "/": "/", "n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f"}


class TemplateOutcome(Protocol):
    """What a tool gave (tools.base.ToolResult has this shape)."""

    @property
    def text(self) -> str:
        """The result, or the reason of a failure, fit to be read."""
        ...

    @property
    def is_error(self) -> bool:
        """True for a failure."""
        ...


Call = Callable[[str, dict[str, Any]], Awaitable[TemplateOutcome]]
"""Runs the tool of a name with arguments; failures come back as an outcome."""


@dataclass(frozen=True, slots=True)
class TemplateCall:
    """One call in a text: `source` is exactly what stands there; `line` and `column` count from 1 in the text."""

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
    """A text whose calls were made: what is the same at every request, and the sentences that may change."""

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
        """The text with `values`, by the keys of calls. Calls of tools that nobody has stay as they are written.

        A call without a value, as for a client's probe, which waits for no tool, has its name in its place.
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
        """The calls of tools nobody has: problems at load, literal text at request time."""
        return tuple(call for call in self.calls if not known(call.name))


class TemplateCache:
    """Results of template calls that may be used again for a while. Bounded; the oldest goes first."""

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
        """Keep what `call` gave just now, unless it is huge."""
        if len(text) > MAX_CACHED_LENGTH:
            return
        self._results[call.key] = (time.monotonic(), text)
        self._results.move_to_end(call.key)
        while len(self._results) > self._size:
            self._results.popitem(last=False)


def parse(text: str) -> Template:
    """The template of `text`. Never raises; what is no call is literal."""
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
    """The text and what its calls give; all run side by side, equal ones once.

    A call of a tool that is not `known` stays literal; one that fails or takes longer than `timeout` seconds gives a
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
    """`parts` cut behind every sentence and every line."""
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
    """Take the line that introduces what follows ("Devices:") from the end of `fixed`; "" if there is none."""
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
    """What stands in the prompt in place of a failed call: one line, and no braces that could look like a call."""
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
    position = _space(text, position + 1, limit)
    arguments: dict[str, Any] = {}
    while not text.startswith(")", position, limit):
        if (key := _KEY.match(text, position, limit)) is None or key.group() in arguments:
            return None
        position = _space(text, key.end(), limit)
        if not text.startswith("=", position, limit):
            return None
        scanned = _argument(text, _space(text, position + 1, limit), limit)
        if scanned is None:
            return None
        arguments[key.group()], position = scanned
        position = _space(text, position, limit)
        if text.startswith(",", position, limit):
            position = _space(text, position + 1, limit)
        elif not text.startswith(")", position, limit):
            return None
    position = _space(text, position + 1, limit)
    return (name.group(), arguments, position + 2) if text.startswith("}}", position, limit) else None


def _space(text: str, position: int, limit: int) -> int:
    match = _SPACE.match(text, position, limit)
    return match.end() if match is not None else position


def _argument(text: str, position: int, limit: int) -> tuple[Any, int] | None:
    """(value, end) of the value at `position`, or None."""
    if position >= limit:
        return None
    if text[position] in "\"'":
        return _string(text, position, limit)
    if (word := _WORD.match(text, position, limit)) is not None:
        return _WORDS[word.group(1)], word.end()
    if (number := _NUMBER.match(text, position, limit)) is None:
        return None
    if number.group(1) is None and number.group(2) is None:
        value = int(number.group())
        # 64 bits: what JSON on the other side of a tool can carry everywhere
        return (value, number.end()) if -(2**63) <= value < 2**64 else None
    real = float(number.group())
    return (real, number.end()) if math.isfinite(real) else None


def _string(text: str, position: int, limit: int) -> tuple[str, int] | None:
    quote = text[position]
    plain = _CHUNK[quote]
    pieces: list[str] = []
    position += 1
    while position < limit:
        match = plain.match(text, position, limit)
        if match is not None and match.end() > position:
            pieces.append(match.group())
            position = match.end()
            continue
        if text[position] == quote:
            return _whole("".join(pieces)), position + 1
        if text[position] != "\\" or position + 1 >= limit:
            return None  # a line end or a control character
        escape = text[position + 1]
        if escape in _ESCAPES:
            pieces.append(_ESCAPES[escape])
            position += 2
        elif escape == "u":
            if (digits := _HEX.match(text, position + 2, limit)) is None:
                return None
            pieces.append(chr(int(digits.group(), 16)))
            position += 6
        else:
            pieces.append("\\")
            position += 1
    return None


def _whole(text: str) -> str:
    """`text` with pairs of \\uXXXX surrogates as the one character they are, and lone ones as U+FFFD."""
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
