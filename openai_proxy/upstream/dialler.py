"""Connecting a socket without the detour uvloop takes.

Its `sock_connect` has a thread look every address up, a numeric one too (uvloop 0.22, `Loop.sock_connect`): four
threads that stay, and some more tenths of a millisecond before the first token of a new connection.
"""

import asyncio
import contextlib
import os
import socket
from typing import Any


class Dialler:
    """The event loop as far as aiohappyeyeballs asks for it, which is one method."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect `sock`, which does not block, to a numeric `address`. Raises OSError."""
        with contextlib.suppress(BlockingIOError, InterruptedError):  # under way
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
    """The kernel has an answer (connect(2), EINPROGRESS)."""
    if done.done():
        return
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        done.set_exception(OSError(error, os.strerror(error)))
    else:
        done.set_result(None)
