"""A random request: mostly what clients send, with one or two oddities."""

import json
import random
from dataclasses import dataclass
from typing import Any, Final

PATHS: Final = (
    "/v1/chat/completions", "/chat/completions", "/v1/embeddings", "/v1/completions", "/v1/responses", "/v1/messages",
    "/v1/moderations", "/v1/models", "/v1/models/m", "/health", "/v1/rerank", "/v1/files", "/api/tags", "/api/version",
    "/v1/audio/speech", "/v1/images/generations", "/v1/messages/count_tokens", "/v1/tokenize",
)  # fmt: skip
ODD_PATHS: Final = (
    "/v1//chat/completions", "/v1/chat/completions/", "//v1/v1/chat/completions", "/v1/chat/completion%73",
    "/v1/..%2fadmin", "/v1/../chat", "/V1/chat/completions", "/v1/chat%2Fcompletions", "/nothing", "/v1", "/",
    "/v1/chat/completions?x=1", "/v1/chat/completions#x", "*", "/v1/unknown/thing", "/v1/\x7f", "/v1/" + "a" * 300,
)  # fmt: skip
FIELDS: Final = (
    ("Content-Type", "application/json"), ("Content-Type", "text/plain"), ("Accept", "*/*"),
    ("Accept-Encoding", "gzip"), ("Content-Type", "application/json; charset=utf-8"), ("User-Agent", "fuzz"),
    ("X-Session-ID", "s" * 20),
    ("Content-Type", "multipart/form-data; boundary=b"), ("Cookie", "a=b"), ("X-Session-ID", "s" * 300),
    ("Authorization", "Bearer sk-anything"), ("x-api-key", "k"), ("Via", "1.1 x"),
    ("Connection", "keep-alive"), ("X-Forwarded-For", "10.0.0.1"), ("OpenAI-Beta", "x"), ("X-Odd", "\u00e4\u00f6"),
    ("anthropic-version", "2023-06-01"), ("Content-Encoding", "gzip"), ("Content-Encoding", "odd"), ("Priority", "u=1"),
    ("Origin", "http://evil.example"), ("Range", "bytes=0-1"), ("X-Empty", ""),
)  # fmt: skip
SCALARS: Final = (
    None, True, False, 0, -1, 1.5, 1e300, 10**30, "", "x", "ä", "\ud83d", "\u0000", "sk-proj-" + "aB3" * 16, "!/hello",
    "!/set(model=x)", "<think>", "data:image/png;base64,AAAA", "a" * 5000,
)  # fmt: skip
MEMBERS: Final = (
    "messages", "model", "stream", "tools", "user", "metadata", "temperature", "n", "max_tokens", "stream_options",
    "input", "prompt", "MODEL", "models", "session_id", "tool_choice", "unknown", "",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Request:
    """A request: the head's parts and a body, in chunks or not."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: bytes | None
    chunked: bool

    def head(self, host: str, number: int) -> bytes:
        """The head on the wire; `number` is sent to the provider with it."""
        lines = [f"{self.method} {self.target} HTTP/1.1", f"Host: {host}", f"X-Fuzz: {number}"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        if self.body is not None:
            lines.append("Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {len(self.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("utf-8")

    def payload(self) -> bytes:
        """The body on the wire."""
        if self.body is None:
            return b""
        if not self.chunked:
            return self.body
        half = len(self.body) // 2
        pieces = [piece for piece in (self.body[:half], self.body[half:]) if piece]
        return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def make(chance: random.Random) -> Request:
    """The next request."""
    odd = chance.random()
    target = chance.choice(PATHS[:6]) if odd < 0.7 else chance.choice(PATHS) if odd < 0.9 else chance.choice(ODD_PATHS)
    reads = target in ("/v1/models", "/v1/models/m", "/health", "/api/tags", "/api/version")
    method = chance.choices(("POST", "GET", "PUT", "DELETE", "PATCH", "HEAD"), (90, 4, 2, 2, 1, 1))[0]
    method = "GET" if reads and chance.random() < 0.9 else method
    fields: list[tuple[str, str]] = []
    for field in chance.sample(FIELDS, chance.choice((0, 1, 1, 2, 3))):
        if all(field[0] != name for name, _ in fields):
            fields.append(field)
    if chance.random() < 0.8 and all(name != "Content-Type" for name, _ in fields):
        fields.append(FIELDS[0])
    body = None if method in ("GET", "HEAD") or chance.random() < 0.01 else _body(chance)
    return Request(method, target, tuple(fields), body, chance.random() < 0.1)


def _body(chance: random.Random) -> bytes:
    document: dict[str, Any] = {
        "model": chance.choice(("m", "main.m", "other.m", "short", "", "ä", "m" * 300, "nowhere:m")),
        "messages": [{"role": "user", "content": chance.choice(("hi", "hello there", "!/hello", "ä" * 40))}],
    }
    if chance.random() < 0.4:
        document["stream"] = chance.choice((True, True, True, False, None, "yes"))
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        document[chance.choice(MEMBERS)] = _value(chance, 3)
    if chance.random() < 0.15:
        del document[chance.choice(tuple(document))]
    compact = chance.random() < 0.8
    text = json.dumps(document, ensure_ascii=chance.random() < 0.5, separators=(",", ":") if compact else None)
    body = text.encode("utf-8", "surrogatepass")
    if chance.random() < 0.08:
        body = _damaged(chance, body)
    return body


def _value(chance: random.Random, depth: int) -> Any:
    kind = chance.random()
    if depth == 0 or kind < 0.6:
        return chance.choice(SCALARS)
    inner = [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return inner if kind < 0.8 else {chance.choice(MEMBERS): value for value in inner}


def _damaged(chance: random.Random, body: bytes) -> bytes:
    at = chance.randrange(len(body) + 1)
    match chance.randrange(6):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + chance.randbytes(chance.randrange(1, 9)) + body[at:]
        case 2:
            return body[:at] + body[at + 1 :]
        case 3:
            return body[:-1] + b',"model":"second"}'
        case 4:
            return body.replace(b'"model"', b'"\\u006dodel"', 1)
        case _:
            return b"\xef\xbb\xbf" + body
