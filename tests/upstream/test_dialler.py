"""Connecting: the kernel's error is raised, and no thread is used."""

import asyncio
import socket
import subprocess
import sys

import pytest

from openai_proxy.upstream.dialler import Dialler
from openai_proxy.upstream.receive_buffer import UNREAD

NO_THREAD = """
import asyncio, os, socket, uvloop
from openai_proxy.upstream.origin import Origin
from openai_proxy.upstream.pool import Pool
from openai_proxy.upstream.watch import Watch

async def main():
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0))  # the loop's own method would use a thread for this, too
    before = len(os.listdir("/proc/self/task"))
    port = listener.getsockname()[1]
    connection = await Pool("main", Origin.parse(f"http://127.0.0.1:{port}"), Watch(loop), loop).connect(5)
    print(len(os.listdir("/proc/self/task")) - before)
    connection.abort()
    listener.close()

uvloop.run(main())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads in /proc")
def test_a_numeric_address_starts_no_thread() -> None:
    done = subprocess.run([sys.executable, "-c", NO_THREAD], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "0"


def unconnected() -> socket.socket:
    sock = socket.socket()
    sock.setblocking(False)
    return sock


async def test_a_refused_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = taken.getsockname()
    with unconnected() as sock, pytest.raises(ConnectionRefusedError):
        await Dialler(asyncio.get_running_loop()).sock_connect(sock, address)


async def test_a_successful_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, unconnected() as sock:
        await Dialler(asyncio.get_running_loop()).sock_connect(sock, listener.getsockname())
        assert sock.getpeername() == listener.getsockname()


async def test_segments_are_short_enough_for_the_receive_buffer_of_a_stream() -> None:
    """Loopback segments are longer by default, which would slow a local provider to 0.3 MB per second."""
    with socket.create_server(("127.0.0.1", 0)) as listener, unconnected() as sock:
        await Dialler(asyncio.get_running_loop()).sock_connect(sock, listener.getsockname())
        provider, _ = listener.accept()
        with provider:
            assert provider.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= UNREAD // 2


async def test_a_cancelled_connect_leaves_nothing_behind() -> None:
    """A full backlog does not answer, so the connection stays pending."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listener, unconnected() as first, unconnected() as second, unconnected() as sock:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for filler in (first, second):
            filler.connect_ex(listener.getsockname())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await Dialler(loop).sock_connect(sock, listener.getsockname())
        assert not loop.remove_writer(sock.fileno()), "the event loop still watches the socket"
