"""`check_api_key`: the owner's function that says which group a key belongs to.

`callable(key) -> group`, sync or async. A group's name (or a tuple that begins with it) admits the key; None, False or
"" refuse it, and so does a group that is not configured; True means the group `default`. If the function raises, takes
longer than PATIENCE or returns something else, the key is refused with 500 `validator_error`: it fails closed.

A sync function runs in its own threads. Answers are cached for MEMORY seconds by the key's full SHA-256, so that a
stream of requests does not become a stream of calls, and a revoked key is refused soon.
"""

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable, Collection
from hashlib import sha256
from pathlib import Path
from typing import Any

from openai_proxy.errors import InternalError
from openai_proxy.exchange import Caller
from openai_proxy.plugin_loader import NameMissing, failure, file_of, find
from openai_proxy.tasks import spawn

log = logging.getLogger(__name__)

PATIENCE = 5.0
MEMORY = 10.0
MAX_REMEMBERED = 10_000
THREADS = 8

Check = Callable[[str], Any]


class Validator:
    """The owner's function in service. `check` None: it could not be loaded, and every key is refused."""

    def __init__(self, name: str, version: str, check: Check | None, *, clock: Callable[[], float] = time.monotonic):
        self.name = name
        self.version = version
        self._check = check
        self._clock = clock
        self._known: dict[bytes, tuple[float, str | None]] = {}
        self._asking: dict[bytes, asyncio.Task[str | None]] = {}
        self._threads = asyncio.Semaphore(THREADS)

    def fresh(self, key: str, groups: Collection[str], remote: str) -> tuple[bool, Caller | None]:
        """Whether the answer for `key` is known, and its caller (None: refused). Does not call the function."""
        digest = _digest(key)
        known = self._known.get(digest)
        if known is None or known[0] <= self._clock():
            return False, None
        return True, _caller(known[1], groups, digest, remote)

    async def ask(self, key: str, groups: Collection[str], remote: str) -> Caller | None:
        """The caller for `key`, None if it is refused. Raises InternalError (`validator_error`)."""
        known, caller = self.fresh(key, groups, remote)
        if known:
            return caller
        digest = _digest(key)
        task = self._asking.get(digest)
        if task is None:
            task = self._asking[digest] = spawn(self._ask(key, digest), name="check_api_key")
            task.add_done_callback(lambda _: self._asking.pop(digest, None))
        # Shielded: a client that leaves must not cancel the call for others waiting for the same key.
        answer = await asyncio.shield(task)
        if answer is _FAILED:
            raise InternalError("The API key could not be checked.", code="validator_error")
        return _caller(answer, groups, digest, remote)

    async def _ask(self, key: str, digest: bytes) -> str | None:
        if self._check is None:
            return _FAILED
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._call(key)
            group = _group(found)
        except TimeoutError:
            log.error("check_api_key %s: no answer within %g s", self.name, PATIENCE)
            return _FAILED
        except Exception as error:
            log.error("check_api_key %s: %s", self.name, type(error).__name__)  # its text may hold the key
            return _FAILED
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        self._known[digest] = (self._clock() + MEMORY, group)
        return group

    async def _call(self, key: str) -> Any:
        assert self._check is not None
        if inspect.iscoroutinefunction(self._check) or inspect.iscoroutinefunction(
            getattr(self._check, "__call__", None)  # noqa: B004 - an object whose __call__ is async
        ):
            return await self._check(key)
        found = await self._in_thread(self._check, key)
        return await found if inspect.isawaitable(found) else found

    async def _in_thread(self, check: Check, key: str) -> Any:
        """Call in a daemon thread: one that never returns must not keep the process from ending."""
        await self._threads.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def deliver(found: Any, error: BaseException | None) -> None:
            self._threads.release()
            if answer.done():
                return
            if error is None:
                answer.set_result(found)
            else:
                answer.set_exception(error)

        def run() -> None:
            found: Any = None
            failed: BaseException | None = None
            try:
                found = check(key)
            except BaseException as error:  # the code that waits must get any error
                failed = error if isinstance(error, Exception) else RuntimeError(type(error).__name__)
            try:
                loop.call_soon_threadsafe(deliver, found, failed)
            except RuntimeError:
                log.debug("check_api_key answered after the end")

        threading.Thread(target=run, name="check_api_key", daemon=True).start()
        return await answer


_FAILED = "\0failed"


def _digest(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogateescape")).digest()


def _group(found: Any) -> str | None:
    if isinstance(found, tuple) and found:
        found = found[0]
    if found is None or found is False or found == "":
        return None
    if found is True:
        return "default"
    if isinstance(found, str):
        return found
    raise TypeError(f"expected the name of a group or None, not {type(found).__name__}")


def _caller(group: str | None, groups: Collection[str], digest: bytes, remote: str) -> Caller | None:
    if group is None:
        return None
    if group not in groups:
        log.warning('check_api_key returned a group that is not configured: "%s"', group[:80])
        return None
    return Caller(remote, group, digest.hex()[:12], digest)


def load(dotted: str, config_dir: Path, previous: Validator | None) -> tuple[Validator, str | None]:
    """The validator called `dotted`, and what is wrong with it. Blocks: it may import anything.

    An unchanged one is `previous` itself. If it cannot be loaded, `previous` is kept if it has the same name; otherwise
    every key is refused until it can be.
    """
    path = file_of(dotted, config_dir)
    version = _version(path)
    if previous is not None and (previous.name, previous.version) == (dotted, version):
        return previous, None
    try:
        check = find(dotted, config_dir)
        if not callable(check):
            raise NameMissing(f"{dotted} cannot be called")
    except Exception as error:
        trouble = f"check_api_key: {failure(error)}"
        if previous is not None and previous.name == dotted:
            return previous, f"{trouble}; the previous one is kept"
        return Validator(dotted, "", None), f"{trouble}; every key is refused until it can be loaded"
    return Validator(dotted, version, check), None


def _version(path: Path | None) -> str:
    if path is None:
        return "sys.path"
    try:
        return sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
