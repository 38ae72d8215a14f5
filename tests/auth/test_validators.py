"""check_api_key: possible answers of a function, what happens if it fails, and how it is loaded."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from openai_proxy.auth import validators
from openai_proxy.auth.validators import Validator, load
from openai_proxy.errors import InternalError

GROUPS = frozenset({"family", "default"})


async def group_of(answer: Any) -> str | None:
    """The group of the caller if the function returns `answer`."""
    found = Validator("v.check", "1", lambda key: answer)
    caller = await found.ask("key", GROUPS, "10.0.0.1")
    return caller.group if caller is not None else None


@pytest.mark.parametrize(
    ("answer", "group"),
    [
        ("family", "family"),
        (("family", {"name": "Ann"}), "family"),
        (True, "default"),
        (None, None),
        (False, None),
        ("", None),
        ("strangers", None),
    ],
)
async def test_meanings_of_answers(answer: Any, group: str | None) -> None:
    assert await group_of(answer) == group


@pytest.mark.parametrize("answer", [5, ["family"], b"family", {}])
async def test_an_invalid_answer_fails_closed(answer: Any) -> None:
    with pytest.raises(InternalError) as caught:
        await group_of(answer)
    assert (caught.value.status, caught.value.code) == (500, "validator_error")


async def test_an_exception_fails_closed_and_is_not_revealed(caplog: pytest.LogCaptureFixture) -> None:
    def check(key: str) -> str:
        raise KeyError(key)

    with pytest.raises(InternalError) as caught:
        await Validator("v.check", "1", check).ask("sk-secret-1", GROUPS, "10.0.0.1")
    assert "sk-secret-1" not in str(caught.value) + caplog.text


async def test_a_slow_validator_fails_closed_and_delays_no_other_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(validators, "PATIENCE", 0.05)
    over = threading.Event()
    try:
        slow = Validator("v.check", "1", lambda key: over.wait(30))
        with pytest.raises(InternalError):
            await slow.ask("key", GROUPS, "10.0.0.1")
    finally:
        over.set()


async def test_async_functions_and_objects() -> None:
    class Asking:
        async def __call__(self, key: str) -> str:
            return "family"

    async def check(key: str) -> str:
        return "family"

    for function in (check, Asking(), lambda key: check(key)):
        caller = await Validator("v.check", "1", function).ask("key", GROUPS, "10.0.0.1")
        assert caller is not None
        assert caller.group == "family"


async def test_an_answer_is_remembered_for_a_while_by_the_whole_key() -> None:
    asked: list[str] = []
    now = [100.0]

    def check(key: str) -> str:
        asked.append(key)
        return "family"

    found = Validator("v.check", "1", check, clock=lambda: now[0])
    keys = ["k" * 40 + "1", "k" * 40 + "2"]
    for key in keys * 3:
        await found.ask(key, GROUPS, "10.0.0.1")
    assert asked == keys
    assert found.fresh(keys[0], GROUPS, "10.0.0.2")[0]
    now[0] += validators.MEMORY
    assert found.fresh(keys[0], GROUPS, "10.0.0.2") == (False, None)


async def test_concurrent_checks_of_a_key_are_one_call() -> None:
    gate = asyncio.Event()
    calls = 0

    async def check(key: str) -> str:
        nonlocal calls
        calls += 1
        await gate.wait()
        return "family"

    found = Validator("v.check", "1", check)
    asking = [asyncio.ensure_future(found.ask("key", GROUPS, "10.0.0.1")) for _ in range(5)]
    await asyncio.sleep(0)
    asking[0].cancel()  # a client that disconnects does not cancel the check for the others
    gate.set()
    results = await asyncio.gather(*asking, return_exceptions=True)
    assert calls == 1
    assert [getattr(r, "group", None) for r in results[1:]] == ["family"] * 4


def test_a_validator_is_loaded_from_conf_and_reloaded_with_it(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def check(key): return 'one'\n")
    first, trouble = load("mine.check", tmp_path, None)
    assert trouble is None
    assert load("mine.check", tmp_path, first)[0] is first
    file.write_text("def check(key): return 'two!'\n")
    second, trouble = load("mine.check", tmp_path, first)
    assert trouble is None
    assert second is not first


def test_a_failed_import_keeps_the_previous_validator(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def check(key): return 'one'\n")
    first, _ = load("mine.check", tmp_path, None)
    file.write_text("def check(key) return\n")
    kept, trouble = load("mine.check", tmp_path, first)
    assert kept is first
    assert trouble is not None
    assert "is kept" in trouble


@pytest.mark.parametrize("dotted", ["nowhere_at_all.check", "mine.absent", "mine.NUMBER"])
async def test_a_missing_validator_refuses_everybody(dotted: str, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("NUMBER = 5\n")
    found, trouble = load(dotted, tmp_path, None)
    assert trouble is not None
    with pytest.raises(InternalError):
        await found.ask("key", GROUPS, "10.0.0.1")
