"""A provider without sockets: scripted answers, and a record of its requests."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from openai_proxy.errors import UpstreamInvalid, UpstreamTruncated
from openai_proxy.exchange import Headers, UpstreamRequest

RECORDED = Path(__file__).resolve().parents[3] / "shared" / "recorded"


class Scripted:
    """One UpstreamResponse, its body in the pieces given; `breaks` ends it with an error instead."""

    def __init__(self, status: int, pieces: Sequence[bytes], headers: Headers = (), *, breaks: bool = False) -> None:
        self.status = status
        self.reason = ""
        self.headers = headers
        self.closed = 0
        self._pieces = list(pieces)
        self._breaks = breaks

    async def chunk(self) -> bytes:
        if self._pieces:
            return self._pieces.pop(0)
        if self._breaks:
            raise UpstreamTruncated("broke off")
        return b""

    async def read(self, limit: int) -> bytes:
        data = b""
        while piece := await self.chunk():
            data += piece
        if len(data) > limit:
            raise UpstreamInvalid("too large")
        return data

    def close(self) -> None:
        self.closed += 1


class Provider:
    """`ask` for a translating provider: each request gets the next answer; paths in `fixed` always get the same."""

    def __init__(self, *answers: Scripted, fixed: dict[str, Callable[[], Scripted]] | None = None) -> None:
        self.answers = list(answers)
        self.fixed = fixed or {}
        self.asked: list[tuple[UpstreamRequest, str | None]] = []
        self.listed: list[UpstreamRequest] = []

    async def __call__(self, request: UpstreamRequest, key: str | None) -> Scripted:
        if request.path in self.fixed:
            self.listed.append(request)
            return self.fixed[request.path]()
        self.asked.append((request, key))
        return self.answers.pop(0)

    def body(self, at: int = -1) -> Any:
        data = self.asked[at][0].body
        assert isinstance(data, bytes)
        return orjson.loads(data)

    def header(self, name: str, at: int = -1) -> str | None:
        found = [v for n, v in self.asked[at][0].headers if n.lower() == name.encode()]
        assert len(found) <= 1, f"{name} twice"
        return found[0].decode() if found else None


def json_answer(payload: Any, status: int = 200, headers: Headers = ()) -> Scripted:
    return Scripted(status, [orjson.dumps(payload)], [(b"content-type", b"application/json"), *headers])


def sse(*events: Any) -> bytes:
    """Events as Anthropic writes them: named after their type."""
    return b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), orjson.dumps(e)) for e in events)


def cuts(data: bytes, seed: int) -> Iterator[list[bytes]]:
    """`data` cut at every byte if it is small, at random places many times if not; and byte by byte."""
    import random

    chosen = random.Random(seed)
    places = range(1, len(data)) if len(data) <= 3000 else sorted(chosen.sample(range(1, len(data)), 60))
    for place in places:
        yield [data[:place], data[place:]]
    for _ in range(5):
        marks = [0, *sorted(chosen.sample(range(1, len(data)), min(40, len(data) - 1))), len(data)]
        yield [data[a:b] for a, b in pairwise(marks)]
    yield [data[at : at + 1] for at in range(len(data))]


def recorded(folder: str) -> list[Any]:
    """The recorded streams of one folder as test parameters; one skipped parameter where there are none."""
    files = sorted((RECORDED / folder).glob("*.sse"))
    if not files:
        return [pytest.param(None, marks=pytest.mark.skip(reason="the recorded streams are not in this checkout"))]
    return [pytest.param(file, id=file.stem) for file in files]
