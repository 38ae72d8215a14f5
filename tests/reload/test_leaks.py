"""Many reloads leave nothing behind, and a reload never blocks the loop for long. For full counts see `figures.py`."""

import asyncio
import gc
import os
import threading
from pathlib import Path

import pytest

from openai_proxy.runtime import reload
from tests.harness.waiting import turning_until
from tests.reload.process import lag, reloading, write_configuration, write_model

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read files without waiting until they are stable: nothing else writes them here."""
    monkeypatch.setattr(reload, "SETTLE", 0.0)


def held() -> dict[str, int]:
    gc.collect()
    tasks, fds = len(asyncio.all_tasks()), sum(1 for _ in Path("/proc/self/fd").iterdir())
    return {"fds": fds, "tasks": tasks, "threads": threading.active_count()}


async def test_hundreds_of_reloads_leave_nothing_behind(tmp_path: Path) -> None:
    write_configuration(tmp_path / "conf", 5)
    async with reloading(tmp_path) as (state, reloads):

        async def edit(count: int) -> None:
            for number in range(count):
                write_model(tmp_path / "conf", number % 5, f"owner{number % 3}")
                if number % 10 == 0:
                    (tmp_path / "conf" / "models" / "m5.yaml").write_text("name: [\n" if number % 20 else "name: m5\n")
                await reloads.ask()
            await turning_until(lambda: not len(state.leases), "every configuration but the last is released")

        state.leases._grace = 0.01
        barrier = threading.Barrier(min(32, (os.cpu_count() or 1) + 4))
        await asyncio.gather(
            *(asyncio.to_thread(barrier.wait, 10) for _ in range(barrier.parties))
        )  # start all threads of the executor
        await edit(60)
        before, objects = held(), len(gc.get_objects())
        number = state.generation.number
        await edit(300)
        assert state.generation.number >= number + 290
        # Fewer are fine: leftovers of earlier tests may have been closed.
        await turning_until(
            lambda: all(n <= before[what] for what, n in held().items()), f"counts are back at {before} or below"
        )
        assert len(gc.get_objects()) - objects < 300  # not one per reload


async def test_a_reload_of_two_hundred_models_leaves_the_loop_free(tmp_path: Path) -> None:
    """Everything slow is done in a thread: of 250 ms of work the loop has 5 to 10 ms at a time."""
    write_configuration(tmp_path / "conf", 200)
    async with reloading(tmp_path) as (state, reloads):
        async with lag() as late:
            for number in range(200):
                write_model(tmp_path / "conf", number, "second")
            late.clear()
            assert (await reloads.ask())["changed"]
        assert len(late) > 10, "the event loop was blocked during the reload"
        assert state.generation.snapshot.models["house/m199"].owned_by == "second"


async def test_unchanged_models_are_the_same_objects(tmp_path: Path) -> None:
    write_configuration(tmp_path / "conf", 20)
    async with reloading(tmp_path) as (state, reloads):
        before = state.generation
        write_model(tmp_path / "conf", 7, "second")
        await reloads.ask()
        after = state.generation
        assert before.augmented is not None
        assert after.augmented is not None
        same = [name for name, model in after.augmented.models.items() if model is before.augmented.models[name]]
        assert len(same) == 19
        assert after.providers["offline"] is before.providers["offline"]
        (tmp_path / "conf" / "skills" / "skill0.md").write_text("# Skill 0\nOtherwise.\n")
        await reloads.ask()
        assert state.generation.augmented is not None
        assert all(
            model is not after.augmented.models[name] for name, model in state.generation.augmented.models.items()
        )


async def test_a_hundred_concurrent_requests_are_one_reload(tmp_path: Path) -> None:
    write_configuration(tmp_path / "conf", 1)
    async with reloading(tmp_path) as (state, reloads):
        write_model(tmp_path / "conf", 0, "second")
        answers = await asyncio.gather(*(reloads.ask() for _ in range(100)))
        assert {(answer["changed"], answer["generation"]) for answer in answers} == {(True, 2)}
        assert state.generation.number == 2


async def test_files_saved_during_a_reload_are_read_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_configuration(tmp_path / "conf", 1)
    async with reloading(tmp_path) as (state, reloads):
        loop, reading, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
        prepare = reload.prepare

        def slowly(*arguments: object) -> object:
            found = prepare(*arguments)  # type: ignore[arg-type]  # as given
            loop.call_soon_threadsafe(reading.set)
            assert go_on.wait(10)
            return found

        monkeypatch.setattr(reload, "prepare", slowly)
        write_model(tmp_path / "conf", 0, "second")
        first = asyncio.ensure_future(reloads.ask())
        await asyncio.wait_for(reading.wait(), 10)
        write_model(tmp_path / "conf", 0, "third")
        second = asyncio.ensure_future(reloads.ask())
        go_on.set()
        await asyncio.gather(first, second)
        assert state.generation.snapshot.models["house/m0"].owned_by == "third"


async def test_a_reload_that_crashes_changes_nothing_and_the_next_one_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_configuration(tmp_path / "conf", 1)
    async with reloading(tmp_path) as (state, reloads):
        write_model(tmp_path / "conf", 0, "second")
        with monkeypatch.context() as broken:
            broken.setattr(reload, "make", lambda *_: 1 / 0)
            with pytest.raises(reload.InternalError):
                await reloads.ask()
        assert "the reload failed" in caplog.text
        assert state.generation.number == 1
        assert (await reloads.ask())["changed"]
        assert state.generation.snapshot.models["house/m0"].owned_by == "second"
