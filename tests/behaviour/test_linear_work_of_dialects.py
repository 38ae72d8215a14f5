"""Like test_linear_work, for the other APIs, the speech filter and the gateway."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from openai_proxy.dialects import client_dialect
from openai_proxy.dialects.messages.read_answer import MessagesReader
from openai_proxy.dialects.ollama.read_answer import OllamaReader
from openai_proxy.dialects.responses.read_answer import ResponsesReader
from openai_proxy.errors import ProxyError
from openai_proxy.gateway import rpc
from openai_proxy.protocols.large_json import read_object
from openai_proxy.terminal_text import printable
from openai_proxy.transforms.speech import SpeechFilter
from tests.behaviour.test_linear_work import Row, fed
from tests.behaviour.work import ALLOWED, growth

CHAT = {"messages": [{"role": "user", "content": "hi"}], "model": "m", "stream": True}


def spoken(text: str) -> None:
    """The filtered text, fed in pieces as a model sends them."""
    speech = SpeechFilter()
    for start in range(0, len(text), 7):
        speech.feed(text[start : start + 7])
    speech.end()


def read_by(name: str, path: str) -> Callable[[dict[str, Any]], None]:
    language = client_dialect(name)

    def read(document: dict[str, Any]) -> None:
        try:
            language.read_request(path, document)
        except ProxyError:
            return  # the work before a refusal counts, too

    return read


def written_by(name: str, path: str, document: dict[str, Any]) -> Callable[[list[dict[str, Any]]], None]:
    language = client_dialect(name)

    def write(deltas: list[dict[str, Any]]) -> None:
        writer = language.write_answer(language.read_request(path, document), "m")
        for delta in deltas:
            writer.chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        writer.chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        writer.end()

    return write


def texts(size: int) -> list[dict[str, Any]]:
    return [{"content": "word "}] * (size // 50)


def calls(size: int) -> list[dict[str, Any]]:
    return [
        {"tool_calls": [{"index": at, "id": f"c{at}", "function": {"name": "f", "arguments": "{}"}}]}
        for at in range(size // 100)
    ]


def event(data: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(data["type"]).encode(), orjson.dumps(data))


def offered(size: int) -> dict[str, Any]:
    tools = [{"type": "function", "name": f"f{number}"} for number in range(size // 50)]
    return {"model": "m", "input": "x", "tools": tools}


def arguments(size: int) -> bytes:
    item = {"type": "function_call", "id": "i", "call_id": "c", "name": "f", "arguments": ""}
    delta = event(
        {"type": "response.function_call_arguments.delta", "item_id": "i", "output_index": 0, "delta": "x" * 9}
    )
    return event({"type": "response.output_item.added", "output_index": 0, "item": item}) + delta * (size // 140)


def blocks(size: int) -> bytes:
    begin = {"type": "content_block_start", "content_block": {"type": "text", "text": ""}}
    delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a"}}
    return b"".join(event({**kind, "index": at}) for at in range(size // 250) for kind in (begin, delta))


GEMINI = "/models/m:streamGenerateContent"
RPC = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


def read_rpc(body: bytes) -> None:
    try:
        rpc.read(body, RPC, list(RPC.items()))
    except rpc.RpcRefusal:
        return


ROWS = {
    # Answers of providers
    "a long event of Responses": Row(fed(lambda: ResponsesReader("m")), lambda n: b"data: " + b"a" * n, 100_000),
    "arguments of Responses": Row(fed(lambda: ResponsesReader("m")), arguments, 60_000),
    "a long line of Ollama": Row(fed(lambda: OllamaReader("m")), lambda n: b'{"message":{"content":"' + b"a" * n),
    "lines of Ollama": Row(fed(lambda: OllamaReader("m")), lambda n: b'{"message":{"content":"a"}}\n' * (n // 28)),
    "blocks of Messages": Row(fed(lambda: MessagesReader("m")), blocks, 60_000),
    # Requests of clients
    "items of Responses": Row(
        read_by("responses", "/responses"),
        lambda n: {"model": "m", "input": [{"role": "user", "content": "x"}] * (n // 30)},
    ),
    "tools of Responses": Row(read_by("responses", "/responses"), offered),
    "messages of Ollama": Row(
        read_by("ollama", "/api/chat"), lambda n: {**CHAT, "messages": [{"role": "user", "content": "x"}] * (n // 30)}
    ),
    "contents of Gemini": Row(
        read_by("gemini", GEMINI), lambda n: {"contents": [{"role": "user", "parts": [{"text": "x"}]}] * (n // 50)}
    ),
    "parts of Gemini": Row(
        read_by("gemini", GEMINI), lambda n: {"contents": [{"role": "user", "parts": [{"text": "x"}] * (n // 20)}]}
    ),
    "messages of Messages": Row(
        read_by("messages", "/messages"),
        lambda n: {**CHAT, "max_tokens": 9, "messages": [{"role": "user", "content": "x"}] * (n // 30)},
    ),
    # Writing answers
    **{
        f"{what} written for {name}": Row(written_by(name, path, document), make)
        for name, path, document in (
            ("responses", "/responses", {"model": "m", "input": "x", "stream": True}),
            ("messages", "/messages", {**CHAT, "max_tokens": 9}),
            ("ollama", "/api/chat", CHAT),
            ("gemini", GEMINI, {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}),
        )
        for what, make in (("texts", texts), ("calls", calls))
    },
    # What is spoken
    **{
        f"spoken: {unit}": Row(spoken, lambda n, unit=unit: unit * (n // len(unit)), 1000)  # type: ignore[misc]  # its own
        for unit in ("*", "_", "`", "#", "~", "- ", "-", "[", "<a ", "| ", "](", "\ue200", "word ")
    },
    # The rest
    "a message of the gateway": Row(read_rpc, lambda n: b'{"jsonrpc":"2.0","method":"p","a":[' + b"1," * n + b"1]}"),
    "odd bytes for the gateway": Row(read_rpc, lambda n: b"[" * n),
    "a large request of escapes": Row(read_object, lambda n: b'{"a":"' + b'\\"' * n + b'"}', 60_000),
    "a large request of spaces": Row(read_object, lambda n: b'{"a":1' + b" " * n + b"}", 400_000),
    "a large request of members": Row(read_object, lambda n: b'{"a":1' + b',"b":1' * (n // 6) + b"}"),
    "a large request of lists": Row(read_object, lambda n: b'{"a":[' + b"[]," * (n // 3) + b"1]}", 9_000),
    "escapes for a terminal": Row(printable, lambda n: "\x1b" * n),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_work_grows_with_the_size_of_the_input(name: str) -> None:
    row = ROWS[name]
    assert growth(row.run, row.make, row.size) <= ALLOWED
