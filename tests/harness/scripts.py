"""Scripts for the provider of the tests (`upstream.py`), and the requests that reached it."""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.harness.header_fields import HeaderFields
from tests.harness.plays import Step, plain
from tests.harness.waiting import PATIENCE


@dataclass(eq=False)
class Seen(HeaderFields):
    """One request as it reached the upstream: every header in order, the body, and whether the client disconnected.

    `hung_up` is set if the connection ends before another request has arrived on it, whichever side ended it.
    """

    connection: int
    method: str = ""
    target: str = ""
    version: str = ""
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    size: int = 0
    digest: str = ""
    chunked: bool = False
    whole: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)
    hung_up: threading.Event = field(default_factory=threading.Event)

    def gone(self) -> bool:
        """Wait until its connection has ended; False if it has not."""
        return self.hung_up.wait(PATIENCE)

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Play:
    """A script with its own model name, and the requests for it."""

    def __init__(self, name: str, steps: tuple[Step, ...], early: bool) -> None:
        self.model = name
        self.steps = steps
        self.early = early
        self.requests: list[Seen] = []
        self._news = threading.Condition()

    def steps_for(self, seen: Seen) -> tuple[Step, ...]:
        """The steps to play for `seen`."""
        return self.steps

    def arrived(self, seen: Seen) -> None:
        """Record a request (in the upstream's thread)."""
        with self._news:
            self.requests.append(seen)
            self._news.notify_all()

    def progress(self) -> None:
        """Wake those who wait for more of a body (in the upstream's thread)."""
        with self._news:
            self._news.notify_all()

    def begun(self, count: int = 1, *, timeout: float = PATIENCE) -> Seen:
        """The `count`-th request, as soon as its script plays or its head has named it."""
        with self._news:
            assert self._news.wait_for(lambda: len(self.requests) >= count, timeout), (
                f"{self.model}: {len(self.requests)} of {count} requests reached the upstream"
            )
            return self.requests[count - 1]

    def received(self, size: int, *, timeout: float = PATIENCE) -> Seen:
        """The first request, once at least `size` bytes of its body have arrived."""
        seen = self.begun(timeout=timeout)
        with self._news:
            assert self._news.wait_for(lambda: seen.size >= size, timeout), (
                f"{seen.size} of {size} bytes reached the upstream"
            )
        return seen

    def wait(self, count: int = 1, *, timeout: float = PATIENCE) -> Seen:
        """The `count`-th request, including its body."""
        seen = self.begun(count, timeout=timeout)
        assert seen.whole.wait(timeout), f"{self.model}: the end of the body never arrived"
        return seen


class Rounds(Play):
    """A script of several answers: the first request gets the first, and so on. More requests than answers get 500."""

    def __init__(self, name: str, answers: Sequence[tuple[Step, ...]]) -> None:
        super().__init__(name, (), early=False)
        self.answers = answers

    def steps_for(self, seen: Seen) -> tuple[Step, ...]:
        number = self.requests.index(seen)
        if number < len(self.answers):
            return self.answers[number]
        return (plain(b'{"error":{"message":"asked more often than the script allows"}}', "500 Too Often"),)

    def bodies(self) -> list[dict[str, Any]]:
        """The JSON bodies so far."""
        return [seen.json() for seen in self.requests]


class Acting(Play):
    """A script created for each request from its contents."""

    def __init__(self, name: str, answer: Callable[[Seen], bytes]) -> None:
        super().__init__(name, (), early=False)
        self._answer = answer

    def steps_for(self, seen: Seen) -> tuple[Step, ...]:
        return (self._answer(seen),)

    def bodies(self) -> list[dict[str, Any]]:
        """The JSON bodies so far."""
        return [seen.json() for seen in self.requests]

    def paths(self) -> list[str]:
        """The paths requested so far, below the API's root."""
        return [seen.target.partition("?")[0].removeprefix("/v1") for seen in self.requests]
