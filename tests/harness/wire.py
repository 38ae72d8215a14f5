"""A client on a raw blocking socket: it sends exactly the given bytes, and knows whether an answer was complete.

Everything it receives is searched for the canary (`watch_for`), a key of ours that must never leave the daemon.
"""

import hashlib
import json
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.harness.header_fields import HeaderFields
from tests.harness.waiting import PATIENCE

Pairs = Iterable[tuple[str, str]]


@dataclass
class Answer(HeaderFields):
    """One HTTP answer. `complete` is False if its framing was cut, which a client must be able to see."""

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    size: int = 0
    digest: str = ""
    complete: bool = False
    framing: str = "close"
    chunks: list[int] = field(default_factory=list)

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Closed(AssertionError):
    """The daemon closed the connection although an answer was expected."""


class Wire:
    """One connection to the daemon. `address` is host and port, or the path of a Unix socket."""

    def __init__(self, address: tuple[str, int] | str, *, timeout: float = PATIENCE, receive_buffer: int = 0) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET, socket.SOCK_STREAM)
        if receive_buffer:  # before connecting, so that the window is small from the start
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        if not isinstance(address, str):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray()
        self._answer: Answer | None = None
        self._rest = 0
        self._canaries: tuple[bytes, ...] = ()
        self._tail = b""
        self.ended = False
        self.was_reset = False

    def watch_for(self, *canaries: bytes) -> "Wire":
        """Fail as soon as one of `canaries` is received."""
        self._canaries = canaries
        return self

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # Sending

    def send(self, data: bytes) -> None:
        """Send these bytes."""
        self._socket.sendall(data)

    def try_send(self, data: bytes) -> bool:
        """Send these bytes; False if the daemon has closed the connection."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def send_what_fits(self, data: bytes, *, patience: float = 0.3) -> int:
        """How many bytes of `data` were accepted before no more were for `patience` seconds."""
        sent, usual = 0, self._socket.gettimeout()
        self._socket.settimeout(patience)
        try:
            while sent < len(data):
                sent += self._socket.send(data[sent : sent + 65536])
        except TimeoutError:
            pass
        finally:
            self._socket.settimeout(usual)
        return sent

    def request(
        self,
        method: str,
        target: str,
        *,
        body: bytes | None = None,
        headers: Pairs = (),
        host: str | None = None,
        key: str | None = None,
        content_type: str | None = "application/json",
    ) -> "Wire":
        """Send a request, with Content-Length if there is a body. `headers` are sent unchanged."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host if host is not None else self.host}"]
        if key is not None:
            lines.append(f"Authorization: Bearer {key}")
        if body is not None:
            lines += [f"Content-Type: {content_type}"] if content_type else []
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
        return self

    def chat(self, model: str, *, stream: bool = False, path: str = "/v1/chat/completions", **more: Any) -> "Wire":
        """Send a small chat request. `headers`, `key` and `host` as for `request`; the rest are members of the body."""
        options = {name: more.pop(name) for name in ("headers", "key", "host") if name in more}
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
        body |= {"stream": True} if stream else {}
        return self.request("POST", path, body=json.dumps(body | more).encode(), **options)

    @property
    def host(self) -> str:
        """The Host header's value for the daemon itself."""
        return "localhost" if isinstance(self.address, str) else f"{self.address[0]}:{self.address[1]}"

    # Receiving

    def _fill(self) -> bool:
        """Receive once; False at the end."""
        if self.ended:
            return False
        try:
            data = self._socket.recv(1 << 18)
        except ConnectionResetError:
            self.was_reset = True
            data = b""
        if not data:
            self.ended = True
            return False
        if self._canaries:
            seam = self._tail + data
            for canary in self._canaries:
                assert canary not in seam, f"a key came out of the daemon: …{seam[-400:]!r}"
            self._tail = seam[-(max(map(len, self._canaries)) - 1) :]
        self._buffer += data
        return True

    def _line(self) -> bytes | None:
        while (found := self._buffer.find(b"\r\n")) < 0:
            if not self._fill():
                return None
        line = bytes(self._buffer[:found])
        del self._buffer[: found + 2]
        return line

    def read_head(self, *, method: str = "POST", keep_informational: bool = False) -> Answer:
        """The status line and headers of the next answer; 1xx answers are skipped unless wanted."""
        line = self._line()
        if line is None:
            raise Closed(f"closed before an answer (reset: {self.was_reset}, got: {bytes(self._buffer)!r})")
        version, status, reason = [*line.decode("latin-1").split(" ", 2), ""][:3]
        assert version in {"HTTP/1.1", "HTTP/1.0"}, line
        headers = []
        while (field_line := self._line()) != b"":
            assert field_line is not None, "the connection was closed inside a head"
            name, colon, value = field_line.decode("latin-1").partition(":")
            assert colon, field_line
            headers.append((name, value.strip(" \t")))
        answer = Answer(int(status), reason, headers)
        if answer.status < 200 and answer.status != 101 and not keep_informational:
            return self.read_head(method=method)
        self._answer = answer
        length = answer.header("content-length")
        if method == "HEAD" or answer.status in {204, 304} or answer.status < 200:
            answer.framing, answer.complete = "none", True
        elif (answer.header("transfer-encoding") or "").lower() == "chunked":
            assert length is None, "the head has both Content-Length and Transfer-Encoding"
            answer.framing = "chunked"
        elif length is not None:
            answer.framing, self._rest = "length", int(length)
            answer.complete = self._rest == 0
        return answer

    def read_some(self) -> bytes:
        """The next bytes of the present answer's body as they arrive; b"" at its end, complete or not."""
        answer = self._answer
        assert answer is not None, "no answer is being read"
        if answer.complete:
            return b""
        if answer.framing == "chunked":
            return self._some_chunk(answer)
        if not self._buffer and not self._fill():
            answer.complete = answer.framing == "close" and not self.was_reset
            return b""
        size = min(self._rest, len(self._buffer)) if answer.framing == "length" else len(self._buffer)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        if answer.framing == "length":
            self._rest -= size
            answer.complete = self._rest == 0
        return data

    def _some_chunk(self, answer: Answer) -> bytes:
        if self._rest == 0:
            line = self._line()
            if line is None:
                return b""
            self._rest = int(line.split(b";")[0], 16)
            answer.chunks.append(self._rest)
            if self._rest == 0:
                while (trailer := self._line()) != b"":
                    if trailer is None:
                        return b""
                answer.complete = True
                return b""
        if not self._buffer and not self._fill():
            return b""
        size = min(self._rest, len(self._buffer))
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._rest -= size
        if self._rest == 0:
            assert self._line() in {b"", None}, "a chunk is longer than its declared size"
        return data

    def read_until(self, marker: bytes) -> bytes:
        """Body bytes of the present answer until `marker` has arrived: proof that it was passed on, not held back."""
        got = bytearray()
        while marker not in got:
            data = self.read_some()
            assert data, f"the answer ended before {marker!r}: {bytes(got)!r}"
            got += data
        return bytes(got)

    def read_rest(self, *, keep: bool = True, before: bytes = b"") -> Answer:
        """Read the present answer to its end. `keep=False`: only size and digest, for bodies of many megabytes."""
        assert self._answer is not None
        digest, kept = hashlib.sha256(before), bytearray(before)
        size = len(before)
        while data := self.read_some():
            digest.update(data)
            size += len(data)
            if keep:
                kept += data
        answer = self._answer
        answer.body, answer.size, answer.digest = bytes(kept), size, digest.hexdigest()
        self._answer = None
        return answer

    def answer(self, *, method: str = "POST", keep: bool = True) -> Answer:
        """The next answer, complete or as much of it as arrived."""
        self.read_head(method=method)
        return self.read_rest(keep=keep)

    def read_exactly(self, size: int) -> bytes:
        """`size` raw bytes, regardless of framing: for what follows a 101."""
        while len(self._buffer) < size:
            assert self._fill(), f"closed with {len(self._buffer)} of {size} bytes"
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def wait_closed(self) -> bytes:
        """Everything that arrives until the daemon closes the connection; a timeout is a failure."""
        while self._fill():
            pass
        return bytes(self._buffer)

    # Leaving

    def half_close(self) -> None:
        """Send a FIN, while the socket stays open for reading."""
        self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Send a reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def close(self) -> None:
        """Send a FIN and stop reading. Idempotent."""
        self._socket.close()
