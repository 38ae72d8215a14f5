"""Failover through the running daemon: each row is a fault, the requests to each target, and the client's answer."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.harness.daemon import CANARY, Daemon
from tests.harness.plays import FIN, RST, SSE_HEAD, TWO, Step, chunk, completion, plain
from tests.harness.upstream import Peer, Upstream
from tests.harness.waiting import eventually

OK = plain(completion("fine"))
SPARE = CANARY.replace("canary", "canary2")


def status(code: str, **fields: str) -> bytes:
    """An error answer in OpenAI's format."""
    return plain(b'{"error":{"message":"no","type":"t","param":null,"code":null}}', code, **fields)


class Script:
    """Different steps for each request: the n-th answer for the n-th, the last one forever."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)

    async def __call__(self, peer: Peer) -> None:
        await peer.send(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0])


class ByKey:
    """Answers by the key that was sent."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = answers
        self.keys: list[str] = []

    async def __call__(self, peer: Peer) -> None:
        sent = (peer._seen.header("authorization") or "").removeprefix("Bearer ")
        name = {CANARY: "first", SPARE: "second"}.get(sent, sent)
        self.keys.append(name)
        await peer.send(self.answers[name])


@dataclass
class Row:
    """`first` and `second` are the actions of the two targets; `hits` the number of requests to each."""

    name: str
    first: tuple[Step, ...]
    second: tuple[Step, ...]
    status: int
    hits: tuple[int, int]
    path: str = "/v1/chat/completions"
    headers: dict[str, str | None] = field(default_factory=dict)
    code: str | None = None


ROWS = [
    Row("503 then the next", (status("503 No"),), (OK,), 200, (1, 1), headers={"x-proxy-attempts": "2"}),
    Row("500 then the next", (status("500 No"),), (OK,), 200, (1, 1)),
    Row("529 then the next", (status("529 Busy"),), (OK,), 200, (1, 1)),
    Row("408 then the next", (status("408 No"),), (OK,), 200, (1, 1)),
    Row("409 then the next", (status("409 No"),), (OK,), 200, (1, 1)),
    Row("429 then the next", (status("429 No", Retry_After="60"),), (OK,), 200, (1, 1)),
    Row("a refused key, then the next", (status("401 No"),), (OK,), 200, (1, 1)),
    Row("reset, then the next", (RST,), (OK,), 200, (1, 1)),
    Row("closed, then the next", (FIN,), (OK,), 200, (1, 1)),
    Row("not HTTP, then the next", (b"hello\r\n\r\n", FIN), (OK,), 200, (1, 1)),
    Row("400 is the answer", (status("400 No"),), (OK,), 400, (1, 0), headers={"x-proxy-attempts": None}),
    Row("404 is the answer", (status("404 No"),), (OK,), 404, (1, 0)),
    Row("422 is the answer", (status("422 No"),), (OK,), 422, (1, 0)),
    Row("a stream that broke is not tried again", (SSE_HEAD + chunk(TWO), RST), (OK,), 200, (1, 0)),
    Row("both fail: the last answer", (status("503 No"),), (status("502 No"),), 502, (1, 1),
        headers={"x-proxy-attempts": "2", "x-should-retry": None}),
    Row("both fail: rather the 429", (status("429 No", Retry_After="60"),), (status("503 No"),), 429, (1, 1),
        headers={"retry-after": "60", "x-should-retry": None}),
    Row("an error that passes through keeps the upstream's own x-should-retry",
        (status("503 No"),), (status("503 No", x_should_retry="true"),), 503, (1, 1),
        headers={"x-should-retry": "true"}),
    Row("both refuse our keys", (status("401 No"),), (status("401 No"),), 502, (1, 1), code="upstream_auth",
        headers={"x-should-retry": "false"}),
    Row("both break", (RST,), (RST,), 502, (1, 1), code="upstream_disconnected",
        headers={"x-should-retry": "false"}),
    Row("other POSTs are not sent again after a break", (RST,), (OK,), 502, (1, 0), "/v1/responses",
        code="upstream_disconnected"),
    Row("but after an answered 503 they are", (status("503 No"),), (OK,), 200, (1, 1), "/v1/responses"),
]  # fmt: skip


class RoutedDaemon:
    """A daemon whose routes `row-N` lead from connection `one` to connection `two`, each with its own script."""

    def __init__(self, upstream: Upstream, root: Any, flags: list[str]) -> None:
        self.plays = [(upstream.play(*row.first), upstream.play(*row.second)) for row in ROWS]
        self.retried = upstream.play(Script(status("503 No"), status("503 No"), OK))
        self.asked = upstream.play(Script(status("429 No", Retry_After="0"), OK))
        self.late = upstream.play(status("429 No", Retry_After="99"))
        self.by_key = {
            name: ByKey(first=bad, second=OK)
            for name, bad in {
                "429": status("429 No", Retry_After="99"),
                "401": status("401 No"),
                "403": status("403 No"),
                "quota": plain(b'{"error":{"code":"insufficient_quota"}}', "429 No"),
                "503": status("503 No"),
            }.items()
        }
        self.key_plays = {name: upstream.play(script) for name, script in self.by_key.items()}
        self.turns = (upstream.play(OK), upstream.play(OK))
        self.sick = upstream.play(status("503 No"))
        self.helped = (upstream.play(status("503 No")), upstream.play(OK))
        self.lost = (upstream.play(status("503 No")), upstream.play(status("502 No")))
        main = {"api_type": "openai", "api_base": upstream.url, "api_key": CANARY, "max_retries": 0}
        connections: dict[str, Any] = {"one": main, "two": main, "patient": {**main, "max_retries": 2}}
        routing: dict[str, Any] = {}
        for n, (a, b) in enumerate(self.plays):  # their own connections, so that a resting key affects no other row
            connections |= {f"one-{n}": main, f"two-{n}": main}
            routing[f"row-{n}"] = [f"one-{n}.{a.model}", f"two-{n}.{b.model}"]
        routing |= {"retried": f"patient.{self.retried.model}", "asked": f"patient.{self.asked.model}"}
        routing["late"] = f"patient.{self.late.model}"
        for name, play in self.key_plays.items():
            connections[f"keys-{name}"] = {**main, "api_key": None, "api_keys": [CANARY, SPARE]}
            routing[f"keys-{name}"] = f"keys-{name}.{play.model}"
        routing["turns"] = {"targets": [f"one.{p.model}" for p in self.turns], "policy": "round_robin"}
        routing["sick"] = f"one.{self.sick.model}"
        files = {}
        for name, plays in (("helped", self.helped), ("lost", self.lost)):
            routing[f"way-{name}"] = [f"one.{plays[0].model}", f"two.{plays[1].model}"]
            files[f"models/{name}.yaml"] = f"name: {name}\nupstream_model: way-{name}\nsystem_prompt: Help.\n"
        conf = {"connections": connections, "routing": routing}
        self.daemon = Daemon(root, conf, files=files, flags=flags).start()


@pytest.fixture(scope="module", params=["spliced", "plain"])
def routed_daemon(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RoutedDaemon]:
    made = RoutedDaemon(
        upstream, tmp_path_factory.mktemp("failover"), [] if request.param == "spliced" else ["--no-splice"]
    )
    try:
        yield made
        made.daemon.stop()
    finally:
        made.daemon.kill()


@pytest.mark.parametrize("number", range(len(ROWS)), ids=[row.name for row in ROWS])
def test_row(routed_daemon: RoutedDaemon, number: int) -> None:
    row, (first, second) = ROWS[number], routed_daemon.plays[number]
    answer = routed_daemon.daemon.post(row.path, b'{"model":"row-%d","messages":[]}' % number)
    assert answer.status == row.status
    hits = len(first.requests), len(second.requests)
    if row.first[0] in (RST, FIN):  # a stale connection: the pool has sent the request once more
        hits = min(hits[0], 1), min(hits[1], 1)
    assert hits == row.hits
    for name, value in row.headers.items():
        assert answer.header(name) == value
    assert answer.header("x-proxy-error") == row.code


def test_the_same_target_is_retried_up_to_max_retries(routed_daemon: RoutedDaemon) -> None:
    answer = routed_daemon.daemon.chat("retried")
    assert answer.status == 200
    assert answer.header("x-proxy-attempts") == "3"
    assert answer.header("x-should-retry") is None
    assert len(routed_daemon.retried.requests) == 3


def test_a_lone_target_is_retried_after_its_retry_after(routed_daemon: RoutedDaemon) -> None:
    assert routed_daemon.daemon.chat("asked").status == 200
    assert len(routed_daemon.asked.requests) == 2


def test_a_long_retry_after_is_passed_to_the_client(routed_daemon: RoutedDaemon) -> None:
    answer = routed_daemon.daemon.chat("late")
    assert (answer.status, answer.header("retry-after")) == (429, "99")
    assert len(routed_daemon.late.requests) == 1


@pytest.mark.parametrize("name", ["429", "401", "403", "quota"])
def test_a_refused_key_rests_and_the_other_one_is_used(routed_daemon: RoutedDaemon, name: str) -> None:
    answers = [routed_daemon.daemon.chat(f"keys-{name}") for _ in range(4)]
    assert [answer.status for answer in answers] == [200] * 4
    assert routed_daemon.by_key[name].keys == ["first", "second", "second", "second", "second"]
    assert answers[0].header("x-proxy-attempts") == "2"
    lines: list[Any] = []

    def logged() -> bool:
        lines[:] = [
            x["attempts"] for x in routed_daemon.daemon.log_lines() if x["model"] == f"keys-{name}" and "attempts" in x
        ]
        return bool(lines)

    eventually(logged, "the log has a record with the attempts")
    tried = lines[0]
    assert [t["connection"] for t in tried] == [f"keys-{name}"] * 2
    assert tried[0].get("key_id") != tried[1]["key_id"]


def test_after_max_retries_the_next_key_is_tried(routed_daemon: RoutedDaemon) -> None:
    assert [routed_daemon.daemon.chat("keys-503").status for _ in range(2)] == [200, 200]
    assert routed_daemon.by_key["503"].keys == ["first", "second", "second"]


def test_an_augmented_model_fails_over_before_its_answer_begins(routed_daemon: RoutedDaemon) -> None:
    answer = routed_daemon.daemon.chat("helped")
    assert (answer.status, answer.json()["model"]) == (200, "helped")
    assert answer.header("x-proxy-attempts") == "2"
    assert [len(play.requests) for play in routed_daemon.helped] == [1, 1]
    answer = routed_daemon.daemon.chat("lost")
    assert (answer.status, answer.header("x-proxy-attempts")) == (502, "2")
    assert answer.header("x-should-retry") is None, "the provider's own error must pass unchanged"


def test_round_robin_begins_with_the_next_target_each_time(routed_daemon: RoutedDaemon) -> None:
    before = [len(play.requests) for play in routed_daemon.turns]
    for _ in range(4):
        assert routed_daemon.daemon.chat("turns").status == 200
    assert [len(play.requests) - n for play, n in zip(routed_daemon.turns, before, strict=True)] == [2, 2]


def test_a_failing_lone_target_is_skipped_for_a_while(routed_daemon: RoutedDaemon) -> None:
    answers = [routed_daemon.daemon.chat("sick") for _ in range(8)]
    assert [answer.status for answer in answers] == [503] * 8
    assert 5 <= len(routed_daemon.sick.requests) <= 6
    assert answers[-1].header("x-proxy-error") == "upstream_resting"
    assert answers[-1].header("retry-after") is not None
