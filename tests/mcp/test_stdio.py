"""A stdio server from start to end, and everything that can go wrong."""

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest

from openai_proxy.secrets import vault
from openai_proxy.tools.base import CallContext
from openai_proxy.tools.toolbox import Toolbox
from tests.harness.waiting import PATIENCE

from .conftest import House, eventually, fault


async def test_a_server_is_started_listed_and_called(house: House) -> None:
    await house.start(fault())
    assert "echo" in house.status()["tools"]
    assert house.status()["state"] == "ready"
    assert house.status()["protocol"] == "2025-06-18"
    result = await house.echo("hello")
    assert (result.text, result.is_error) == ("hello", False)


async def test_a_definition_is_the_servers_own_with_the_exposed_name(house: House) -> None:
    await house.start(fault())
    definition = house.tool("echo").definition
    assert definition["function"]["name"] == "mcp_fault_echo"
    assert definition["function"]["parameters"]["required"] == ["text"]
    names = [tool.name for tool in house.supervisor.tools("fault")]
    assert names == sorted(names)


async def test_wrong_arguments_never_reach_the_server(house: House) -> None:
    await house.start(fault())
    result = await Toolbox(house.supervisor.tools("fault")).run("mcp_fault_echo", '{"text": 5}')
    assert result.is_error
    assert "text" in result.text
    assert "echo" not in (await house.call("calls")).text


async def test_a_killed_server_fails_its_calls_at_once_and_comes_back(house: House) -> None:
    await house.start(fault())
    calls = [asyncio.create_task(house.call("sleep", {"seconds": 30})) for _ in range(5)]
    pid = house.status()["pid"]
    await house.asleep(5)
    os.killpg(pid, signal.SIGKILL)
    results = await asyncio.wait_for(asyncio.gather(*calls), 15)
    assert all(result.is_error and "unknown" in result.text for result in results)
    await eventually(lambda: house.status()["state"] == "ready" and house.status()["pid"] not in (pid, None))
    assert (await house.echo("again")).text == "again"
    assert house.status()["restarts"] == 1


async def test_a_call_that_kills_its_server_is_not_repeated(house: House) -> None:
    await house.start(fault())
    assert (await house.call("die")).is_error
    await house.state("ready")
    assert (await house.call("calls")).text == "calls"


async def test_a_server_that_dies_at_start_shows_its_stderr(house: House) -> None:
    house.configure(fault("die"))
    assert await house.supervisor.wait_ready(["fault"], 10) == ["fault"]
    status = await house.state("backoff")
    assert "frobnicator" in status["stderr"]
    assert "status 3" in status["last_error"]
    assert house.supervisor.tools("fault") == []


async def test_a_crash_loop_ends_when_its_cause_does(house: House, tmp_path: Path) -> None:
    flag = tmp_path / "die"
    flag.touch()
    house.configure(fault(f"die-if={flag}"))
    await eventually(lambda: house.status()["restarts"] >= 2)  # recognised as a crash loop
    flag.unlink()
    assert (await house.state("ready"))["tools"]


async def test_a_server_is_never_ready_without_a_process(house: House) -> None:
    await house.start(fault())
    for _ in range(3):
        pid = house.status()["pid"]
        os.killpg(pid, signal.SIGKILL)
        seen = []
        async with asyncio.timeout(PATIENCE):
            while not seen or seen[-1][0] != "ready" or seen[-1][1] == pid:
                status = house.status()
                seen.append((status["state"], status["pid"]))
                await asyncio.sleep(0)
        assert ("ready", None) not in seen


async def test_a_server_that_never_initializes_is_stopped_and_retried(house: House) -> None:
    house.configure(fault("hang-initialize", start_timeout=0.5))
    await eventually(lambda: "did not answer" in (house.status()["last_error"] or ""))


async def test_a_server_that_crashes_on_the_modern_probe_gets_the_old_handshake(house: House) -> None:
    await house.start(fault("die-on-discover"))
    assert (await house.echo("x")).text == "x"
    first = house.status()["pid"]
    os.killpg(first, signal.SIGKILL)
    await eventually(lambda: house.status()["state"] == "ready" and house.status()["pid"] not in (first, None))


async def test_a_server_silent_on_the_modern_probe_gets_the_old_handshake(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openai_proxy.tools.mcp import stdio

    monkeypatch.setattr(stdio, "PROBE_TIMEOUT", 0.2)
    await house.start(fault("mute-on-discover"))
    assert (await house.echo("x")).text == "x"


@pytest.mark.parametrize("mode", ["garbage", "wrong-id"])
async def test_garbage_and_stray_answers_are_ignored(house: House, mode: str) -> None:
    await house.start(fault("banner", timeout=0.5 if mode == "wrong-id" else 10))
    result = await house.echo(mode)
    assert result.is_error == (mode == "wrong-id")
    house.configure(fault("banner"))
    assert (await house.echo("still here")).text == "still here"


async def test_invalid_utf8_loses_only_those_characters(house: House) -> None:
    await house.start(fault())
    assert "\ufffd" in (await house.echo("bad-utf8")).text
    assert (await house.echo("next")).text == "next"


async def test_a_line_beyond_the_cap_fails_only_its_call(house: House) -> None:
    await house.start(fault())
    pid = house.status()["pid"]
    result = await house.echo("huge", size=17)
    assert result.is_error
    assert "too large" in result.text
    assert (await house.echo("next")).text == "next"
    assert house.status()["pid"] == pid


async def test_a_large_result_is_bounded(house: House) -> None:
    await house.start(fault())
    result = await house.echo("huge", size=2)
    assert not result.is_error
    assert len(result.text) < 101_000
    assert "left out" in result.text


async def test_an_endless_line_ends_the_connection(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from openai_proxy.tools.mcp import stdio

    await house.start(fault())
    monkeypatch.setattr(stdio, "ENDLESS", 20 << 20)
    result = await house.echo("endless")
    assert result.is_error
    await eventually(lambda: "without an end" in (house.status()["last_error"] or ""))
    await house.state("ready")


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("bad-content", "just a string"),
        ("bad-blocks", "good"),
        ("notifications", "after the flood"),
        ("stderr", "after the noise"),
        ("ha", "Live Context:\n- names: Lamp\n"),
    ],
)
async def test_malformed_answers_become_text(house: House, mode: str, expected: str) -> None:
    await house.start(fault())
    result = await house.echo(mode)
    assert expected in result.text
    assert not result.is_error


async def test_a_result_that_is_not_an_object_fails_only_its_call(house: House) -> None:
    await house.start(fault())
    assert (await house.echo("result-string")).is_error
    assert (await house.echo("next")).text == "next"


async def test_an_error_reaches_the_model_without_secrets_or_paths(house: House) -> None:
    vault.learn(["sk-very-secret-key-1"])
    await house.start(fault())
    result = await house.echo("error")
    assert result.is_error
    assert "sk-very" not in result.text
    assert "/home" not in result.text
    assert house.status()["state"] == "ready"


async def test_a_reported_failure_is_passed_on(house: House) -> None:
    await house.start(fault())
    result = await house.echo("is-error")
    assert result.is_error
    assert "No entities matched" in result.text


async def test_one_bad_tool_does_not_affect_the_others(house: House) -> None:
    await house.start(fault("bad-tools"))
    tools = house.status()["tools"]
    assert {"echo", "no_schema", "empty_schema", "null_schema", "bad_required", "bad_property"} <= set(tools)
    assert "array_schema" not in tools
    assert (await house.call("no_schema")).is_error is False
    assert (await house.call("wants_output")).text == "no structure at all"


async def test_a_call_never_answered_ends_at_its_deadline_and_is_cancelled(house: House) -> None:
    await house.start(fault(timeout=0.5))
    result = await house.echo("mute")
    assert result.is_error
    assert "0.5 s" in result.text
    house.configure(fault())
    assert (await house.call("cancelled")).text == "1"


async def test_a_cancelled_caller_cancels_the_call_at_the_server(house: House) -> None:
    await house.start(fault())
    call = asyncio.create_task(house.call("sleep", {"seconds": 30}))
    await house.asleep()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await house.call("cancelled")).text == "1"


async def test_a_server_that_stops_reading_is_restarted(house: House) -> None:
    await house.start(fault("stop-reading", timeout=0.5))
    pid = house.status()["pid"]
    first = await house.echo("x" * 1_000_000)
    assert first.is_error
    second = await house.echo("x" * 1_000_000)
    assert second.is_error
    await eventually(lambda: house.status()["pid"] not in (pid, None))


async def test_progress_reaches_the_caller(house: House) -> None:
    await house.start(fault())
    seen: list[tuple[float | None, float | None, str | None]] = []
    context = CallContext(progress=lambda done, total, message: seen.append((done, total, message)))
    result = await house.tool("progress").call({}, context)
    assert result.text == "done"
    assert seen[0] == (1.0, 3.0, "step 1")


async def test_an_elicitation_is_declined(house: House) -> None:
    await house.start(fault())
    assert json.loads((await house.echo("ask")).text)[-1] == {"action": "decline"}


async def test_a_call_that_never_started_affects_no_other(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    await house.start(fault(name="warm"))
    from openai_proxy.tools.mcp import calls

    monkeypatch.setattr(calls, "PARALLEL_CALLS", 2)
    house.configure(fault(timeout=0.6))
    await house.state("ready")
    pid = house.status()["pid"]
    results = await asyncio.gather(*(house.call("sleep", {"seconds": 5}) for _ in range(2)), house.echo("third"))
    assert "busy" in results[2].text
    house.configure(fault())
    assert (await house.echo("next")).text == "next"
    assert house.status()["pid"] == pid
