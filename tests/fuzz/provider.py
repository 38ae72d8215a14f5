"""The provider of both daemons: its answers depend on the request only, and it records its requests."""

import asyncio
import zlib
from dataclasses import dataclass, field
from typing import Any

from tests.harness.plays import DONE, LAST, SSE_HEAD, TWO, chunk, completion, delta, head, plain

Seen = tuple[str, tuple[tuple[str, str], ...], bytes]
"""Path, header fields and body of one request."""

_OWN = frozenset({"host", "x-fuzz"})

ANSWERS = (
    *[plain(completion("hello"))] * 6,
    *[SSE_HEAD + chunk(TWO) + chunk(delta("", finish="stop")) + chunk(DONE) + LAST] * 3,
    SSE_HEAD + chunk(TWO) + LAST,
    plain(b'{"error":{"message":"no","type":"invalid_request_error","param":"x","code":null}}', "400 Bad Request"),
    plain(b'{"error":{"message":"no such model","code":"model_not_found"}}', "404 Not Found"),
    plain(b"<html>odd</html>", content_type="text/html"),
    plain(b"", "204 No Content", content_type=None),
    plain(b'{"broken', x_custom="1", Set_Cookie="a=b", Access_Control_Allow_Origin="*"),
    head("302 Found", {"Location": "http://elsewhere.example/", "Content-Length": "0"}),
    plain(b'{"a":"\xff"}', "422 Unprocessable", x_request_id="theirs"),
)
"""No answers that open a circuit breaker or make a key rest: what follows would depend on the clock."""


@dataclass
class Provider:
    """A server with a base path for each daemon: `/a/v1` and `/b/v1`."""

    seen: dict[tuple[str, str], list[Seen]] = field(default_factory=dict)
    port: int = 0
    _server: Any = None

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def url(self, side: str) -> str:
        """The base address of one side."""
        return f"http://127.0.0.1:{self.port}/{side}/v1"

    async def stop(self) -> None:
        """Stop listening."""
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._one(reader, writer):
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        first, *rest = (await reader.readuntil(b"\r\n\r\n"))[:-4].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in rest)]
        lower = {name.lower(): value for name, value in fields}
        body = b""
        if lower.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        else:
            body = await reader.readexactly(int(lower.get("content-length", 0)))
        _, side, path = target.split("/", 2)
        kept = tuple((name, value) for name, value in fields if name.lower() not in _OWN)
        self.seen.setdefault((side, lower.get("x-fuzz", "")), []).append((f"{method} {path}", kept, body))
        if path.startswith("v1/models"):
            answer = plain(b'{"object":"list","data":[{"id":"m","object":"model"}]}')
        else:
            answer = ANSWERS[zlib.crc32(body + path.encode()) % len(ANSWERS)]
        writer.write(answer.split(b"\r\n\r\n")[0] + b"\r\n\r\n" if method == "HEAD" else answer)
        return True
