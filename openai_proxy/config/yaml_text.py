"""From YAML text to plain data with the place of every value, or to a plain explanation of what is wrong.

The events of ruamel.yaml's pure scanner are composed here rather than by its loaders. That takes half the time of its
round-trip loader (1.4 ms against 2.8 ms for a typical model file, and conf/ may have 200), keeps line and column of
every key and value, and allows each danger to be refused where it occurs: duplicate keys (elsewhere the last silently
wins), alias bombs, cycles, depth, and scalars that YAML 1.1 and 1.2 read differently.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema); mapping keys are always text,
and merge keys (`<<`) work.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from openai_proxy.config.problems import Problem
from openai_proxy.config.yaml_scalars import Trap, core_value, trap

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_FAULTS = 20
MAX_SALVAGED = 64 * 1024  # bytes of a broken file that is read again to find more mistakes
MAX_SALVAGES = 4
MAX_NODES = 50_000  # after aliases are expanded; 1,000 routes with 1,000 keys are 4,000, and 17 µs each

_STR_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "map", "seq")}


class Node:
    """A value and its place (counted from 1).

    `entries` of a mapping: key -> (line and column of the key, node of the value); `items` of a sequence. `raw` is the
    written text of a plain scalar that is not text (`8080`, `true`, `1.10`), `trap` a warning about it.
    """

    __slots__ = ("column", "count", "entries", "items", "line", "raw", "trap", "value")

    def __init__(self, line: int, column: int, value: Any = None) -> None:
        self.line = line
        self.column = column
        self.value = value
        self.entries: dict[str, tuple[int, int, Node]] | None = None
        self.items: list[Node] | None = None
        self.raw: str | None = None
        self.trap: Trap | None = None
        self.count = 1

    def find(self, path: tuple[str | int, ...], *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `path`, or of its nearest existing ancestor.

        With `key`, those of the key rather than of its value.
        """
        node, place = self, (self.line, self.column)
        for step in path:
            if node.entries is not None and step in node.entries:
                line, column, node = node.entries[str(step)]
                place = (line, column) if key else (node.line, node.column)
            elif node.items is not None and isinstance(step, int) and 0 <= step < len(node.items):
                node = node.items[step]
                place = (node.line, node.column)
        return place

    def traps(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], "Node"]]:
        """Every scalar below with a warning, with its path."""
        if self.trap is not None:
            yield path, self
        for key, (_, _, node) in (self.entries or {}).items():
            yield from node.traps((*path, key))
        for index, node in enumerate(self.items or ()):
            yield from node.traps((*path, index))


class YamlRefused(Exception):
    """A problem that stops the reading. `again` is the line (from 1) to leave out in order to go on."""

    def __init__(self, line: int, column: int, message: str, again: int | None = None) -> None:
        super().__init__(message)
        self.line, self.column, self.message, self.again = line, column, message, again


@dataclass(frozen=True, slots=True)
class BrokenYaml:
    """A text that cannot be used. `rest` is what could be read apart from the mistakes, to look for more of them."""

    problems: tuple[Problem, ...]
    rest: Node | None = None


def parse(data: bytes, file: str, *, first_line: int = 1) -> Node | BrokenYaml:
    """The root node of the one document in `data`, or what is wrong. Never raises, whatever the bytes.

    An empty document is a node with value None. `first_line` is the line of `file` at which `data` begins.
    """
    offset = first_line - 1
    faults: list[YamlRefused] = []
    rest: Node | None = None
    try:
        text = _text(data)
        composer = _compose(text, offset)
        if not composer.faults:
            return composer.root
        faults, rest = composer.faults, composer.root
    except YamlRefused as refused:
        faults = [refused]
        if refused.again is not None and len(data) <= MAX_SALVAGED:
            rest = _salvage(text, offset, faults)
    faults.sort(key=lambda fault: (fault.line, fault.column))
    return BrokenYaml(tuple(Problem(file, f.line + offset, f.column, f.message) for f in faults), rest)


def _salvage(text: str, offset: int, faults: list[YamlRefused]) -> Node | None:
    """Read on without the lines that stopped the reading, and add further mistakes to `faults`."""
    lines = text.split("\n")
    for _ in range(MAX_SALVAGES):
        last = faults[-1]
        assert last.again is not None
        _blank(lines, last.again - 1)
        try:
            composer = _compose("\n".join(lines), offset)
        except YamlRefused as refused:
            if refused.again is None or refused.again <= last.again:
                return None
            if refused.message != last.message:
                faults.append(refused)
            last.again = refused.again
            continue
        faults += composer.faults
        return composer.root
    return None


def _blank(lines: list[str], number: int) -> None:
    """Blank out a line and the more deeply indented ones that belong to it."""
    depth = len(lines[number]) - len(lines[number].lstrip())
    lines[number] = ""
    for below in range(number + 1, len(lines)):
        stripped = lines[below].lstrip()
        if stripped and len(lines[below]) - len(stripped) <= depth:
            return
        lines[below] = ""


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise YamlRefused(1, 1, f"the file is larger than 1 MiB ({len(data):,} bytes)")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise YamlRefused(line, column, "this is not UTF-8 text: save the file as UTF-8") from None
    for index, char in enumerate(text):
        if (char < " " and char not in "\n\r\t") or ("\x7f" <= char <= "\x9f" and char != "\x85"):
            line, column = text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
            raise YamlRefused(line, column, f"a control character (U+{ord(char):04X}) cannot be part of a YAML file")
    return text


def _compose(text: str, offset: int) -> "_Composer":
    # Imported here: a daemon without any YAML file need not pay for it.
    from ruamel.yaml.error import MarkedYAMLError

    from openai_proxy.config.yaml_events import events

    try:
        composer = _Composer(events(text), offset)
        composer.document()
        return composer
    except YamlRefused:
        raise
    except MarkedYAMLError as error:
        raise _explained(error, text) from None
    except Exception:
        # Perhaps bytes that the scanner did not foresee; to the owner the file is invalid like any other.
        raise YamlRefused(1, 1, "this cannot be read as YAML") from None


def _explained(error: Any, text: str) -> YamlRefused:
    from openai_proxy.config.yaml_words import YamlMark, explain

    mark = error.problem_mark or error.context_mark
    if mark is None:
        return YamlRefused(1, 1, "this is not YAML")
    opened = YamlMark(error.context_mark.line, error.context_mark.column) if error.context_mark is not None else None
    complaint, context = (error.problem or error.context or "").strip(), (error.context or "").strip()
    found = explain(complaint, context, YamlMark(mark.line, mark.column), opened, text)
    return YamlRefused(found.line + 1, found.column + 1, found.message, found.again + 1)


class _Composer:
    """Turns events into nodes, with limits that keep a hostile or broken file cheap."""

    def __init__(self, events: Iterator[Any], offset: int) -> None:
        self.events = events
        self.offset = offset
        self.anchors: dict[str, Node | None] = {}  # None: still being read
        self.total = 0
        self.faults: list[YamlRefused] = []
        self.root = Node(1 + offset, 1)

    def document(self) -> None:
        """Read the one document into `root`, and problems into `faults`. Raises YamlRefused."""
        next(self.events)  # stream start
        event = next(self.events)
        if type(event).__name__ == "StreamEndEvent":
            return
        self.root = self.node(next(self.events), 0)
        next(self.events)  # document end
        event = next(self.events)
        if type(event).__name__ != "StreamEndEvent":
            self.fault(event, "a second document in one file (`---`): one file holds one document")

    def refused(self, event: Any, message: str) -> YamlRefused:
        """A problem that ends the reading."""
        return YamlRefused(event.start_mark.line + 1, event.start_mark.column + 1, message)

    def fault(self, event: Any, message: str) -> None:
        """A problem that does not prevent the rest from being read."""
        self.faults.append(self.refused(event, message))
        if len(self.faults) >= MAX_FAULTS:
            raise self.faults.pop()

    def node(self, event: Any, depth: int) -> Node:
        kind = type(event).__name__
        if kind == "AliasEvent":
            return self.alias(event)
        self.count(event, 1)
        if depth > MAX_DEPTH:
            raise self.refused(event, f"nested more than {MAX_DEPTH} deep")
        node = Node(event.start_mark.line + 1 + self.offset, event.start_mark.column + 1)
        anchor = event.anchor
        if anchor is not None:
            self.anchors[anchor] = None
        if kind == "ScalarEvent":
            self.scalar(event, node)
        elif kind == "SequenceStartEvent":
            self.tag(event)
            self.sequence(node, depth)
        else:
            self.tag(event)
            self.mapping(node, depth, flow=bool(event.flow_style))
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def count(self, event: Any, nodes: int) -> None:
        self.total += nodes
        if self.total > MAX_NODES:
            raise self.refused(event, f"more than {MAX_NODES:,} values once its anchors are expanded")

    def alias(self, event: Any) -> Node:
        name = event.anchor
        node = self.anchors.get(name)
        if name not in self.anchors:
            shown = name[:40]
            self.fault(event, f'a text that begins with * needs quotes: "*{shown}" (there is no anchor &{shown})')
        elif node is None:
            self.fault(event, f'the alias "*{name[:40]}" is inside its own anchor: a cycle')
        if node is None:
            return Node(event.start_mark.line + 1 + self.offset, event.start_mark.column + 1)
        self.count(event, node.count)
        return node

    def tag(self, event: Any) -> str | None:
        tag = None if event.tag is None else str(event.tag)
        if tag is not None and tag not in _STR_TAGS and tag not in _CORE_TAGS:
            hint = f'remove it; if it is text, put it in quotes: "{tag[:40]}"' if tag[0] == "!" else "remove it"
            if tag.lower().startswith(("!secret", "!env")):
                hint = 'write "${NAME}", and NAME=… in .env'
            self.fault(event, f"the tag {tag[:60]} is not supported: {hint}")
        return tag

    def sequence(self, node: Node, depth: int) -> None:
        items: list[Node] = []
        while type(event := next(self.events)).__name__ != "SequenceEndEvent":
            items.append(self.node(event, depth + 1))
        node.items = items
        node.value = [item.value for item in items]
        node.count += sum(item.count for item in items)

    def mapping(self, node: Node, depth: int, *, flow: bool) -> None:
        entries: dict[str, tuple[int, int, Node]] = {}
        merged: list[Node] = []
        lost = False
        while type(event := next(self.events)).__name__ != "MappingEndEvent":
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            key_node = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            if value.raw == "":  # no value: the scanner is already at the next token
                value.line, value.column = line + self.offset, column
            if type(event).__name__ not in ("ScalarEvent", "AliasEvent"):
                self.fault(event, "a list or mapping cannot be a key: a text that begins with [ or { needs quotes")
                lost = True
                continue
            key = key_node.raw if key_node.raw is not None else key_node.value
            plain = getattr(event, "style", "x") is None
            if not isinstance(key, str) or (not key and plain):
                if type(event).__name__ == "ScalarEvent":
                    self.fault(event, "an empty key: is a name missing before the colon?")
            elif flow and plain and key.isdigit() and value.raw == "":
                self.fault(event, "write fractions with a point (2.5), and thousands without a comma")
            elif key == "<<" and plain:
                merged += self.mergeable(event, value)
            elif key in entries:
                self.fault(event, f'duplicate key "{key[:80]}" (first in line {entries[key][0]})')
            elif not key.isascii() and (odd := _invisible(key)) is not None:
                self.fault(event, f'the key "{odd[1][:80]}" contains {odd[0]}: type it again')
            else:
                entries[key] = (line + self.offset, column, value)
        for source in merged:
            for key, entry in (source.entries or {}).items():
                entries.setdefault(key, entry)
        if entries or not lost:
            node.entries = entries
        node.value = None if lost and not entries else {key: entry[2].value for key, entry in entries.items()}
        node.count += sum(entry[2].count for entry in entries.values())

    def mergeable(self, event: Any, value: Node) -> list[Node]:
        parts = value.items if value.items is not None else [value]
        if any(part.entries is None for part in parts):
            self.fault(event, "`<<` takes a mapping: write `<<: *NAME`, with &NAME further up")
        return [part for part in parts if part.entries is not None]

    def scalar(self, event: Any, node: Node) -> None:
        text: str = event.value
        tag = self.tag(event)
        node.value = text
        if event.style is not None or tag in _STR_TAGS:
            return
        node.trap = trap(text)
        value = core_value(text)
        if value is not text:
            node.value, node.raw = value, text


def _invisible(text: str) -> tuple[str, str] | None:
    """The invisible characters of `text`, and the text without them."""
    from openai_proxy.config.yaml_words import invisible

    found = invisible(text)
    if found is None:
        return None
    return found[1], "".join(char for char in text if invisible(char) is None)
