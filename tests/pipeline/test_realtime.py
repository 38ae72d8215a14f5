"""What a WebSocket client sends, on its way to the provider."""

import asyncio
from typing import cast

from openai_proxy.pipeline import realtime
from openai_proxy.pipeline.realtime_answers import STEP
from openai_proxy.protocols.websocket import ClientFrames, ClientMessage
from openai_proxy.upstream.connection import HttpConnection
from tests.harness.websocket import TEXT, frame


class _Watch:
    """Lets everything pass."""

    def __init__(self) -> None:
        self.taken = ClientFrames().feed

    def passed(self, item: bytes | ClientMessage) -> bytes:
        return item.raw if isinstance(item, ClientMessage) else item


class _Connection:
    """Notes what is written to it."""

    write_paused = False

    def __init__(self) -> None:
        self.written = b""

    def write(self, data: bytes) -> None:
        self.written += data

    async def drain(self) -> None:
        return None


class _Transport:
    """Notes whether it is read."""

    reading = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


async def test_many_small_messages_are_read_over_many_turns_of_the_event_loop() -> None:
    """A single turn once took a second, during which no other client was served."""
    connection, transport = _Connection(), _Transport()
    inbound = realtime._ClientBytes(
        cast(realtime._Watch, _Watch()), cast(HttpConnection, connection), cast(asyncio.Transport, transport)
    )
    said = frame(TEXT, b"small", masked=True) * 20_000
    inbound.feed_data(said)
    turns = 0
    while True:
        before = len(connection.written)
        assert transport.reading is (before == len(said)), "reading must pause while earlier data waits to be written"
        if transport.reading:
            break
        await asyncio.sleep(0)
        turns += 1
        assert len(connection.written) - before < STEP + len(said) // 20_000
    assert connection.written == said
    assert turns > len(said) // STEP - 1
