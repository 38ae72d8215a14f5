"""RFC 6455 frames in both directions, without extensions: enough to check that a socket passes unchanged."""

import base64
import hashlib
import os
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.harness.scripts import Seen
    from tests.harness.upstream import Peer

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 §1.3


def accept(key: str) -> str:
    """The `Sec-WebSocket-Accept` that answers `key`."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def new_key() -> str:
    """A fresh `Sec-WebSocket-Key`."""
    return base64.b64encode(os.urandom(16)).decode()


def frame(kind: int, data: bytes, *, masked: bool) -> bytes:
    """One final frame; clients mask, servers do not."""
    bit = 0x80 if masked else 0
    if len(data) < 126:
        length = bytes([bit | len(data)])
    elif len(data) < 1 << 16:
        length = bytes([bit | 126]) + struct.pack(">H", len(data))
    else:
        length = bytes([bit | 127]) + struct.pack(">Q", len(data))
    if masked:
        mask = os.urandom(4)
        stretched = (mask * (len(data) // 4 + 1))[: len(data)]
        mixed = int.from_bytes(data, "big") ^ int.from_bytes(stretched, "big")
        data = mask + mixed.to_bytes(len(data), "big")
    return bytes([0x80 | kind]) + length + data


def take(read: Callable[[int], bytes]) -> tuple[int, bytes]:
    """One frame, read by `read(size)`: its kind and its unmasked data."""
    first, second = read(2)
    size = second & 0x7F
    if size == 126:
        (size,) = struct.unpack(">H", read(2))
    elif size == 127:
        (size,) = struct.unpack(">Q", read(8))
    mask = read(4) if second & 0x80 else b""
    data = read(size)
    if mask and size:
        stretched = (mask * (size // 4 + 1))[:size]
        data = (int.from_bytes(data, "big") ^ int.from_bytes(stretched, "big")).to_bytes(size, "big")
    return first & 0x0F, data


async def take_from(peer: "Peer") -> tuple[int, bytes]:
    """One frame from a connection of the upstream."""
    head = await peer.take(2)
    size = head[1] & 0x7F
    more = {126: 2, 127: 8}.get(size, 0)
    extended = await peer.take(more) if more else b""
    size = int.from_bytes(extended, "big") if more else size
    rest = await peer.take(size + (4 if head[1] & 0x80 else 0)) if size or head[1] & 0x80 else b""
    stored = bytearray(head + extended + rest)

    def read(count: int) -> bytes:
        data = bytes(stored[:count])
        del stored[:count]
        return data

    return take(read)


async def upgrade(peer: "Peer", seen: "Seen", subprotocol: str | None = None) -> None:
    """The upstream's half of the handshake."""
    key = seen.header("sec-websocket-key")
    assert key is not None
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    lines.append(f"Sec-WebSocket-Accept: {accept(key)}")
    if subprotocol:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    await peer.send("\r\n".join(lines).encode() + b"\r\n\r\n")


def echo(
    seen: "Callable[[], Seen]", got: list[tuple[int, bytes]], *, subprotocol: str | None = None
) -> "Callable[[Peer], object]":
    """A step for the upstream: complete the handshake, echo every message, answer a close and end."""

    async def run(peer: "Peer") -> None:
        await upgrade(peer, seen(), subprotocol)
        while True:
            kind, data = await take_from(peer)
            got.append((kind, data))
            await peer.send(frame(PONG if kind == PING else kind, data, masked=False))
            if kind == CLOSE:
                return

    return run
