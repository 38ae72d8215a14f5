"""Whatever clients and upstreams send, the work grows linearly with its size.

Each row is a function that reads foreign text, and an input designed to be hard for it. A row that was quadratic held
the interpreter for seconds with a few hundred kilobytes.
"""

import contextlib
import gzip
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
import pytest

from openai_proxy.dialects.chat import prompt_cache
from openai_proxy.dialects.chat.conversation_id import comparable
from openai_proxy.dialects.chat.deltas import Pieces
from openai_proxy.dialects.chat.fold import MessageFold
from openai_proxy.dialects.chat.google.repair import StreamRepair
from openai_proxy.dialects.chat.google.signatures import Signatures
from openai_proxy.dialects.chat.think import ThinkSplitter, split_think, without_thoughts
from openai_proxy.dialects.lessons import lesson_from
from openai_proxy.dialects.messages.content import data_url, thinking_blocks
from openai_proxy.dialects.sse import EventSplitter
from openai_proxy.errors import BadRequest
from openai_proxy.pipeline.command_notice import _MessagesOpening, _Opening
from openai_proxy.pipeline.form_parts import FormSplitter, boundary_of, read_head
from openai_proxy.protocols.http1 import ResponseHead
from openai_proxy.protocols.inflate import Inflater
from openai_proxy.protocols.json_members import edit, parse_object, scan
from openai_proxy.records.reading.answer import RecordedAnswer
from openai_proxy.records.reading.answer_formats import CHAT
from openai_proxy.records.reading.stream import RecordedStreamReader
from openai_proxy.records.writing import names
from openai_proxy.tools.mcp.lines import LineSplitter, parse
from openai_proxy.tools.result import clean, without_places
from openai_proxy.transforms import flat
from openai_proxy.transforms.commands import parser
from openai_proxy.transforms.redaction.finder import SecretFinder
from openai_proxy.transforms.splicing import splice
from openai_proxy.upstream.echo_calls import asked_calls
from tests.behaviour.work import ALLOWED, growth, pieces_of

FINDER = SecretFinder(["supersecretvalue123", "short1"])


class Row(NamedTuple):
    """`run(make(size))` and, 16 times as large, `run(make(16 * size))`."""

    run: Callable[[Any], object]
    make: Callable[[int], Any]
    size: int = 20_000


def thought_piecewise(text: str) -> None:
    splitter = ThinkSplitter()
    for start in range(0, len(text), 10):
        splitter.feed(text[start : start + 10])


def head(fields: bytes) -> None:
    parsed = ResponseHead(b"HTTP/1.1 200 OK\r\n" + fields)
    parsed.items()
    parsed.forwarded()


def many_names(count: int) -> bytes:
    return b",".join(b"a%d" % number for number in range(count))


def folded(deltas: list[dict[str, Any]]) -> None:
    fold = MessageFold()
    for delta in deltas:
        fold.feed({"choices": [{"index": 0, "delta": delta}]})
    fold.turn()
    fold.completion()


def deltas(delta: Callable[[int], dict[str, Any]]) -> Callable[[int], list[dict[str, Any]]]:
    return lambda size: [delta(number) for number in range(size // 50)]


def called(number: int, **function: Any) -> dict[str, Any]:
    return {"tool_calls": [{"index": 0, "function": function}]}


def recorded(data: bytes) -> None:
    reader = RecordedStreamReader(RecordedAnswer(), CHAT)
    for piece in pieces_of(data):
        reader.feed(piece)
    reader.finish()


def fed(make: Callable[[], Any]) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        reader = make()
        for piece in pieces_of(data):
            reader.feed(piece)

    return run


repaired = fed(lambda: StreamRepair(Signatures()))


def objects(pieces: list[str]) -> None:
    text = Pieces()
    for piece in pieces:
        text.append(piece)
        text.is_object()


def chat(size: int) -> bytes:
    return orjson.dumps({"messages": [{"role": "user", "content": "x"} for _ in range(size // 30)]})


def gemini_call(number: int) -> bytes:
    call = {"id": f"c{number}", "function": {"name": "a", "arguments": "{}"}}
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}) + b"\n\n"


def open_call(number: int) -> bytes:
    call = {"index": 0, "function": {"name": "a", "arguments": '{"x":"yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy'}}
    return b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}) + b"\n\n"


def escapes(size: int) -> bytes:
    return 4 * (b'data: {"choices":[{"delta":{"content":"' + b'\\"' * (size // 8) + b'"}}]}\n\n')


def reasoning(size: int) -> dict[str, Any]:
    detail = {"type": "reasoning.text", "index": 0, "text": "ab" * 16, "signature": "x"}
    return {"reasoning_details": [detail] * (size // 50)}


def echo(name: str) -> Callable[[str], object]:
    return lambda text: asked_calls(text, [name % number for number in range(len(text) // 20)])


def form_read(body: bytes) -> None:
    splitter = FormSplitter(b"b")
    for piece in pieces_of(body, 65536):
        splitter.feed(piece)


def suppressed(function: Callable[[Any], object], value: object) -> None:
    with contextlib.suppress(BadRequest):
        function(value)


ROWS = {
    # Recognising a conversation
    "opening, thoughts never closed": Row(comparable, lambda n: "<think>" * (n // 7)),
    "opening, many thoughts": Row(comparable, lambda n: "<think>x</think>" * (n // 16)),
    "quoted answer": Row(without_thoughts, lambda n: "<think></think>" * (n // 15) + "<think>"),
    # Reasoning in an answer
    "thoughts in one piece": Row(split_think, lambda n: "<think></think>" * (n // 15)),
    "thoughts after backticks": Row(split_think, lambda n: "`<think>" * (n // 8)),
    "beginnings of thoughts": Row(split_think, lambda n: "<" * n),
    "thoughts in small pieces": Row(thought_piecewise, lambda n: "<think>" * (n // 7)),
    # Heads of upstreams
    "a field value of spaces": Row(head, lambda n: b"Content-Type: a" + b" " * n + b"b\r\n", 4000),
    "an unknown field of spaces": Row(head, lambda n: b"X-Odd: a" + b" \t" * (n // 2) + b"b\r\n", 4000),
    "many names in Connection": Row(head, lambda n: b"Connection: " + many_names(n // 6) + b"\r\n", 4000),
    # Streams of upstreams
    "a long event": Row(fed(EventSplitter), lambda n: b"data: " + b"a" * n),
    "an event of many lines": Row(fed(EventSplitter), lambda n: b"data: a\n" * (n // 8)),
    "a long event before a preface": Row(fed(lambda: _Opening("Hi")), lambda n: b"data: " + b"a" * n, 200_000),
    "comments before a preface": Row(fed(lambda: _Opening("Hi")), lambda n: b": x\n\n" * (n // 5)),
    "a long event of Messages": Row(fed(lambda: _MessagesOpening("Hi")), lambda n: b"data: " + b"a" * n, 200_000),
    "comments in Messages": Row(fed(lambda: _MessagesOpening("Hi")), lambda n: b": x\n\n" * (n // 5)),
    "a long event of Gemini": Row(repaired, lambda n: b"data: " + b"a" * n, 200_000),
    "calls of Gemini": Row(repaired, lambda n: b"".join(map(gemini_call, range(n // 100)))),
    "one call of Gemini": Row(repaired, lambda n: b"".join(map(open_call, range(n // 100)))),
    "a recorded event of many lines": Row(recorded, lambda n: b"data: a\n" * (n // 8), 100_000),
    "a recorded stream that is not JSON": Row(recorded, lambda n: b"data: a\n\n" * (n // 9)),
    "a recorded long event": Row(recorded, lambda n: b"data: " + b"a" * n, 100_000),
    "a recorded event of escapes": Row(recorded, escapes),
    # Folding answers
    "reasoning entries": Row(folded, deltas(lambda i: {"reasoning_details": [{"index": i, "text": "a"}]}), 60_000),
    "one reasoning entry": Row(folded, deltas(lambda i: {"reasoning_details": [{"index": 0, "text": "a"}]})),
    "calls": Row(folded, deltas(lambda i: {"tool_calls": [{"index": i, "id": f"c{i}", "function": {"name": "a"}}]})),
    "a call whose name comes again": Row(folded, deltas(lambda i: called(i, name="a", arguments='{"a":"bcdefgh'))),
    "a call whose object ends again": Row(folded, deltas(lambda i: called(i, name="a", arguments='{"a":"b"}'))),
    "a name in fragments": Row(folded, deltas(lambda i: called(i, name=f"abcdefgh{i}"))),
    "parts": Row(folded, deltas(lambda i: {"content": [{"type": "text", "text": "a"}]})),
    "thinking parts": Row(folded, deltas(lambda i: {"content": [{"type": "thinking", "thinking": [{"text": "a"}]}]})),
    "thoughts in content": Row(folded, deltas(lambda i: {"content": "<think></think>"})),
    "pieces of an object": Row(objects, lambda n: ["{", *['"a":{},'] * (n // 7)]),
    # Requests
    "strings of escapes": Row(scan, lambda n: b'{"a":"' + b'\\"' * (n // 2) + b'"}'),
    "names of members in a text": Row(parse_object, lambda n: b'{"model":"' + b'\\"model\\":' * (n // 10) + b'"}'),
    "removed members": Row(lambda body: edit(body, {}, ["a"]), lambda n: b'{"a":1' + b',"b":1' * (n // 6) + b"}"),
    "removed messages": Row(lambda body: splice(body, {}, {("messages", i) for i in range(len(body) // 30)}), chat),
    "messages that change": Row(
        lambda body: splice(body, {("messages", i, "content"): b'"y"' for i in range(len(body) // 30)}), chat
    ),
    "reasoning of an Anthropic client": Row(thinking_blocks, reasoning, 200_000),
    "a data URL": Row(data_url, lambda n: "data:a" + ";a" * (n // 2)),
    "unfinished commands": Row(lambda text: parser.find(text, "!/"), lambda n: "!/a( " * (n // 5)),
    "prefixes of commands": Row(lambda text: parser.find(text, "!/"), lambda n: " !/" * (n // 3)),
    "fences": Row(lambda text: parser.find(text, "!/"), lambda n: "```\n" * (n // 4) + " !/x"),
    "runs of backticks": Row(lambda text: parser.find(text, "!/"), lambda n: "`` !/x ` " * (n // 10)),
    "commands with many values": Row(lambda text: parser.find(text, "!/"), lambda n: '!/a("' * (n // 5)),
    "tools of echo": Row(echo("tool_%d"), lambda n: "word " * (n // 5)),
    "odd tools of echo": Row(echo("tool.%d"), lambda n: "word " * (n // 5)),
    # Forms and codings
    "forms of many parts": Row(form_read, lambda n: b"--b\r\n\r\n\r\n" * (n // 9) + b"--b--"),
    "forms with odd boundaries": Row(form_read, lambda n: (b"--b\r\n\r\n" + b"x" * 200 + b"--bx\r\n") * 50 + b"y" * n),
    "heads of parts": Row(form_read, lambda n: (b"--b\r\nA: " + b"name:" * 2000 + b"\r\n\r\n\r\n") * (n // 10000)),
    "parameters of parts": Row(read_head, lambda n: b"Content-Disposition: x" + b" ; a=b" * (n // 6), 4000),
    "a content type of spaces": Row(lambda text: suppressed(boundary_of, text), lambda n: "a;" + " " * n + "x"),
    "gzip members": Row(lambda data: Inflater(1 << 30).feed(data), lambda n: gzip.compress(b"") * (n // 20), 100_000),
    # Secrets in texts
    "texts that resemble keys": Row(FINDER.spans, lambda n: b" sk-aaaaaaaaaaaaaaaaaaaaaaaaaa" * (n // 30)),
    "beginnings of keys": Row(FINDER.spans, lambda n: b"sk-" * (n // 3)),
    "tokens in a row": Row(FINDER.spans, lambda n: b"eyJaaaaaaaaaa.eyJaaaaaaaaaa." * (n // 28)),
    "private keys without an end": Row(FINDER.spans, lambda n: b"-----BEGIN PRIVATE KEY-----" * (n // 27)),
    "secrets in a row": Row(FINDER.spans, lambda n: b"short1" * (n // 6)),
    "percent escapes": Row(FINDER.spans, lambda n: b"%73k-" * (n // 5)),
    "backslashes": Row(FINDER.spans, lambda n: b"\\" * n + b"u0073k-"),
    "escaped slashes": Row(flat.mapped, lambda n: b"\\/" * (n // 2)),
    # Texts of tools and MCP servers
    "addresses": Row(without_places, lambda n: "a://" * (n // 4)),
    "quoted paths": Row(without_places, lambda n: "'/" * (n // 2)),
    "paths": Row(without_places, lambda n: "/a" * (n // 2)),
    "line ends": Row(clean, lambda n: "\r" * n),
    "lines of a server": Row(lambda data: LineSplitter().feed(data), lambda n: b"\n" * n),
    "half characters": Row(parse, lambda n: b'"' + b"\\ud800" * (n // 6) + b'"'),
    "unknown members": Row(
        lambda text: lesson_from(400, orjson.dumps({"error": {"message": text}}), {"messages": []}),
        lambda n: 'Unknown name "a' * (n // 15),
    ),
    # The rest
    "file names": Row(lambda text: names._UNSAFE.sub("_", text), lambda n: "/" * n),
    "clock lines of a prompt": Row(prompt_cache._LINES.search, lambda n: "Current time is " * (n // 16)),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_work_grows_with_the_size_of_the_input(name: str) -> None:
    row = ROWS[name]
    assert growth(row.run, row.make, row.size) <= ALLOWED


def test_pieces_are_an_object_if_their_text_is_one() -> None:
    """`Pieces.is_object` scans each piece once, with the same result as parsing the whole."""
    texts = ['{"a": "}{\\"", "b": [1, {}]}', " {} ", "{}x", "[]", "{", "}", '"{}"', '{"a":"\\\\"}', "{]}", "{}{}", ""]
    for text in texts:
        for cut in range(len(text) + 1):
            pieces = Pieces()
            for piece in (text[:cut], text[cut:]):
                pieces.append(piece)
                try:
                    expected = isinstance(json.loads("".join(pieces)), dict)
                except ValueError:
                    expected = False
                assert pieces.is_object() is expected, (text, cut)
