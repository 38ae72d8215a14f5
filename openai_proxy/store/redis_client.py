"""Redis or Valkey, with the few operations that shared state needs. Imported only if `storage` names one.

    openai-proxy:TABLE:NAME     a record: "TIME VALUE", with an expiry
    openai-proxy:TABLE          a sorted set of the names, by expiry
    openai-proxy:daemons        a sorted set of the daemons, by last sign of life
    openai-proxy:news           the channel on which changes are announced

Redis 5 is the oldest that is supported; everything used here is older than that.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import (
    TimeoutError as RedisTimeout,
)

from openai_proxy.dialects import json_text

PREFIX: Final = "openai-proxy"
PATIENCE: Final = 2.0  # seconds for one answer
OLDEST: Final = 5
PRESENT: Final = 10.0  # seconds since its last sign of life for which a daemon counts as running
REMEMBERED: Final = 32 * 86400.0  # seconds for which a daemon's counters remain relevant
PAGE: Final = 100  # records written or read at once

log = logging.getLogger(__name__)

_DAEMONS: Final = f"{PREFIX}:daemons"
_NEWS: Final = f"{PREFIX}:news"

_PUT: Final = """
for i = 1, #KEYS, 2 do
  local at, ttl, ends, name, value, news = unpack(ARGV, i * 3 - 1, i * 3 + 4)
  local known = tonumber(string.match(redis.call('GETRANGE', KEYS[i], 0, 31), '^%S+'))
  if not known or known < tonumber(at) then
    redis.call('SET', KEYS[i], at .. ' ' .. value, 'PX', ttl)
    redis.call('ZADD', KEYS[i + 1], ends, name)
    if news ~= '' then redis.call('PUBLISH', ARGV[1], news .. '\\n' .. at .. ' ' .. value) end
  end
end
"""
_EXCHANGE: Final = (
    _PUT
    + """
local found = {}
for _, daemon in ipairs(redis.call('ZRANGE', ARGV[#ARGV - 1], 0, -1)) do
  local value = redis.call('GET', ARGV[#ARGV] .. daemon)
  if value then
    found[#found + 1] = daemon
    found[#found + 1] = value
  end
end
return found
"""
)


class StoreFailure(Exception):
    """The store cannot be used now; the text says why, without its address."""


class RecordChange(NamedTuple):
    """A record to write. `value` None: it was removed. `notification`: announce it."""

    table: str
    name: str
    at: float
    ttl: float  # seconds
    value: Any
    notification: bool


class StoredRecord(NamedTuple):
    """A record as the store has it."""

    name: str
    at: float
    value: Any


class StoreNews(NamedTuple):
    """A message on the channel: a record that `origin` changed, or (`table` empty) the answer to a ping."""

    table: str
    name: str
    origin: str
    at: float
    value: Any


class RedisClient:
    """One connection pool and one subscription. Every method raises StoreFailure."""

    def __init__(self, redis: Redis, sentinels: Sequence[Redis], origin: str) -> None:
        self._redis = redis
        self._sentinels = sentinels
        self._origin = origin
        self._notifications: PubSub | None = None
        self._put = self._exchange = ""

    @classmethod
    async def open(cls, url: str, origin: str) -> "RedisClient":
        """Connect, check the version, subscribe to announcements."""
        client = cls(*_redis(url), origin)
        try:
            await client._begin()
        except BaseException:
            await client.aclose()
            raise
        return client

    async def _begin(self) -> None:
        redis = self._redis
        info = await _answer(redis.info("server"))
        version = str(info.get("redis_version", ""))
        if version.partition(".")[0].isdigit() and int(version.partition(".")[0]) < OLDEST:
            raise StoreFailure(f"version {version} is too old: {OLDEST}.0 or newer is needed")
        self._put = await _answer(redis.script_load(_PUT))
        self._exchange = await _answer(redis.script_load(_EXCHANGE))
        self._notifications = redis.pubsub()
        await _answer(self._notifications.subscribe(_NEWS))
        await _answer(self._notifications.get_message(timeout=PATIENCE))

    async def write(self, changes: Sequence[RecordChange]) -> None:
        """Write `changes`, unless the store has something newer."""
        now = time.time()
        for first in range(0, len(changes), PAGE):
            keys, arguments = self._written(changes[first : first + PAGE], now)
            await _answer(self._redis.evalsha(self._put, len(keys), *keys, *arguments))

    async def exchange(self, change: RecordChange, prefix: str) -> list[StoredRecord]:
        """Write `change`; returns what all daemons have under `prefix` and their own name."""
        keys, arguments = self._written([change], time.time())
        record = f"{PREFIX}:{change.table}:{prefix}"
        found = await _answer(self._redis.evalsha(self._exchange, len(keys), *keys, *arguments, _DAEMONS, record))
        return [_found(prefix + found[n].decode(), found[n + 1]) for n in range(0, len(found), 2)]

    def _written(self, changes: Iterable[RecordChange], now: float) -> tuple[list[str], list[Any]]:
        keys: list[str] = []
        arguments: list[Any] = [_NEWS]
        for change in changes:
            keys += [f"{PREFIX}:{change.table}:{change.name}", f"{PREFIX}:{change.table}"]
            notification = json_text.dumps([change.table, change.name, self._origin]) if change.notification else b""
            ttl = max(change.ttl, 1.0)
            value = json_text.dumps(change.value)
            arguments += [f"{change.at:.6f}", int(ttl * 1000), int(now + ttl), change.name, value, notification]
        return keys, arguments

    async def names(self, table: str) -> list[str]:
        """The names of every record of a table."""
        found = await _answer(self._redis.zrangebyscore(f"{PREFIX}:{table}", int(time.time()), "+inf"))
        return [name.decode() for name in found]

    async def read(
        self, table: str, wanted: Callable[[str], bool] = lambda _: True
    ) -> AsyncIterator[list[StoredRecord]]:
        """Every record of a table whose name is `wanted`, in batches."""
        names = [name for name in await self.names(table) if wanted(name)]
        for first in range(0, len(names), PAGE):
            page = names[first : first + PAGE]
            values = await _answer(self._redis.mget([f"{PREFIX}:{table}:{name}" for name in page]))
            yield [_found(name, value) for name, value in zip(page, values, strict=True) if value is not None]

    async def fetch(self, table: str, name: str) -> StoredRecord | None:
        """One record."""
        value = await _answer(self._redis.get(f"{PREFIX}:{table}:{name}"))
        return None if value is None else _found(name, value)

    async def present(self) -> frozenset[str]:
        """Report that this daemon is running; returns all that are."""
        now = time.time()
        await _answer(self._redis.zadd(_DAEMONS, {self._origin: now}))
        found = await _answer(self._redis.zrangebyscore(_DAEMONS, now - PRESENT, "+inf"))
        return frozenset(name.decode() for name in found)

    async def tidy(self, tables: Iterable[str], most: int) -> None:
        """Remove the names of expired records, and the oldest beyond `most` records of a table."""
        now = int(time.time())
        await _answer(self._redis.zremrangebyscore(_DAEMONS, "-inf", now - REMEMBERED))
        for table in tables:
            await _answer(self._redis.zremrangebyscore(f"{PREFIX}:{table}", "-inf", now))
            over = await _answer(self._redis.zcard(f"{PREFIX}:{table}")) - most
            if over > 0:
                names = await _answer(self._redis.zrange(f"{PREFIX}:{table}", 0, over - 1))
                await _answer(self._redis.delete(*(f"{PREFIX}:{table}:{name.decode()}" for name in names)))
                await _answer(self._redis.zrem(f"{PREFIX}:{table}", *names))

    async def ping(self, word: str) -> None:
        """Publish `word` on the channel; it arrives after all earlier announcements."""
        if self._notifications is not None:
            await _answer(self._notifications.ping(word))

    async def notification(self, seconds: float) -> StoreNews | None:
        """The next announcement, None if there is none in time."""
        assert self._notifications is not None
        try:
            message = await self._notifications.get_message(timeout=seconds)
        except Exception as error:
            raise StoreFailure(words(error)) from None
        if message is None or message["type"] not in ("message", "pong"):
            return None
        data: bytes = message["data"]
        if message["type"] == "pong":
            return StoreNews("", data.decode(), "", 0.0, None)
        head, _, record = data.partition(b"\n")
        try:
            table, name, origin = json_text.loads(head)
            found = _found(name, record)
        except (ValueError, TypeError):
            return None  # another program's
        return StoreNews(table, found.name, origin, found.at, found.value)

    async def aclose(self) -> None:
        """Close. Raises nothing."""
        try:
            async with asyncio.timeout(PATIENCE):
                if self._notifications is not None:
                    await self._notifications.aclose()  # type: ignore[no-untyped-call]
                for redis in (self._redis, *self._sentinels):
                    await redis.aclose()
        except Exception as error:
            log.debug("redis: closing failed: %s", type(error).__name__)


async def _answer(asked: Awaitable[Any]) -> Any:
    try:
        async with asyncio.timeout(PATIENCE):
            return await asked
    except Exception as error:  # the library also raises internal errors if a connection was closed
        raise StoreFailure(words(error)) from None


def _found(name: str, stored: bytes) -> StoredRecord:
    at, _, value = stored.partition(b" ")
    return StoredRecord(name, float(at), json_text.loads(value))


def words(error: BaseException) -> str:
    """Why a store cannot be used, for people: without address or password."""
    text = str(error)
    if isinstance(error, AuthenticationError) or text.startswith(("WRONGPASS", "NOAUTH")):
        return "it refuses the password" if "required" not in text.lower() else "it requires a password"
    if isinstance(error, (AuthorizationError, NoPermissionError)) or text.startswith("NOPERM"):
        return "its user lacks permissions that are needed here"
    if isinstance(error, ReadOnlyError) or text.startswith("READONLY"):
        return "it is read-only"
    if isinstance(error, OutOfMemoryError) or "maxmemory" in text:
        return "it is full"
    if "MISCONF" in text:
        return "it cannot write to its disk"
    if isinstance(error, BusyLoadingError):
        return "it is still reading its data"
    if isinstance(error, MasterNotFoundError):
        return "no sentinel knows its master"
    if isinstance(error, (RedisTimeout, TimeoutError)):
        return f"no answer within {PATIENCE:g} seconds"
    if isinstance(error, ResponseError):
        return f"it answers {text[:80]!r}"
    if isinstance(error, (RedisConnectionError, OSError)):
        return _connection_words(error)
    log.debug("redis: %s", type(error).__name__, exc_info=error)
    return "the connection failed"


def _connection_words(error: BaseException) -> str:
    chain = [known for known in (error, error.__cause__, error.__context__) if known is not None]
    if any(isinstance(known, ConnectionRefusedError) for known in chain):
        return "connection refused"
    text = " ".join(map(str, chain)).lower()
    for found, reason in (
        ("refused", "connection refused"), ("certificate", "its certificate is not trusted"), ("ssl", "TLS failed"),
        ("name or service", "its name is not known"), ("getaddrinfo", "its name is not known"),
        ("name resolution", "its name is not known"), ("no such file", "there is no such socket"),
        ("closed", "it closed the connection"), ("reset", "it closed the connection"),
    ):  # fmt: skip
        if found in text:
            return reason
    return "no connection"


def _redis(url: str) -> tuple[Redis, Sequence[Redis]]:
    """A client for `url`, and those of the sentinels that it uses. Raises StoreFailure for an invalid one."""
    options: dict[str, Any] = {
        "socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "retry": Retry(NoBackoff(), 0), "protocol": 2,
    }  # fmt: skip
    try:
        if url.startswith("redis+sentinel://"):
            return _by_sentinel(url, options)
        return Redis.from_url(url.replace("redis+unix://", "unix://", 1), max_connections=16, **options), ()
    except ValueError:
        raise StoreFailure("its URL cannot be read") from None


def _by_sentinel(url: str, options: dict[str, Any]) -> tuple[Redis, Sequence[Redis]]:
    """With sentinels: `redis+sentinel://[user:password@]host[:port],host[:port]…/service[/database]`."""
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not hosts:
        raise ValueError(url)
    known = []
    for host in hosts.split(","):
        name, port = host, "26379"
        if not host.endswith("]") and ":" in host:
            name, _, port = host.rpartition(":")
        known.append((name.strip("[]"), int(port)))
    query = dict(parse_qsl(parts.query))
    if user or password:
        options |= {"username": unquote(user) or None, "password": unquote(password)}
    asked = {name: options[name] for name in ("socket_timeout", "socket_connect_timeout", "retry", "protocol")}
    if query.get("sentinel_password"):
        asked["password"] = query["sentinel_password"]
    sentinel = Sentinel(known, sentinel_kwargs=asked, db=int(database or 0), **options)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(service)
    return master, sentinel.sentinels
