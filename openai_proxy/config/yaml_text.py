"""YAML text in, plain data with the place of every value out; nothing but words about what is wrong with it.

The events of ruamel.yaml's pure scanner are composed here, not by its loaders: that is half the time of its
round-trip loader (1.4 ms against 2.8 ms for a usual model file, and 200 of them may stand in conf/), keeps line and
column of every key and value, and lets each danger be refused where it stands: duplicate keys (silently the last
wins elsewhere), alias bombs, cycles, depth, and scalars that YAML 1.1 and 1.2 read differently.

Scalars follow the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2/#103-core-schema); mapping keys are always
text, and merge keys (`<<`) work.
"""

from collections.abc import Iterator
from typing import Any

from openai_proxy.config.problems import Problem
from openai_proxy.config.yaml_scalars import Trap, core_value, trap

MAX_BYTES = 1 << 20
MAX_DEPTH = 64
MAX_NODES = 50_000  # after aliases are expanded; 1,000 routes with 1,000 keys are 4,000, and 17 µs each

_STR_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})
_CORE_TAGS = {f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "map", "seq")}


class Node:
    """A value and where it stands (counted from 1).

    `entries` of a mapping: key -> (line and column of the key, node of the value); `items` of a sequence.
    `raw` is the text of a plain scalar that is not text itself (`8080`, `true`, `1.10`), `trap` as above.
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
        """Line and column of what stands at `path`, or of the last thing on the way that exists.

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
        """Every scalar below that is a trap, with its path."""
        if self.trap is not None:
            yield path, self
        for key, (_, _, node) in (self.entries or {}).items():
            yield from node.traps((*path, key))
        for index, node in enumerate(self.items or ()):
            yield from node.traps((*path, index))


class Refused(Exception):
    """What stops the reading: the one problem of this text."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line, self.column, self.message = line, column, message


def parse(data: bytes, file: str, *, first_line: int = 1) -> Node | Problem:
    """The root node of the one document in `data`, or what is wrong. Never raises, whatever the bytes.

    An empty document is a node with value None. `first_line` is the line of `file` at which `data` begins.
    """
    try:
        return _compose(_text(data), first_line - 1)
    except Refused as refused:
        return Problem(file, refused.line + first_line - 1, refused.column, refused.message)


def _text(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise Refused(1, 1, f"the file is larger than 1 MiB ({len(data):,} bytes)")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise Refused(line, column, "this is not UTF-8 text") from None
    for index, char in enumerate(text):
        if (char < " " and char not in "\n\r\t") or ("\x7f" <= char <= "\x9f" and char != "\x85"):
            line, column = text.count("\n", 0, index) + 1, index - text.rfind("\n", 0, index)
            raise Refused(line, column, f"a control character (code {ord(char)}) cannot stand in a YAML file")
    return text


def _compose(text: str, offset: int) -> Node:
    # Imported here, since a daemon without a single YAML file need not pay for it (20 ms, 2 MB).
    import ruamel.yaml
    from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError

    reader = ruamel.yaml.YAML(typ="safe", pure=True)
    try:
        return _Composer(reader.parse(text), offset).document()
    except Refused:
        raise
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        raise Refused(line, column, _explain(error.problem, error.context)) from None
    except (YAMLError, YAMLStreamError) as error:
        raise Refused(1, 1, f"not YAML: {str(error).splitlines()[0][:200]}") from None
    except Exception as error:
        # The scanner has met bytes its authors never did. They are somebody's file all the same.
        raise Refused(1, 1, f"not YAML that can be read ({type(error).__name__})") from None


def _explain(problem: str | None, context: str | None) -> str:
    """The scanner's words, or better ones for what people really do wrong."""
    said = (problem or context or "not YAML").strip()
    if "'\\t'" in said:
        return "a tab cannot indent or begin anything in YAML: use spaces"
    if "mapping values are not allowed" in said:
        return "a colon where none can stand: is the line indented like its neighbours, or does its text need quotes?"
    if "could not find expected ':'" in said:
        return "a key without a colon: is one missing, or does a text need quotes or more indentation?"
    if "expected <block end>" in said:
        return "the indentation does not fit the lines above"
    if "while scanning a quoted scalar" in (context or "") and "end of stream" in said:
        return "a quote was opened and never closed"
    if "but got '{'" in said:
        return "a brace where none can stand: inside { } and [ ], a text such as ${NAME} needs quotes"
    if "'@'" in said or "'`'" in said or "'%'" in said:
        return f"not YAML: {said}: put the text in quotes"
    return f"not YAML: {said}" + (f" ({context.strip()})" if context and problem else "")


class _Composer:
    """Events to nodes, with every bound that keeps a hostile or mistaken file cheap."""

    def __init__(self, events: Iterator[Any], offset: int) -> None:
        self.events = events
        self.offset = offset
        self.anchors: dict[str, Node | None] = {}  # None: still being read
        self.total = 0

    def document(self) -> Node:
        next(self.events)  # stream start
        event = next(self.events)
        if type(event).__name__ == "StreamEndEvent":
            return Node(1 + self.offset, 1)
        root = self.node(next(self.events), 0)
        next(self.events)  # document end
        event = next(self.events)
        if type(event).__name__ != "StreamEndEvent":
            raise self.refused(event, "a second document in one file (`---`): one file holds one document")
        return root

    def refused(self, event: Any, message: str) -> Refused:
        return Refused(event.start_mark.line + 1, event.start_mark.column + 1, message)

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
            self.mapping(node, depth)
        if anchor is not None:
            self.anchors[anchor] = node
        return node

    def count(self, event: Any, nodes: int) -> None:
        self.total += nodes
        if self.total > MAX_NODES:
            raise self.refused(event, f"more than {MAX_NODES:,} values once its anchors are expanded")

    def alias(self, event: Any) -> Node:
        name = event.anchor
        if name not in self.anchors:
            raise self.refused(event, f'no anchor "&{name}" stands before this alias')
        node = self.anchors[name]
        if node is None:
            raise self.refused(event, f'the alias "*{name}" stands inside its own anchor: a circle')
        self.count(event, node.count)
        return node

    def tag(self, event: Any) -> str | None:
        tag = None if event.tag is None else str(event.tag)
        if tag is not None and tag not in _STR_TAGS and tag not in _CORE_TAGS:
            raise self.refused(event, f"the tag {tag[:60]} means nothing here: take it out")
        return tag

    def sequence(self, node: Node, depth: int) -> None:
        items: list[Node] = []
        while type(event := next(self.events)).__name__ != "SequenceEndEvent":
            items.append(self.node(event, depth + 1))
        node.items = items
        node.value = [item.value for item in items]
        node.count += sum(item.count for item in items)

    def mapping(self, node: Node, depth: int) -> None:
        entries: dict[str, tuple[int, int, Node]] = {}
        merged: list[Node] = []
        while type(event := next(self.events)).__name__ != "MappingEndEvent":
            if type(event).__name__ not in ("ScalarEvent", "AliasEvent"):
                raise self.refused(event, "a list or mapping cannot be a key: does a text with [ or { need quotes?")
            line, column = event.start_mark.line + 1, event.start_mark.column + 1
            key_node = self.node(event, depth + 1)
            key = key_node.raw if key_node.raw is not None else key_node.value
            if not isinstance(key, str) or (not key and getattr(event, "style", None) is None):
                raise self.refused(event, "an empty key: is a name missing before the colon?")
            value = self.node(next(self.events), depth + 1)
            if key == "<<" and getattr(event, "style", "x") is None:
                merged.append(self.mergeable(event, value))
            elif key in entries:
                raise self.refused(event, f'the key "{key[:80]}" stands twice (first in line {entries[key][0]})')
            else:
                entries[key] = (line + self.offset, column, value)
        for source in merged:
            for part in source.items if source.items is not None else [source]:
                for key, entry in (part.entries or {}).items():
                    entries.setdefault(key, entry)
        node.entries = entries
        node.value = {key: entry[2].value for key, entry in entries.items()}
        node.count += sum(entry[2].count for entry in entries.values())

    def mergeable(self, event: Any, value: Node) -> Node:
        parts = value.items if value.items is not None else [value]
        if any(part.entries is None for part in parts):
            raise self.refused(event, "`<<` takes a mapping, or a list of mappings")
        return value

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
