"""An edit of `conf/` from the callers' view: keys and connections change with the next request, streams continue."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.front.configurations import WAYS, connection, front_conf, serving
from tests.harness.answers import check_error
from tests.harness.daemon import Daemon
from tests.harness.manners import MODELS
from tests.harness.plays import DONE, LAST, SSE_HEAD, TWO, chunk, delta, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

Announce = Callable[[], None]
OLD, NEW = "sk-old-0123456789abcdef", "sk-new-fedcba9876543210"


def keyed(upstream: Upstream) -> dict[str, Any]:
    return front_conf(upstream, groups={"family": {"api_keys": [OLD]}})


@pytest.fixture(scope="module")
def shared_daemon(way: str, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with serving(tmp_path_factory.mktemp(way), keyed(upstream), way) as running:
        yield running


@pytest.fixture
def daemon(shared_daemon: Daemon, upstream: Upstream) -> Iterator[Daemon]:
    """The daemon in its initial state: edits are reverted after each test."""
    yield shared_daemon
    shared_daemon.write("proxy.yaml", keyed(upstream))
    assert shared_daemon.post("/admin/reload", b"").status == 200


@pytest.fixture(params=["hangup", "save"])
def announce(request: pytest.FixtureRequest, daemon: Daemon) -> Callable[[], None]:
    """The owner's action after an edit: SIGHUP, as sent by `systemctl reload`, or nothing."""

    def notify() -> None:
        if request.param == "hangup":
            daemon.signal(signal.SIGHUP)

    return notify


def test_a_revoked_key_is_refused_but_its_stream_continues(
    daemon: Daemon, upstream: Upstream, announce: Announce
) -> None:
    gate = upstream.gate()
    play = upstream.play(SSE_HEAD, chunk(TWO), gate, chunk(delta("end") + DONE), LAST)
    with daemon.wire() as wire:
        wire.chat(play.model, stream=True, key=OLD).read_head()
        wire.read_until(b"two")
        daemon.edit_conf(lambda conf: conf["groups"]["family"].update(api_keys=[NEW]), announce)
        check_error(daemon.chat("m", key=OLD), 401)
        assert daemon.chat(upstream.play(plain(b"{}")).model, key=NEW).status == 200
        gate.open()
        answer = wire.read_rest()
        assert (answer.complete, answer.body) == (True, delta("end") + DONE)
        check_error(wire.chat("m", key=OLD).answer(), 401)  # on the connection that the old key opened


def test_a_moved_connection_gets_the_next_requests(daemon: Daemon, upstream: Upstream, announce: Announce) -> None:
    """Requests waiting at the old address are answered from there."""
    other, gate = Upstream().start(), upstream.gate()
    try:
        waiting, moved = upstream.play(gate, plain(b'{"from":"old"}')), other.play(plain(b'{"from":"new"}'))
        with daemon.wire() as wire:
            wire.chat(waiting.model, key=OLD)
            waiting.wait()
            daemon.edit_conf(lambda conf: conf["connections"].update(main=connection(other.url)), announce)
            assert daemon.chat(moved.model, key=OLD).body == b'{"from":"new"}'
            gate.open()
            assert wire.answer().body == b'{"from":"old"}'
    finally:
        other.stop()


def test_a_broken_edit_changes_nothing(daemon: Daemon, upstream: Upstream, announce: Announce) -> None:
    path: Path = daemon.conf_dir / "proxy.yaml"
    good = path.read_text()
    path.write_text(good + "\nconnections: [\n")
    announce()

    def problems() -> list[dict[str, object]]:
        return list(daemon.get("/admin/status").json()["config"]["problems"])

    eventually(problems, "the problem is reported")
    assert daemon.chat(upstream.play(plain(b"{}")).model, key=OLD).status == 200
    path.write_text(good)
    announce()
    eventually(lambda: not problems(), "the problem is gone")


def test_no_request_fails_during_edits(daemon: Daemon, upstream: Upstream, announce: Announce) -> None:
    play = upstream.play(plain(b"{}"))
    with daemon.wire() as wire:
        for number in range(5):
            before = daemon.generation()
            family = {"family": {"api_keys": [OLD]}}
            daemon.write("proxy.yaml", front_conf(upstream, groups=family, session_ttl=100 + number))
            announce()
            asked = 0
            while daemon.generation() == before:
                assert wire.chat(play.model, key=OLD).answer().status == 200
                asked += 1
                assert asked < 20_000, "the edit did not take effect within 20,000 requests"


def test_models_are_listed_while_their_provider_is_down(make_daemon: Callable[..., Daemon]) -> None:
    """The list comes from the cache; a provider that is up again is queried again."""
    provider = Upstream().start()
    daemon = make_daemon(front_conf(provider))

    def listed() -> set[str]:
        return {model["id"] for model in daemon.get("/v1/models").json()["data"]}

    try:
        eventually(lambda: set(MODELS) <= listed(), "the catalog has been filled")
    finally:
        provider.stop()
    check_error(daemon.chat("m-small"), 502, "upstream_unreachable")
    assert set(MODELS) <= listed()
    assert daemon.get("/v1/models/vendor/m-large").json()["id"] == "vendor/m-large"


def test_a_lost_log_directory_fails_no_request(
    make_daemon: Callable[..., Daemon], upstream: Upstream, way: str
) -> None:
    """A file takes the directory's place: lines are lost and counted, and requests are served."""
    daemon = make_daemon(keyed(upstream), flags=WAYS[way])
    for path in daemon.logs_dir.iterdir():
        path.unlink()
    daemon.logs_dir.rmdir()
    daemon.logs_dir.write_text("in the way")
    play = upstream.play(plain(b"{}"))
    for _ in range(20):
        assert daemon.chat(play.model, key=OLD).status == 200
    eventually(lambda: daemon.get("/health").json().get("degraded"), "/health reports the log as degraded")
    daemon.logs_dir.unlink()
