"""How much of an answer the kernel buffers before we read it.

By default it allows a fast sender megabytes, which stay in memory while the client does not read.
"""

import asyncio
import contextlib
import socket
import sys
from typing import Final

UNREAD: Final = 32 * 1024
"""Bytes of a stream; the kernel adds as many for its bookkeeping. A provider 100 ms away can still send 300 KB per
second, twenty times as fast as the fastest models."""

WIDE: Final = 1 << 20
"""The same for other answers on a connection that has carried a stream, if the kernel cannot be asked to decide."""

SO_BUF_LOCK: Final = 72
"""Linux 5.15's option for which sizes the kernel must not adapt; Python has no name for it."""


def receive_ahead(transport: asyncio.Transport | None, *, little: bool) -> None:
    """Limit the kernel's receive buffer of a connection, or let the kernel adapt it to the network again."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return
    if not little and sys.platform == "linux":
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, SO_BUF_LOCK, 0)
            return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD if little else WIDE)
