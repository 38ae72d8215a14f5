"""Large messages of a realtime conversation, each way, in every shape of frames and text."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple

from tests.front.test_websocket import handshake
from tests.harness.daemon import Daemon
from tests.harness.upstream import Peer, Upstream
from tests.harness.websocket import BINARY, TEXT, frame, upgrade
from tests.probe.cases import FAMILY, GUEST, TEXTS

DONE: Final = frame(TEXT, b'{"type":"response.done","response":{"usage":{"input_tokens":1}}}', masked=False)
PIECE: Final = 1 << 16  # bytes that are sent at once


class Conversation(NamedTuple):
    """What the client says, and what the provider answers as soon as it hears something."""

    name: str
    said: Callable[[], bytes]
    answer: Callable[[], bytes] = lambda: DONE
    key: str = FAMILY


def conversations(size: int) -> list[Conversation]:
    """Messages of `size` bytes."""
    return [*_heard(size), *_answered(size)]


def _heard(size: int) -> Iterator[Conversation]:
    numbers, update = b'{"type":"x","y":[%b]}', b'{"type":"session.update","session":{"instructions":"%b"}}'
    for key, who in ((FAMILY, "realtime"), (GUEST, "guest realtime")):
        for name in ("picture", "text", "escapes", "emoji", "secret", "secrets", "percents"):
            yield Conversation(
                f"{who} {name}", partial(_said, b'{"type":"x","audio":"%b"}', TEXTS[name], size), key=key
            )
        yield Conversation(f"{who} update", partial(_said, update, TEXTS["text"], size), key=key)
        yield Conversation(f"{who} numbers", partial(_said, numbers, lambda n: b"1" + b",1" * (n // 2), size), key=key)
        yield Conversation(f"{who} NaN", partial(_said, numbers, lambda n: b"1,1," * (n // 4) + b"NaN", size), key=key)
        yield Conversation(f"{who} sound", partial(frame, BINARY, b"{\x00\xff\x01" * (size // 4), masked=True), key=key)
    yield Conversation("realtime words", partial(frame, TEXT, b"words " * (size // 6), masked=True))
    yield Conversation("realtime frames of a kilobyte", partial(_in_frames, b"x" * 1024, size // 1032))
    yield Conversation("realtime frames of a byte", partial(_in_frames, b"x", size // 7))
    yield Conversation("realtime small messages", lambda: frame(TEXT, b'{"type":"x"}', masked=True) * (size // 18))


def _answered(size: int) -> Iterator[Conversation]:
    hello = partial(frame, TEXT, b"{}", masked=True)
    output = {"output": ["x" * 900_000], "usage": {"input_tokens": 1}}
    event = frame(TEXT, json.dumps({"type": "response.done", "response": output}).encode(), masked=False)
    for name, answer in (
        ("text", frame(TEXT, b"x" * size, masked=False)),
        ("sound", frame(BINARY, b"x" * size, masked=False)),
        ("responses", event * (size // len(event))),
    ):
        yield Conversation(f"realtime answer: {name}", hello, partial(bytes, answer + DONE))


def talk(daemon: Daemon, upstream: Upstream, conversation: Conversation) -> int:
    """Have one conversation; 0 if the socket was closed before the provider has answered, else 101."""
    said, answer = conversation.said(), conversation.answer()
    play = upstream.play()

    async def listen(peer: Peer) -> None:
        await upgrade(peer, play.requests[-1])
        await peer.take()
        await peer.send(answer)
        while True:
            await peer.take()

    play.steps = (listen,)
    with handshake(daemon, "/v1/realtime?model=plain", ("X-Play", play.model), key=conversation.key) as wire:
        if wire.read_head(method="GET").status != 101:
            return 0
        try:
            for at in range(0, len(said), PIECE):
                wire.send(said[at : at + PIECE])
            wire.read_exactly(len(answer))
        except (OSError, EOFError, AssertionError):  # the socket was refused
            return 0
    return 101


def _said(around: bytes, text: Callable[[int], bytes], size: int) -> bytes:
    return frame(TEXT, around % text(size), masked=True)


def _in_frames(data: bytes, number: int) -> bytes:
    first = frame(TEXT, data, masked=True)
    more = bytes([0]) + first[1:]
    return bytes([TEXT]) + first[1:] + more * (number - 2) + bytes([0x80]) + first[1:]
