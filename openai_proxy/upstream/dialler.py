"""Connects a socket without uvloop's detour.

Its `sock_connect` resolves every address in a thread, even a numeric one (uvloop 0.22, `Loop.sock_connect`): four
threads that stay, and a few tenths of a millisecond before the first token of a new connection.
"""

import asyncio
import contextlib
import os
import socket
from typing import Any, Final

_SEGMENT: Final = 16 * 1024
"""Maximum bytes of a TCP segment that a provider may send. Only the loopback has longer ones, of 64 KB, for
which a stream's receive buffer (`receive_buffer.py`) has no room; a sender would then wait 0.2 s."""


class Dialler:
    """The part of an event loop that aiohappyeyeballs uses: a single method."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect the non-blocking `sock` to a numeric `address`. Raises OSError."""
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, _SEGMENT)
        with contextlib.suppress(BlockingIOError, InterruptedError):  # in progress
            sock.connect(address)
            return
        done = self._loop.create_future()
        descriptor = sock.fileno()
        self._loop.add_writer(descriptor, _connected, sock, done)
        try:
            await done
        finally:
            self._loop.remove_writer(descriptor)


def _connected(sock: socket.socket, done: "asyncio.Future[None]") -> None:
    """The kernel has a result (connect(2), EINPROGRESS)."""
    if done.done():
        return
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        done.set_exception(OSError(error, os.strerror(error)))
    else:
        done.set_result(None)
