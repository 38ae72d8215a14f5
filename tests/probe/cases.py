"""The requests and answers: every endpoint, every kind of model, every shape of a large request or answer."""

import gzip
import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple

import zstandard

from tests.behaviour.test_large_requests import DOORS
from tests.harness.plays import DONE, LAST, SSE_HEAD, chunk, completion, delta, event, plain

TEXTS: Final[dict[str, Callable[[int], bytes]]] = {
    "text": lambda size: b"The quick brown fox. " * (size // 21),
    "newlines": lambda size: b"\\n" * (size // 2),
    "escapes": lambda size: b"\\u00e9" * (size // 6),
    "pairs": lambda size: b"\\ud83d\\ude00" * (size // 12),
    "emoji": lambda size: "😀".encode() * (size // 4),
    "thoughts": lambda size: b"<think>" * (size // 7),
    "fences": lambda size: b"`" * size,
    "command": lambda size: b"word " * (size // 10) + b" !/hello " + b"word " * (size // 10),
    "commands": lambda size: b"!/a( " * (size // 5),
    "secret": lambda size: b"my key is sk-proj-" + b"aB3" * 16 + b" word" * (size // 5),
    "secrets": lambda size: (b"sk-proj-" + b"aB3" * 16 + b" word" * 100) * (size // 556),
    "percents": lambda size: b"100 % of it, " * (size // 13),
    "percent escapes": lambda size: b"%73%6b " * (size // 7),
    "backslashes": lambda size: b"\\\\" * (size // 2),
    "late emoji": lambda size: b"The quick brown fox. " * (size // 21) + "😀".encode(),
    "picture": lambda size: b"data:image/png;base64," + b"QUJD" * (size // 4),
}
"""Repeated to make the text of a message, as JSON."""

HELLO: Final = b'"messages":[{"role":"user","content":"Hi"}]'


def _calls(size: int) -> bytes:
    arguments, result = b"x" * (size // 2), b"y " * (size // 4)
    function = b'{"name":"f","arguments":"{\\"a\\":\\"%b\\"}"}' % arguments
    return (
        b'"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":null,"tool_calls":'
        b'[{"id":"c","type":"function","function":%b}]},{"role":"tool","tool_call_id":"c","content":"%b"}]'
    ) % (function, result)


def _tools(size: int) -> bytes:
    tool = b'{"type":"function","function":{"name":"t%d","description":"%b","parameters":{"type":"object"}}}'
    return HELLO + b',"tools":[%b]' % b",".join([tool % (number, b"d" * (size // 100)) for number in range(100)])


def _many(one: bytes, size: int) -> bytes:
    return b",".join([one] * (size // len(one)))


MANY: Final = 48_000  # nearly as many lists and objects as a large request may have

SHAPES: Final[dict[str, Callable[[int], bytes]]] = {
    "messages": lambda size: b'"messages":[%b]' % _many(b'{"role":"user","content":"%b"}' % (b"x" * 4000), size),
    "parts": lambda size: (
        b'"messages":[{"role":"user","content":[%b]}]'
        % _many(b'{"type":"text","text":"%b"}' % (b"x" * (size // MANY)), size)
    ),
    "parts with a key each": lambda size: (
        b'"messages":[{"role":"user","content":[%b]}]'
        % _many(b'{"type":"text","text":"%b sk-proj-%b"}' % (b"x" * (size // MANY), b"aB3" * 16), size)
    ),
    "keys over two parts each": lambda size: (
        b'"messages":[{"role":"user","content":[%b]}]'
        % _many(b'{"type":"text","text":"sk-proj-aB3aB3aB3aB3"},{"type":"text","text":"%b"}' % (b"aB3" * 12), MANY * 40)
    ),
    "tiny messages": lambda size: b'"messages":[%b]' % b",".join([b'{"role":"user","content":"a"}'] * MANY),
    "a picture": lambda size: (
        b'"messages":[{"role":"user","content":[{"type":"text","text":"What is it?"},{"type":"image_url",'
        b'"image_url":{"url":"data:image/png;base64,%b"}}]}]' % (b"QUJD" * (size // 4))
    ),
    "pictures": lambda size: (
        b'"messages":[{"role":"user","content":[%b]}]'
        % _many(b'{"type":"image_url","image_url":{"url":"data:image/png;base64,%b"}}' % (b"QUJD" * 100_000), size)
    ),
    "a long name": lambda size: HELLO + b',"%b":1' % (b"x" * size),
    "numbers": lambda size: HELLO + b',"x":[%b]' % b",".join([b"12345"] * 990_000),
    "too many values": lambda size: HELLO + b',"x":[%b]' % b",".join([b"1"] * (size // 2)),
    "calls": _calls,
    "tools": _tools,
    "members": lambda size: (
        HELLO
        + b',"metadata":{%b}'
        % b",".join([b'"k%d":%d' % (number, number) for number in range(min(size // 18, 900_000))])
    ),
    "deep": lambda size: HELLO + b',"x":' + b"[" * 1000 + b'"%b"' % (b"x" * size) + b"]" * 1000,
    "spaces": lambda size: HELLO + b" " * size,
}
"""The shapes of a large chat request besides one long text."""

ANSWERS: Final[dict[str, Callable[[int], bytes]]] = {
    "one event": lambda size: SSE_HEAD + chunk(delta("x" * size)) + chunk(delta("", finish="stop") + DONE) + LAST,
    "one event of escapes": lambda size: (
        SSE_HEAD + chunk(delta("\n" * (size // 2)) + delta("", finish="stop") + DONE) + LAST
    ),
    "many events": lambda size: (
        SSE_HEAD
        + b"".join([chunk(delta("word " * 20) * 100)] * (size // 25_000))
        + chunk(delta("", finish="stop") + DONE)
        + LAST
    ),
    "one tool argument": lambda size: (
        SSE_HEAD
        + chunk(event(call(json.dumps({"a": "x" * size}))))
        + chunk(delta("", finish="tool_calls") + DONE)
        + LAST
    ),
    "a tool argument in pieces": lambda size: (
        SSE_HEAD
        + chunk(event(call('{"a":"')))
        + chunk(event(call("x" * 4000, new=False))) * (size // 4000)
        + chunk(event(call('"}', new=False)) + delta("", finish="tool_calls") + DONE)
        + LAST
    ),
    "many events, compressed": lambda size: plain(
        gzip.compress(delta("word " * 20) * (size // 250) + delta("", finish="stop") + DONE),
        content_type="text/event-stream",
        Content_Encoding="gzip",
    ),
    "whole": lambda size: plain(completion("x" * size)),
    "whole, compressed": lambda size: plain(gzip.compress(completion("x" * size)), Content_Encoding="gzip"),
    "whole, of escapes": lambda size: plain(completion("\n" * (size // 2))),
}
"""Answers of the provider; all but those named "whole" are streams."""


def call(arguments: str, *, new: bool = True) -> dict[str, Any]:
    """A chunk with a tool call or a part of one."""
    function = {"arguments": arguments} | ({"name": "theirs"} if new else {})
    found = {"index": 0, "function": function} | ({"id": "c1", "type": "function"} if new else {})
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"tool_calls": [found]}, "finish_reason": None}]}


FAMILY: Final = "sk-family-0123456789abcdef"
GUEST: Final = "sk-guest-9876543210fedcba"
"""A key that may do everything, and one that is limited in every way."""


class Case(NamedTuple):
    """One request, built just before it is sent, and the provider's answer."""

    name: str
    target: str
    body: Callable[[], bytes]
    answer: Callable[[], bytes] = partial(plain, completion("ok"))
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    key: str = FAMILY


COUNTS: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "/v1/messages/count_tokens": lambda model: {"model": model, "messages": [{"role": "user", "content": "TEXT"}]},
    "/v1/responses/input_tokens": lambda model: {"model": model, "input": "TEXT"},
    "/v1beta/models/{}:countTokens": lambda _: {"contents": [{"role": "user", "parts": [{"text": "TEXT"}]}]},
}
"""Endpoints that count tokens."""

_HI: Final = {"role": "user", "content": "Hi"}
_FUNCTION: Final = {"type": "function", "name": "f"}
_CALL: Final = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
REST: Final[dict[str, tuple[str, Callable[[str], dict[str, Any]]]]] = {
    "instructions": ("/v1/responses", lambda model: {"model": model, "input": "Hi", "instructions": "TEXT"}),
    "instructions of a stream": (
        "/v1/responses",
        lambda model: {"model": model, "input": "Hi", "instructions": "TEXT", "stream": True},
    ),
    "a response's tool": (
        "/v1/responses",
        lambda model: {"model": model, "input": "Hi", "tools": [{**_FUNCTION, "description": "TEXT"}]},
    ),
    "a response's picture": (
        "/v1/responses",
        lambda model: {"model": model, "input": [{"role": "user", "content": [
            {"type": "input_image", "image_url": "data:image/png;base64,BASE64"}]}]},
    ),
    "a response's function output": (
        "/v1/responses",
        lambda model: {"model": model, "input": [
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c", "output": "TEXT"}]},
    ),
    "a message's system": (
        "/v1/messages",
        lambda model: {"model": model, "max_tokens": 9, "system": "TEXT", "messages": [_HI]},
    ),
    "a message's picture": (
        "/v1/messages",
        lambda model: {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": [
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "BASE64"}}]}]},
    ),
    "a message's tool result": (
        "/v1/messages",
        lambda model: {"model": model, "max_tokens": 9, "messages": [_HI, {"role": "assistant", "content": [_CALL]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "TEXT"}]}]},
    ),
    "a content's picture": (
        "/v1beta/models/{}:generateContent",
        lambda _: {"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "BASE64"}}]}]},
    ),
    "a system instruction": (
        "/v1beta/models/{}:generateContent",
        lambda _: {"systemInstruction": {"parts": [{"text": "TEXT"}]}, "contents": [{"parts": [{"text": "Hi"}]}]},
    ),
    "a chat's images": ("/api/chat", lambda model: {"model": model, "messages": [{**_HI, "images": ["BASE64"]}]}),
    "an answer in the history": (
        "/v1/chat/completions",
        lambda model: {"model": model, "messages": [_HI, {"role": "assistant", "content": "TEXT"}, _HI]},
    ),
    "a system message": (
        "/v1/chat/completions",
        lambda model: {"model": model, "messages": [{"role": "system", "content": "TEXT"}, _HI]},
    ),
    "a developer's reasoning": (
        "/v1/chat/completions",
        lambda model: {"model": model, "messages": [
            _HI, {"role": "assistant", "content": "x", "reasoning_content": "TEXT"}, _HI]},
    ),
}  # fmt: skip
"""What else may be large: its endpoint, and a request with TEXT or BASE64 in its place."""

OTHERS: Final[dict[str, dict[str, Any]]] = {
    "/v1/completions": {"prompt": "TEXT"},
    "/api/generate": {"prompt": "TEXT", "stream": False},
    "/api/embed": {"input": "TEXT"},
    "/v1/moderations": {"input": "TEXT"},
    "/v1/audio/speech": {"input": "TEXT", "voice": "v"},
    "/v1/images/generations": {"prompt": "TEXT"},
    "/v1/something/else": {"input": "TEXT"},
}
"""Other endpoints."""

CODINGS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda body: gzip.compress(body, 1),
    "zstd": lambda body: zstandard.compress(body),
}

MODELS: Final = ("main:plain", "house", "strange:plain", "claude:plain")
"""A plain model, an augmented one, one of Google's and one of Anthropic's."""


def cases(size: int, answer_size: int) -> Iterator[Case]:
    """Requests of `size` bytes and answers of `answer_size`, for every endpoint and every kind of model."""
    for model in MODELS:
        for door, document in DOORS.items():
            target = door.format(model)
            for name, text in TEXTS.items():
                yield Case(f"{model} {target} {name}", target, partial(_filled, document(model, "TEXT"), text, size))
            if model != "claude:plain":
                yield from _answers(model, target, document(model, "Hi"), answer_size)
        for name, shape in SHAPES.items():
            target = "/v1/chat/completions"
            yield Case(f"{model} {target} {name}", target, partial(_shaped, model, shape, size))
    for model in ("main:plain", "house"):
        for door, document in DOORS.items():
            for name in ("text", "escapes"):
                body = partial(_filled, document(model, "TEXT"), TEXTS[name], size)
                yield Case(f"guest {model} {door} {name}", door.format(model), body, key=GUEST)
        for name, shape in SHAPES.items():
            target = "/v1/chat/completions"
            yield Case(f"guest {model} {target} {name}", target, partial(_shaped, model, shape, size), key=GUEST)
        for door, found in COUNTS.items():
            yield Case(f"{model} {door}", door.format(model), partial(_filled, found(model), TEXTS["text"], size))
        for coding, pack in CODINGS.items():
            body = partial(_packed, pack, partial(_shaped, model, SHAPES["messages"], size))
            headers = (("Content-Encoding", coding),)
            yield Case(f"{model} {coding}", "/v1/chat/completions", body, headers=headers)
    for model in MODELS:
        for what, (door, found) in REST.items():
            yield Case(f"{model} {what}", door.format(model), partial(_filled, found(model), TEXTS["text"], size))
    thread = {"model": "house", "max_tokens": 9, "thread": {"type": "continue", "id": "thread_1"},
              "messages": [{"role": "user", "content": "TEXT"}]}  # fmt: skip
    yield Case("house continued thread", "/v1/messages", partial(_filled, thread, TEXTS["text"], size))
    for name, found in OTHERS.items():
        yield Case(name, name, partial(_filled, {"model": "main:plain", **found}, TEXTS["text"], size))
    for name in ("text", "escapes"):
        document = {"model": "main:plain", "input": ["TEXT"]}
        vectors = partial(plain, b'{"data":[]}')
        yield Case(f"embeddings {name}", "/v1/embeddings", partial(_filled, document, TEXTS[name], size), vectors)
    for name in ("file", "field"):
        kind = "multipart/form-data; boundary=b"
        yield Case(f"multipart {name}", "/v1/audio/transcriptions", partial(_form, name, size), content_type=kind)


def _answers(model: str, target: str, document: dict[str, Any], size: int) -> Iterator[Case]:
    for name, reply in ANSWERS.items():
        path = target
        if not name.startswith("whole"):
            path = target.replace(":generateContent", ":streamGenerateContent?alt=sse")
            document = document if "generateContent" in target else {**document, "stream": True}
        body = json.dumps(document).encode()
        yield Case(f"{model} {target} answer: {name}", path, partial(bytes, body), partial(reply, size))


def _filled(document: dict[str, Any], text: Callable[[int], bytes], size: int) -> bytes:
    written = json.dumps(document).encode()
    return written.replace(b"TEXT", text(size)).replace(b"BASE64", b"/9j/" * (size // 4 if b"BASE64" in written else 0))


def _shaped(model: str, shape: Callable[[int], bytes], size: int) -> bytes:
    return b'{"model":"%b",%b}' % (model.encode(), shape(size))


def _packed(pack: Callable[[bytes], bytes], body: Callable[[], bytes]) -> bytes:
    """`body` packed, with noise in it: a body that compresses too well is refused."""
    return pack(body()[:-1] + b',"x":"%b"}' % random.Random(1).randbytes(1_000_000).hex().encode())


def _form(name: str, size: int) -> bytes:
    part = b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    more = b'; filename="a.mp3"' if name == "file" else b""
    return part % (b"model", b"", b"main:plain") + part % (name.encode(), more, TEXTS["text"](size)) + b"--b--\r\n"
