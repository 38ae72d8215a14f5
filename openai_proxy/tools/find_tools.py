"""Many tools: those of the largest servers are found by `find_tools` instead of being listed.

With 200 tools a model reads 60,000 tokens before the user's first word, and chooses worse. So beyond 40 tools or about
12,000 tokens the tools of the largest servers are not listed; a search with SQLite's FTS5
(https://www.sqlite.org/fts5.html) adds those that are needed, for the rest of the conversation.
"""

import asyncio
import re
import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

from openai_proxy.tools.base import CallContext, Tool, ToolResult
from openai_proxy.tools.result import clean, failure
from openai_proxy.tools.toolbox import DEFAULT_TIMEOUT, Toolbox, Toolset, parse_arguments

if TYPE_CHECKING:
    import sqlite3

FIND_TOOLS: Final = "find_tools"
MAX_LISTED: Final = 40
MAX_TOKENS: Final = 12_000
RESULTS: Final = 8

_CHARACTERS: Final = 4  # characters per token, in English text and JSON
_SHOWN: Final = 200  # characters of a found tool's description
_WORDS: Final = re.compile(r"[^\W_]+")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|_|-|\.")
_WEIGHTS: Final = (8.0, 3.0, 1.0)  # of name, description, argument names
_MAX_WORDS: Final = 16
_EMPTY_WORDS: Final = (
    "a an and are at by for from how i in is it me my of on or please that the this to want what with "
    "das dem den der die ein eine einen für ich im in ist mit mir und von was wie zu bitte "
    "de des du et la le les pour un une"
)
_EMPTY: Final = frozenset(_EMPTY_WORDS.split())
"""Words that occur in every description, so that they distinguish nothing."""

Defer = bool | str
"""`defer` of a server in a model file: true, false, or "auto"."""


class FoundTools(Protocol):
    """The conversation's memory of what was found in it."""

    def found(self) -> Sequence[str]:
        """The names of the tools found, in the order in which they were found."""
        ...

    def add_found(self, names: Sequence[str]) -> None:
        """Offer these tools from now on."""
        ...


def tokens_of(definitions: Iterable[Mapping[str, Any]]) -> int:
    """The approximate number of tokens of these tools in a request."""
    return sum(len(orjson.dumps(definition)) for definition in definitions) // _CHARACTERS


@dataclass(frozen=True, slots=True)
class DeferredTools:
    """Which tools of a toolbox are not listed, and how to find them."""

    names: frozenset[str]
    servers: tuple[str, ...]
    definition: dict[str, Any]
    index: "ToolIndex"


def deferred(box: Toolbox, policy: Mapping[str, Defer]) -> DeferredTools | None:
    """What to find in `box` instead of listing it; `policy` is each server's setting. None: everything is listed."""
    if FIND_TOOLS in box:
        return None  # the owner's own tool of that name
    sizes: dict[str, list[tuple[str, int]]] = {}
    count = tokens = 0
    for name, definition in zip(box.names(), box.definitions(), strict=True):
        size = len(orjson.dumps(definition)) // _CHARACTERS
        server = getattr(box.get(name), "server", None)
        if isinstance(server, str):
            sizes.setdefault(server, []).append((name, size))
        count, tokens = count + 1, tokens + size

    def totals(server: str) -> tuple[int, int]:
        return sum(size for _, size in sizes[server]), len(sizes[server])

    chosen = [server for server in sorted(sizes) if policy.get(server) is True]
    for server in chosen:
        size, number = totals(server)
        count, tokens = count - number, tokens - size
    for server in sorted(sizes, key=lambda server: (*(-n for n in totals(server)), server)):
        if count <= MAX_LISTED and tokens <= MAX_TOKENS:
            break
        if policy.get(server, "auto") == "auto":
            chosen.append(server)
            size, number = totals(server)
            count, tokens = count - number, tokens - size
    if not chosen:
        return None
    names = [name for server in sorted(chosen) for name, _ in sizes[server]]
    counts = {server: len(sizes[server]) for server in sorted(chosen)}
    index = ToolIndex([tool for name in names if (tool := box.get(name)) is not None])
    return DeferredTools(frozenset(names), tuple(counts), _definition(counts), index)


def _definition(counts: Mapping[str, int]) -> dict[str, Any]:
    listed = ", ".join(f"{server} ({number})" for server, number in counts.items())
    return {
        "type": "function",
        "function": {
            "name": FIND_TOOLS,
            "description": f"Finds tools that are not listed here, by what they do. There are more tools of: {listed}. "
            "Tools that it finds can be called from then on.",
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string", "description": "What to do, in a few words: dim a light"}},
                "required": ["query"],
            },
        },
    }


class ToolIndex:
    """A full-text index of tools: names, descriptions, argument names. Built at the first search; thread-safe."""

    def __init__(self, tools: Sequence[Tool]) -> None:
        self._tools = tools
        self._rows: list[tuple[str, str, str]] = []
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()

    def search(self, query: str, limit: int = RESULTS) -> list[str]:
        """The names of the tools that match `query` best, best first. Takes 1 ms for 1,000 tools once built."""
        found = dict.fromkeys(_WORDS.findall(_CAMEL.sub(" ", query).lower()))
        words = [word for word in found if word not in _EMPTY][:_MAX_WORDS]
        if not words:
            return []
        with self._lock:
            if self._connection is None:
                self._build()
            assert self._connection is not None
            match = " OR ".join(f'"{word}"*' if len(word) > 2 else f'"{word}"' for word in words)
            rows = self._connection.execute(
                f"SELECT rowid FROM tools WHERE tools MATCH ? ORDER BY bm25(tools, {_WEIGHTS[0]}, {_WEIGHTS[1]}, "  # noqa: S608
                f"{_WEIGHTS[2]}), rowid LIMIT ?",
                (match, limit),
            ).fetchall()
        if not rows:  # part of a word: languages with compound words, or without spaces
            rows = [
                (number,)
                for number, row in enumerate(self._rows)
                if any(word in part for word in words if len(word) > 2 or not word.isascii() for part in row)
            ][:limit]
        return [self._tools[number].name for (number,) in rows]

    def _build(self) -> None:
        for tool in self._tools:
            function = tool.definition["function"]
            properties = (function.get("parameters") or {}).get("properties")
            arguments = " ".join(map(str, properties)) if isinstance(properties, Mapping) else ""
            row = (tool.name, str(function.get("description") or ""), arguments)
            self._rows.append((_apart(row[0]), row[1].lower(), _apart(row[2])))
        import sqlite3  # 1 MB, only needed with many tools

        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.execute(
            "CREATE VIRTUAL TABLE tools USING fts5(name, description, arguments, "
            "tokenize='porter unicode61 remove_diacritics 2', prefix='2 3')"
        )
        rows = [(number, *row) for number, row in enumerate(self._rows)]
        connection.executemany("INSERT INTO tools(rowid, name, description, arguments) VALUES (?, ?, ?, ?)", rows)
        self._connection = connection
        weakref.finalize(self, connection.close).atexit = False


def _apart(name: str) -> str:
    """A name split into its words, and itself."""
    return f"{_CAMEL.sub(' ', name)} {name}".lower()


class ModelTools:
    """The tools of a model, for the life of a generation, and which of them are listed."""

    def __init__(self, tools: Toolset, policy: Mapping[str, Defer]) -> None:
        """`policy`: `defer` of each server."""
        self._tools = tools
        self._policy = dict(policy)
        self._box: Toolbox | None = None
        self._deferred: DeferredTools | None = None

    def now(self) -> tuple[Toolbox, DeferredTools | None]:
        """All tools as they are now, and those not listed; the same objects until a server's tools change."""
        box = self._tools.toolbox()
        if box is not self._box:
            self._deferred = deferred(box, self._policy) if self._policy else None
            self._box = box
        return box, self._deferred

    def offered(self, conversation: FoundTools, more: Sequence[Tool] = ()) -> "Toolbox | OfferedTools":
        """What a request of `conversation` gets of them, and of `more`, which only its satellite has."""
        box, hidden = self.now()
        if more:
            box = box.with_more(more)
        return box if hidden is None else OfferedTools(box, hidden, conversation)

    def summary(self) -> str:
        """Their number and approximate tokens per request, for people."""
        box, hidden = self.now()
        definitions = box.definitions()
        if hidden is None:
            number = len(definitions)
            tools = f"{number} tool{'s' if number != 1 else ''}"
            return f"{tools}, about {tokens_of(definitions):,} tokens in each request"
        listed = [d for d in definitions if d["function"]["name"] not in hidden.names]
        listed.append(hidden.definition)
        found_by = f"{len(hidden.names)} of {', '.join(hidden.servers)} found by {FIND_TOOLS}"
        return (
            f"{len(definitions)} tools: {len(listed)} listed, about {tokens_of(listed):,} tokens in each request; "
            f"{found_by}, about {tokens_of(definitions):,} tokens if all were listed"
        )


class OfferedTools:
    """The tools of one request if some are deferred: agent.turn.TurnToolbox."""

    def __init__(self, box: Toolbox, deferred_tools: DeferredTools, conversation: FoundTools) -> None:
        self._box = box
        self._deferred = deferred_tools
        self._conversation = conversation

    def definitions(self) -> list[dict[str, Any]]:
        """The listed tools by name, then the found ones in the order in which they were found.

        So newly found tools are appended, and the provider's cached list stays a prefix.
        """
        by_name = dict(zip(self._box.names(), self._box.definitions(), strict=True))
        listed = {name: value for name, value in by_name.items() if name not in self._deferred.names}
        listed[FIND_TOOLS] = self._deferred.definition
        found = [name for name in self._conversation.found() if name in self._deferred.names and name in by_name]
        return [listed[name] for name in sorted(listed)] + [by_name[name] for name in found]

    def get(self, name: str) -> Tool | None:
        """The tool called exactly `name`, listed or not: a model may remember one from earlier."""
        return _Finder(self) if name == FIND_TOOLS else self._box.get(name)

    async def run(
        self,
        name: str,
        arguments: str | Mapping[str, Any] | None,
        context: CallContext | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
    ) -> ToolResult:
        """See Toolbox.run."""
        if name != FIND_TOOLS:
            return await self._box.run(name, arguments, context, timeout=timeout)
        try:
            query = parse_arguments(arguments).get("query")
        except ValueError as error:
            return failure(str(error))
        if not isinstance(query, str) or not query.strip():
            return failure("query must say what to do, in a few words.")
        return await self.find(query[:1000])

    async def find(self, query: str) -> ToolResult:
        """Search, and offer what is found from now on."""
        names = await asyncio.to_thread(self._deferred.index.search, query)
        if not names:
            servers = ", ".join(self._deferred.servers)
            return ToolResult(f"Nothing was found. Try other words; there are tools of: {servers}.")
        self._conversation.add_found(names)
        return ToolResult("These can be called now:\n" + "\n".join(self._line(name) for name in names))

    def _line(self, name: str) -> str:
        tool = self._box.get(name)
        described = str(tool.definition["function"].get("description") or "") if tool is not None else ""
        words = " ".join(clean(described).split())
        return f"- {name}: {words[: _SHOWN - 1] + '…' if len(words) > _SHOWN else words}"


class _Finder:
    """`find_tools` as a tool."""

    name = FIND_TOOLS

    def __init__(self, offered: OfferedTools) -> None:
        self._offered = offered

    @property
    def definition(self) -> dict[str, Any]:
        """What the model reads."""
        return self._offered._deferred.definition

    async def call(self, arguments: dict[str, Any], context: CallContext) -> ToolResult:
        """Search."""
        return await self._offered.run(FIND_TOOLS, arguments, context)
