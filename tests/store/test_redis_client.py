"""The client of a real Redis: records, notifications, sentinels, TLS, and why one cannot be used."""

import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from openai_proxy.store.redis_client import RecordChange, RedisClient, StoreFailure, words
from tests.harness.certificates import make_authority
from tests.harness.daemon import held_port, listens
from tests.harness.redis_server import PROGRAM, SERVERS, RedisServer, needs_redis
from tests.harness.waiting import PATIENCE, eventually

pytestmark = needs_redis


@pytest.fixture(scope="module", params=sorted(SERVERS))
def redis(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    """Each installed one of the two servers."""
    program = SERVERS[request.param]
    if program is None:
        pytest.skip(f"{request.param} is not installed")
    server = RedisServer(tmp_path_factory.mktemp("redis"), program=program).start()
    yield server
    server.close()


@asynccontextmanager
async def opened(url: str, origin: str = "me") -> AsyncIterator[RedisClient]:
    """A client that does not give up after two seconds on a busy machine."""
    with patch("openai_proxy.store.redis_client.PATIENCE", PATIENCE):
        client = await RedisClient.open(url, origin)
        try:
            yield client
        finally:
            await client.aclose()


def change(name: str, at: float, value: object, *, notification: bool = True) -> RecordChange:
    return RecordChange("things", name, at, 60.0, value, notification)


async def test_the_newer_record_stays_and_is_published(redis: RedisServer) -> None:
    async with opened(redis.url) as client, opened(redis.url, "other") as other:
        await client.write([change("a", 2.0, {"n": 1}), change("a", 1.0, {"n": 0}), change("b", 1.0, None)])
        assert await client.fetch("things", "a") == ("a", 2.0, {"n": 1})
        assert await other.fetch("things", "nothing") is None
        await other.ping("after all")
        heard = [await other.notification(PATIENCE) for _ in range(3)]
        assert [(n.name, n.origin, n.at, n.value) for n in heard if n and n.table] == [
            ("a", "me", 2.0, {"n": 1}), ("b", "me", 1.0, None),
        ]  # fmt: skip
        assert heard[2] is not None
        assert heard[2].name == "after all", "the answer to a ping must come after all earlier notifications"
        assert sorted(await client.names("things")) == ["a", "b"]


async def test_records_that_no_other_needs_are_not_published(redis: RedisServer) -> None:
    async with opened(redis.url) as client, opened(redis.url, "other") as other:
        await client.write([change("quiet", 1.0, 1, notification=False)])
        await other.ping("next")
        notification = await other.notification(PATIENCE)
        assert (notification.table, notification.name) == ("", "next") if notification is not None else False


async def test_one_call_writes_and_reads(redis: RedisServer) -> None:
    async with opened(redis.url, "one") as one, opened(redis.url, "two") as two:
        assert await one.present()
        assert len(await two.present()) >= 2
        await one.write([change("key@one", 1.0, [3])])
        found = await two.exchange(change("key@two", 1.0, [4]), "key@")
        assert {record.name: record.value for record in found} == {"key@one": [3], "key@two": [4]}


async def test_a_table_is_bounded(redis: RedisServer) -> None:
    async with opened(redis.url) as client:
        await client.write([RecordChange("many", str(n), 1.0, 60.0 + n, n, notification=False) for n in range(30)])
        await client.tidy(["many"], 10)
        left = [record.name async for page in client.read("many") for record in page]
        assert sorted(map(int, left)) == list(range(20, 30))


async def test_a_master_is_found_by_its_sentinel(redis: RedisServer, tmp_path: Path) -> None:
    assert PROGRAM is not None
    with held_port() as port:
        conf = tmp_path / "sentinel.conf"
        conf.write_text(f"port {port}\nbind 127.0.0.1\nsentinel monitor house 127.0.0.1 {redis.port} 1\n")
        sentinel = subprocess.Popen(
            [PROGRAM, str(conf), "--sentinel"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path
        )
        try:
            eventually(lambda: listens(port), "the sentinel listens")
            async with opened(f"redis+sentinel://127.0.0.1:{port}/house/0") as client:
                assert await client.present()
            with pytest.raises(StoreFailure, match="no sentinel knows its master"):
                await RedisClient.open(f"redis+sentinel://127.0.0.1:{port}/nobody", "me")
        finally:
            sentinel.terminate()
            sentinel.wait(PATIENCE)


async def test_tls_needs_the_right_authority(tmp_path: Path) -> None:
    ca_file, both = make_authority(tmp_path).ca_file, tmp_path / "server.pem"
    with held_port() as port:
        options = ["--tls-port", str(port), "--tls-cert-file", str(both), "--tls-key-file", str(both)]
        options += ["--tls-ca-cert-file", str(ca_file), "--tls-auth-clients", "no"]
        server = RedisServer(tmp_path).start(*options)
        try:
            async with opened(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca_file}") as client:
                assert len(await client.present()) == 1
            with pytest.raises(StoreFailure, match="its certificate is not trusted"):
                await RedisClient.open(f"rediss://127.0.0.1:{port}/0", "me")
        finally:
            server.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ResponseError("WRONGPASS invalid username-password pair"), "it refuses the password"),
        (ResponseError("NOAUTH Authentication required."), "it requires a password"),
        (
            ResponseError("NOPERM this user has no permissions to run the 'evalsha' command"),
            "its user lacks permissions",
        ),
        (ReadOnlyError("You can't write against a read only replica."), "it is read-only"),
        (OutOfMemoryError("command not allowed when used memory > 'maxmemory'."), "it is full"),
        (ResponseError("MISCONF Redis is configured to save RDB snapshots, but…"), "it cannot write to its disk"),
        (RedisConnectionError("Error 111 connecting to 10.1.2.3:6379. Connection refused."), "connection refused"),
        (
            RedisConnectionError("Error -2 connecting to redis.lan:6379. Name or service not known."),
            "its name is not known",
        ),
        (RedisConnectionError("Connection closed by server."), "it closed the connection"),
        (ssl.SSLCertVerificationError("certificate verify failed: self-signed certificate"), "its certificate"),
        (TimeoutError(), "no answer within 2 seconds"),
        (ResponseError("ERR unknown command 'EVALSHA'"), "it answers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_causes_do_not_contain_addresses(error: Exception, said: str) -> None:
    told = words(error)
    assert told.startswith(said)
    assert "10.1.2.3" not in told
    assert "redis.lan" not in told
