import asyncio
import threading

import pytest

from openai_proxy.tools.workers import MAX_IDLE, DeadlinePassed, Workers, WorkersExhausted
from tests.harness.waiting import PATIENCE, turning_until


async def all_ended(workers: Workers) -> None:
    await turning_until(lambda: not workers.abandoned, "every abandoned thread has ended")


async def test_a_function_runs_in_another_thread_and_its_value_comes_back():
    assert await Workers().run(threading.get_ident, timeout=PATIENCE) != threading.get_ident()


async def test_what_a_function_raises_is_raised():
    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await Workers().run(leave, timeout=PATIENCE)


async def test_a_hanging_function_is_abandoned_and_counted_until_it_ends():
    workers, release = Workers(), threading.Event()
    with pytest.raises(DeadlinePassed):
        await workers.run(release.wait, timeout=0.02)
    assert (workers.running, workers.abandoned) == (0, 1)
    release.set()
    await all_ended(workers)


async def test_hanging_functions_do_not_starve_others_and_are_bounded():
    workers, release = Workers(running=1, abandoned=2), threading.Event()
    for _ in range(2):
        with pytest.raises(DeadlinePassed):
            await workers.run(release.wait, timeout=0.02)
    with pytest.raises(WorkersExhausted):
        await workers.run(release.wait, timeout=0.02)
    release.set()
    await all_ended(workers)
    assert await workers.run(lambda: 7, timeout=PATIENCE) == 7


async def test_the_number_of_concurrent_functions_is_limited():
    workers, lock, now, most = Workers(running=3), threading.Lock(), 0, 0
    gate = threading.Event()

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        gate.wait(PATIENCE)
        with lock:
            now -= 1

    calls = [asyncio.ensure_future(workers.run(work, timeout=PATIENCE)) for _ in range(9)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*calls)
    assert most <= 3
    assert workers.running == 0


async def test_a_cancelled_wait_for_a_place_leaves_no_trace():
    workers, release = Workers(running=1), threading.Event()
    first = asyncio.ensure_future(workers.run(release.wait, timeout=PATIENCE))
    await asyncio.sleep(0)
    second = asyncio.ensure_future(workers.run(lambda: 1, timeout=PATIENCE))
    await asyncio.sleep(0)
    second.cancel()
    release.set()
    assert await first
    assert await workers.run(lambda: 2, timeout=PATIENCE) == 2
    assert workers.running == 0


async def test_cancelled_waits_do_not_pile_up():
    workers, release = Workers(running=1), threading.Event()
    first = asyncio.ensure_future(workers.run(release.wait, timeout=PATIENCE))
    await asyncio.sleep(0)
    for _ in range(20):
        other = asyncio.ensure_future(workers.run(lambda: 1, timeout=PATIENCE))
        await asyncio.sleep(0)
        other.cancel()
        await asyncio.wait([other])
        assert not workers._waiting
    release.set()
    assert await first
    assert workers.running == 0


async def test_a_timeout_error_of_the_function_is_its_own():
    def late() -> None:
        raise TimeoutError("the server at the other end")

    with pytest.raises(TimeoutError) as error:
        await Workers().run(late, timeout=PATIENCE)
    assert not isinstance(error.value, DeadlinePassed)


async def test_idle_threads_are_reused_and_abandoned_ones_once_they_have_ended():
    workers, release = Workers(), threading.Event()
    first = await workers.run(threading.get_ident, timeout=PATIENCE)
    assert await workers.run(threading.get_ident, timeout=PATIENCE) == first
    with pytest.raises(DeadlinePassed):
        await workers.run(release.wait, timeout=0.02)
    other = await workers.run(threading.get_ident, timeout=PATIENCE)
    assert other != first, "the abandoned thread is still busy and must not be reused"
    release.set()
    await all_ended(workers)
    assert await workers.run(threading.get_ident, timeout=PATIENCE) == first


async def test_unneeded_threads_end():
    before = threading.active_count()
    workers, gate = Workers(running=12), threading.Event()
    calls = [asyncio.ensure_future(workers.run(lambda: gate.wait(PATIENCE), timeout=PATIENCE)) for _ in range(12)]
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(*calls)
    await few(before + MAX_IDLE)
    del workers
    await few(before)


async def few(threads: int) -> None:
    await turning_until(lambda: threading.active_count() <= threads, f"at most {threads} threads are left")
