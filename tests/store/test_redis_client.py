"""The words spoken to a real Redis: records, news, sentinels, TLS, and why one cannot be used."""

import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from openai_proxy.store.redis_client import RecordChange, RedisClient, StoreFailure, words
from tests.harness.certificates import make_authority
from tests.harness.daemon import held_port
from tests.harness.redis_server import PROGRAM, RedisServer, needs_redis
from tests.harness.waiting import PATIENCE, eventually

pytestmark = needs_redis


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis")).start()
    yield server
    server.close()


@asynccontextmanager
async def opened(url: str, origin: str = "me") -> AsyncIterator[RedisClient]:
    client = await RedisClient.open(url, origin)
    try:
        yield client
    finally:
        await client.aclose()


def change(name: str, at: float, value: object, *, news: bool = True) -> RecordChange:
    return RecordChange("things", name, at, 60.0, value, news)


async def test_the_newer_record_stays_and_is_told(redis: RedisServer) -> None:
    async with opened(redis.url) as client, opened(redis.url, "other") as other:
        await client.write([change("a", 2.0, {"n": 1}), change("a", 1.0, {"n": 0}), change("b", 1.0, None)])
        assert await client.fetch("things", "a") == ("a", 2.0, {"n": 1})
        assert await other.fetch("things", "nothing") is None
        await other.ping("after all")
        heard = [await other.news(PATIENCE) for _ in range(3)]
        assert [(news.name, news.origin, news.at, news.value) for news in heard if news and news.table] == [
            ("a", "me", 2.0, {"n": 1}), ("b", "me", 1.0, None),
        ]  # fmt: skip
        assert heard[2] is not None
        assert heard[2].name == "after all", "the answer to a ping comes behind all news"
        assert sorted(await client.names("things")) == ["a", "b"]


async def test_what_nobody_has_to_know_is_not_told(redis: RedisServer) -> None:
    async with opened(redis.url) as client, opened(redis.url, "other") as other:
        await client.write([change("quiet", 1.0, 1, news=False)])
        await other.ping("next")
        news = await other.news(PATIENCE)
        assert (news.table, news.name) == ("", "next") if news is not None else False


async def test_one_question_writes_and_reads(redis: RedisServer) -> None:
    async with opened(redis.url, "one") as one, opened(redis.url, "two") as two:
        assert await one.present() >= 1
        assert await two.present() >= 2
        await one.write([change("key@one", 1.0, [3])])
        found = await two.exchange(change("key@two", 1.0, [4]), "key@")
        assert {record.name: record.value for record in found} == {"key@one": [3], "key@two": [4]}


async def test_a_table_is_bounded(redis: RedisServer) -> None:
    async with opened(redis.url) as client:
        await client.write([RecordChange("many", str(n), 1.0, 60.0 + n, n, news=False) for n in range(30)])
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
            eventually(lambda: _listens(port), "the sentinel listens")
            async with opened(f"redis+sentinel://127.0.0.1:{port}/house/0") as client:
                assert await client.present() >= 1
            with pytest.raises(StoreFailure, match="no sentinel knows its master"):
                await RedisClient.open(f"redis+sentinel://127.0.0.1:{port}/nobody", "me")
        finally:
            sentinel.terminate()
            sentinel.wait(PATIENCE)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_by_tls_and_only_with_its_authority(tmp_path: Path) -> None:
    ca_file, both = make_authority(tmp_path).ca_file, tmp_path / "server.pem"
    with held_port() as port:
        options = ["--tls-port", str(port), "--tls-cert-file", str(both), "--tls-key-file", str(both)]
        options += ["--tls-ca-cert-file", str(ca_file), "--tls-auth-clients", "no"]
        server = RedisServer(tmp_path).start(*options)
        try:
            async with opened(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={ca_file}") as client:
                assert await client.present() == 1
            with pytest.raises(StoreFailure, match="its certificate is not trusted"):
                await RedisClient.open(f"rediss://127.0.0.1:{port}/0", "me")
        finally:
            server.close()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ResponseError("WRONGPASS invalid username-password pair"), "it refuses the password"),
        (ResponseError("NOAUTH Authentication required."), "it wants a password"),
        (ResponseError("NOPERM this user has no permissions to run the 'evalsha' command"), "its user may not"),
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
def test_causes_are_told_without_addresses(error: Exception, said: str) -> None:
    told = words(error)
    assert told.startswith(said)
    assert "10.1.2.3" not in told
    assert "redis.lan" not in told
