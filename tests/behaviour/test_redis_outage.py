"""A store that is down, refuses or loses its data: requests are served, the cause is reported, no count is lost."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from tests.auth.test_access_of_groups import ask, conf, group
from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon
from tests.harness.redis_server import RedisServer, needs_redis
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually

pytestmark = needs_redis

KEY = "sk-counted-by-all"
MERGED = 25.0  # seconds after which an outage must be over for everyone


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may stop; not started yet."""
    server = RedisServer(tmp_path)
    yield server
    server.close()


def configuration(upstream: Upstream, url: str, **limits: int) -> dict[str, Any]:
    return conf(upstream, groups={"counted": group(KEY, **limits)}, storage=url)


def storage(daemon: Daemon) -> dict[str, Any]:
    status: dict[str, Any] = daemon.control("GET", "/admin/status").json()["storage"]
    return status


def origin(daemon: Daemon) -> str:
    """A daemon's name in the store."""
    return str(json.loads((daemon.state_dir / "daemon.json").read_text())["id"])


def counted(redis: RedisServer) -> dict[str, int]:
    """The requests that each daemon has counted today, according to the store."""
    names = re.findall(rb"openai-proxy:limits:[0-9a-f]+@[0-9a-f]+", redis.ask("KEYS", "openai-proxy:limits:*"))
    values = {name.decode(): redis.ask("GET", name.decode()).partition(b"\r\n")[2] for name in names}
    return {name: json.loads(value.partition(b" ")[2])[1][1] for name, value in values.items()}


def test_counts_made_during_an_outage_are_added_up(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer
) -> None:
    first, second = (make_daemon(configuration(upstream, redis.url, requests_per_day=5)) for _ in range(2))
    assert [ask(first, KEY).status for _ in range(3)] == [200] * 3
    assert [ask(second, KEY).status for _ in range(2)] == [200] * 2
    for daemon in (first, second):
        assert "(connection refused); this daemon counts for itself" in daemon.stderr
        assert daemon.stderr.count("storage: redis cannot be used") == 1
        assert storage(daemon) == {"state": "alone", "daemons": 1, "cause": "connection refused"}
        assert "storage" in daemon.control("GET", "/health").json()["degraded"]
    redis.start()
    for daemon in (first, second):
        eventually(
            lambda daemon=daemon: storage(daemon)["state"] == "shared", "the store is shared again", timeout=MERGED
        )  # type: ignore[misc]
    eventually(lambda: sum(counted(redis).values()) == 5, "the requests of both daemons are counted")
    assert [ask(daemon, KEY).status for daemon in (first, second)] == [429, 429]
    assert "redis answers again" in first.stderr


class Load:
    """Clients that send requests all the time, and the answers."""

    def __init__(self, *daemons: Daemon) -> None:
        self.answers: dict[Daemon, list[int]] = {daemon: [] for daemon in daemons}
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(daemon,)) for daemon in daemons]

    def _ask(self, daemon: Daemon) -> None:
        while not self._stop.is_set():
            try:
                self.answers[daemon].append(ask(daemon, KEY).status)
            except (OSError, AssertionError):
                self.answers[daemon].append(0)
                if not daemon.running():
                    return

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def more(self, daemon: Daemon, number: int) -> None:
        """Wait for this many more answers."""
        goal = len(self.answers[daemon]) + number
        eventually(lambda: len(self.answers[daemon]) >= goal, "further requests are answered")


def test_a_store_killed_under_load_that_forgets_everything(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer
) -> None:
    redis.start()
    first, second = (make_daemon(configuration(upstream, redis.url, requests_per_day=1_000_000)) for _ in range(2))
    with Load(first, second) as load:
        load.more(first, 20)
        redis.kill()
        eventually(lambda: storage(first)["state"] == "alone", "the first daemon has noticed the outage")
        load.more(first, 20)
        load.more(second, 20)
        redis.start()
        eventually(
            lambda: storage(first)["state"] == storage(second)["state"] == "shared",
            "both daemons share again",
            timeout=MERGED,
        )
        load.more(second, 20)
    answers = [status for given in load.answers.values() for status in given]
    assert set(answers) == {200}
    eventually(lambda: sum(counted(redis).values()) == len(answers), "every request is counted once")
    for daemon in (first, second):
        daemon.stop()
        daemon.start()
    assert sum(counted(redis).values()) == len(answers)


def test_a_daemon_that_is_killed_loses_no_count(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer
) -> None:
    redis.start()
    first, second = (make_daemon(configuration(upstream, redis.url, requests_per_day=1_000_000)) for _ in range(2))
    mine, theirs = (f"openai-proxy:limits:{sha256(KEY.encode()).hexdigest()}@{origin(d)}" for d in (first, second))
    with Load(first, second) as load:
        load.more(first, 30)
        eventually((first.state_dir / "limits.json").exists, "the first daemon's own file exists")
        load.more(first, 30)
        served = load.answers[first].count(200)
        eventually(lambda: counted(redis).get(mine, 0) >= served, "every served request is counted in the store")
        first.signal(signal.SIGKILL)
        first.process.wait(PATIENCE)
        load.more(second, 20)
    assert set(load.answers[second]) == {200}
    others, most = load.answers[second].count(200), len(load.answers[first])
    eventually(
        lambda: others + served <= sum(counted(redis).values()) <= others + most,
        "the count is neither too low nor too high",
    )
    eventually(
        lambda: counted(redis).get(theirs, 0) == others, "the other daemon's requests are all counted in the store"
    )
    before = sum(counted(redis).values())
    first.start()
    assert ask(first, KEY).status == 200
    # The killed daemon's file may contain a request that was not reported to Redis yet.
    eventually(
        lambda: before < sum(counted(redis).values()) <= others + most + 1,
        "the restarted daemon continues from its earlier count",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--requirepass", "open-sesame-1234"], "it refuses the password"),
        (["--maxmemory", "100kb", "--maxmemory-policy", "noeviction"], "it is full"),
        (["--replicaof", "127.0.0.1 9"], "it is read-only"),
    ],
    ids=["password", "full", "read-only"],
)
def test_a_store_that_refuses(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer, options: list[str], words: str
) -> None:
    redis.start(*options)
    secret = "a-wrong-password-77"
    url = redis.url.replace("//", f"//:{secret}@") if "--requirepass" in options else redis.url
    daemon = make_daemon(configuration(upstream, url, requests_per_minute=2))
    assert [ask(daemon, KEY).status for _ in range(3)] == [200, 200, 429]
    eventually(lambda: storage(daemon)["cause"] == words, "the status names the cause")
    assert f"storage: redis cannot be used ({words}); this daemon counts for itself until it can" in daemon.stderr
    assert secret not in daemon.stderr


def test_a_store_that_hangs_delays_no_request(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer
) -> None:
    redis.start()
    daemon = make_daemon(configuration(upstream, redis.url, requests_per_minute=3))
    assert ask(daemon, KEY).status == 200
    redis.freeze()
    assert [ask(daemon, KEY).status for _ in range(3)] == [200, 200, 429]
    eventually(lambda: storage(daemon)["state"] == "alone", "the daemon has noticed the outage")
    assert "no answer within 2 seconds" in daemon.stderr


class OldRedis:
    """A server that says it is Redis 3.2."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "OldRedis":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(PATIENCE)

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._server.accept()
            except OSError:
                return
            with link:
                while data := link.recv(65536):
                    if b"INFO\r\n$6\r\nserver" in data:
                        text = b"# Server\r\nredis_version:3.2.12\r\n"
                        link.sendall(b"$%d\r\n%s\r\n" % (len(text), text))
                    else:
                        link.sendall(b"+OK\r\n" * len(re.findall(rb"(?:^|\n)\*\d", data)))


def test_an_old_redis_is_recognised_by_its_version(upstream: Upstream, make_daemon: DaemonFactory) -> None:
    with OldRedis() as old:
        daemon = make_daemon(configuration(upstream, old.url, requests_per_minute=1))
        assert [ask(daemon, KEY).status for _ in range(2)] == [200, 429]
        words = "version 3.2.12 is too old: 5.0 or newer is needed"
        eventually(lambda: storage(daemon)["cause"] == words, "the status names the cause")
        assert words in daemon.stderr
        daemon.stop()


def test_storage_can_be_edited_while_the_daemon_runs(
    upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer
) -> None:
    redis.start()
    daemon = make_daemon(configuration(upstream, "memory", requests_per_day=1000))
    assert storage(daemon)["state"] == "memory"
    assert ask(daemon, KEY).status == 200
    daemon.edit_conf(lambda document: document.update(storage=redis.url))
    eventually(lambda: storage(daemon)["state"] == "shared", "the store is shared")
    eventually(lambda: sum(counted(redis).values()) == 1, "the earlier request is counted in the store")
    daemon.edit_conf(lambda document: document.pop("storage"))
    assert storage(daemon)["state"] == "memory"


def test_the_shell_reports_the_store(upstream: Upstream, make_daemon: DaemonFactory, redis: RedisServer) -> None:
    daemon = make_daemon(configuration(upstream, redis.url))
    assert "storage: redis cannot be used (connection refused)" in shell(daemon, "status").stdout
    checked = shell(daemon, "check", "--connect")
    assert "storage: redis cannot be used (connection refused)" in checked.stdout
    assert checked.returncode == 1
    redis.start()
    eventually(lambda: storage(daemon)["state"] == "shared", "the store is shared", timeout=MERGED)
    assert "storage: redis, shared by 1 daemon" in shell(daemon, "status").stdout
    assert "storage" not in shell(daemon, "check", "--connect").stdout


def shell(daemon: Daemon, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run one command beside the daemon."""
    state = ["--state-dir", str(daemon.state_dir)]
    command = [sys.executable, "-m", "openai_proxy", *words, "--config-dir", str(daemon.conf_dir), *state]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, cwd=daemon.root)
