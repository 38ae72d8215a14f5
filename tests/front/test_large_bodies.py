"""Large bodies in both directions, never whole in memory: 48 MiB each, while the daemon's memory is watched."""

import hashlib
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.plays import LAST, chunk, head, plain
from tests.harness.upstream import Upstream

MiB = 1 << 20
PIECE = bytes(range(256)) * 4096
COUNT = 48
DIGEST = hashlib.sha256(PIECE * COUNT).hexdigest()
MAY_GROW = 24 * MiB


class Watch:
    """The daemon's peak memory, above its initial size."""

    def __init__(self, daemon: Daemon) -> None:
        daemon.chat("warm-up")
        self._daemon, self._start, self.grown = daemon, daemon.rss(), 0

    def look(self) -> None:
        self.grown = max(self.grown, self._daemon.rss() - self._start)


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_large_download(daemon: Daemon, upstream: Upstream, framing: str) -> None:
    watch = Watch(daemon)

    async def send(peer: object) -> None:
        for _ in range(COUNT):
            await peer.send(chunk(PIECE) if framing == "chunked" else PIECE)  # type: ignore[attr-defined]
            watch.look()

    fields = {"Transfer-Encoding": "chunked"} if framing == "chunked" else {"Content-Length": str(COUNT * MiB)}
    end = [LAST] if framing == "chunked" else []
    play = upstream.play(head("200 OK", {"Content-Type": "video/mp4", **fields}), send, *end)
    with daemon.wire() as wire:
        wire.request("GET", "/v1/files/f/content", headers=[("X-Play", play.model)])
        answer = wire.answer(method="GET", keep=False)
    assert (answer.complete, answer.digest) == (True, DIGEST)
    assert watch.grown < MAY_GROW, f"grew by {watch.grown / MiB:.0f} MiB"


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_large_upload_is_streamed(daemon: Daemon, upstream: Upstream, framing: str) -> None:
    watch = Watch(daemon)
    play = upstream.play(plain(b'{"id":"file-1"}'))
    with daemon.wire() as wire:
        length = f"Content-Length: {COUNT * MiB}" if framing == "length" else "Transfer-Encoding: chunked"
        wire.send(
            f"PUT /v1/files HTTP/1.1\r\nHost: {wire.host}\r\nX-Play: {play.model}\r\n"
            f"Content-Type: application/octet-stream\r\n{length}\r\n\r\n".encode()
        )
        for number in range(1, COUNT + 1):
            wire.send(PIECE if framing == "length" else chunk(PIECE))
            if number == 2:
                play.received(MiB)  # the first mebibyte has arrived before the third is sent
            watch.look()
        if framing == "chunked":
            wire.send(LAST)
        assert wire.answer().body == b'{"id":"file-1"}'
    seen = play.wait()
    assert (seen.size, seen.digest) == (COUNT * MiB, DIGEST)
    assert watch.grown < MAY_GROW, f"grew by {watch.grown / MiB:.0f} MiB"


def private_files(daemon: Daemon) -> list[int]:
    """The modes of regular files of at least one mebibyte that the daemon has open, including unlinked ones."""
    modes = []
    for entry in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        try:
            info = entry.stat()
        except OSError:
            continue  # closed after it was listed
        if info.st_size >= MiB and entry.is_file() and not str(entry.readlink()).endswith((".so", ".jsonl")):
            modes.append(info.st_mode & 0o777)
    return modes


def test_a_form_with_a_late_model_field_is_spooled_to_a_private_file(daemon: Daemon, upstream: Upstream) -> None:
    watch = Watch(daemon)
    play = upstream.play(plain(b'{"text":"hi"}'))
    boundary = "spool"
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
    field = 'Content-Disposition: form-data; name="model"\r\n\r\nwhisper-1'
    end = f"\r\n--{boundary}\r\n{field}\r\n--{boundary}--\r\n".encode()
    size = len(start) + COUNT * MiB + len(end)
    with daemon.wire() as wire:
        wire.send(
            f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: {wire.host}\r\nX-Play: {play.model}\r\n"
            f"Content-Type: multipart/form-data; boundary={boundary}\r\nContent-Length: {size}\r\n\r\n".encode()
            + start
        )
        modes: list[int] = []
        for _ in range(COUNT):
            wire.send(PIECE)
            watch.look()
            modes += private_files(daemon)
        assert play.requests == [], "the form was forwarded before its model was known"
        wire.send(end)
        assert wire.answer().body == b'{"text":"hi"}'
    seen = play.wait()
    assert seen.size == size
    assert seen.digest == hashlib.sha256(start + PIECE * COUNT + end).hexdigest()
    assert watch.grown < MAY_GROW, f"grew by {watch.grown / MiB:.0f} MiB"
    assert modes, "no spool file was seen"
    assert set(modes) == {0o600}
    left = [path for path in daemon.root.rglob("*") if path.is_file() and path.stat().st_size >= MiB]
    assert left == [], "the spool file is still open"
