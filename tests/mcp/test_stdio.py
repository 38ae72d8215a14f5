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

from .conftest import Supervised, eventually, fault


async def test_a_server_is_started_listed_and_called(supervised: Supervised) -> None:
    await supervised.start(fault())
    assert "echo" in supervised.status()["tools"]
    assert supervised.status()["state"] == "ready"
    assert supervised.status()["protocol"] == "2025-06-18"
    result = await supervised.echo("hello")
    assert (result.text, result.is_error) == ("hello", False)


async def test_a_definition_is_the_servers_own_with_the_exposed_name(supervised: Supervised) -> None:
    await supervised.start(fault())
    definition = supervised.tool("echo").definition
    assert definition["function"]["name"] == "mcp_fault_echo"
    assert definition["function"]["parameters"]["required"] == ["text"]
    names = [tool.name for tool in supervised.supervisor.tools("fault")]
    assert names == sorted(names)


async def test_wrong_arguments_never_reach_the_server(supervised: Supervised) -> None:
    await supervised.start(fault())
    result = await Toolbox(supervised.supervisor.tools("fault")).run("mcp_fault_echo", '{"text": 5}')
    assert result.is_error
    assert "text" in result.text
    assert "echo" not in (await supervised.call("calls")).text


async def test_a_killed_server_fails_its_calls_at_once_and_comes_back(supervised: Supervised) -> None:
    await supervised.start(fault())
    calls = [asyncio.create_task(supervised.call("sleep", {"seconds": 30})) for _ in range(5)]
    pid = supervised.status()["pid"]
    await supervised.asleep(5)
    os.killpg(pid, signal.SIGKILL)
    results = await asyncio.wait_for(asyncio.gather(*calls), 15)
    assert all(result.is_error and "unknown" in result.text for result in results)
    await eventually(lambda: supervised.status()["state"] == "ready" and supervised.status()["pid"] not in (pid, None))
    assert (await supervised.echo("again")).text == "again"
    assert supervised.status()["restarts"] == 1


async def test_a_call_that_kills_its_server_is_not_repeated(supervised: Supervised) -> None:
    await supervised.start(fault())
    assert (await supervised.call("die")).is_error
    await supervised.state("ready")
    assert (await supervised.call("calls")).text == "calls"


async def test_a_server_that_dies_at_start_shows_its_stderr(supervised: Supervised) -> None:
    supervised.configure(fault("die"))
    assert await supervised.supervisor.wait_ready(["fault"], 10) == ["fault"]
    status = await supervised.state("backoff")
    assert "frobnicator" in status["stderr"]
    assert "status 3" in status["last_error"]
    assert supervised.supervisor.tools("fault") == []


async def test_a_crash_loop_ends_when_its_cause_does(supervised: Supervised, tmp_path: Path) -> None:
    flag = tmp_path / "die"
    flag.touch()
    supervised.configure(fault(f"die-if={flag}"))
    await eventually(lambda: supervised.status()["restarts"] >= 2)  # recognised as a crash loop
    flag.unlink()
    assert (await supervised.state("ready"))["tools"]


async def test_a_server_is_never_ready_without_a_process(supervised: Supervised) -> None:
    await supervised.start(fault())
    for _ in range(3):
        pid = supervised.status()["pid"]
        os.killpg(pid, signal.SIGKILL)
        seen = []
        async with asyncio.timeout(PATIENCE):
            while not seen or seen[-1][0] != "ready" or seen[-1][1] == pid:
                status = supervised.status()
                seen.append((status["state"], status["pid"]))
                await asyncio.sleep(0)
        assert ("ready", None) not in seen


async def test_a_server_that_never_initializes_is_stopped_and_retried(supervised: Supervised) -> None:
    supervised.configure(fault("hang-initialize", start_timeout=0.5))
    await eventually(lambda: "did not answer" in (supervised.status()["last_error"] or ""))


async def test_a_server_that_crashes_on_the_modern_probe_gets_the_old_handshake(supervised: Supervised) -> None:
    await supervised.start(fault("die-on-discover"))
    assert (await supervised.echo("x")).text == "x"
    first = supervised.status()["pid"]
    os.killpg(first, signal.SIGKILL)
    await eventually(
        lambda: supervised.status()["state"] == "ready" and supervised.status()["pid"] not in (first, None)
    )


async def test_a_server_silent_on_the_modern_probe_gets_the_old_handshake(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    from openai_proxy.tools.mcp import stdio

    monkeypatch.setattr(stdio, "PROBE_TIMEOUT", 0.2)
    await supervised.start(fault("mute-on-discover"))
    assert (await supervised.echo("x")).text == "x"


@pytest.mark.parametrize("mode", ["garbage", "wrong-id"])
async def test_garbage_and_stray_answers_are_ignored(supervised: Supervised, mode: str) -> None:
    await supervised.start(fault("banner", timeout=0.5 if mode == "wrong-id" else 10))
    result = await supervised.echo(mode)
    assert result.is_error == (mode == "wrong-id")
    supervised.configure(fault("banner"))
    assert (await supervised.echo("still here")).text == "still here"


async def test_invalid_utf8_loses_only_those_characters(supervised: Supervised) -> None:
    await supervised.start(fault())
    assert "\ufffd" in (await supervised.echo("bad-utf8")).text
    assert (await supervised.echo("next")).text == "next"


async def test_a_line_beyond_the_cap_fails_only_its_call(supervised: Supervised) -> None:
    await supervised.start(fault())
    pid = supervised.status()["pid"]
    result = await supervised.echo("huge", size=17)
    assert result.is_error
    assert "too large" in result.text
    assert (await supervised.echo("next")).text == "next"
    assert supervised.status()["pid"] == pid


async def test_a_large_result_is_bounded(supervised: Supervised) -> None:
    await supervised.start(fault())
    result = await supervised.echo("huge", size=2)
    assert not result.is_error
    assert len(result.text) < 101_000
    assert "left out" in result.text


async def test_an_endless_line_ends_the_connection(supervised: Supervised, monkeypatch: pytest.MonkeyPatch) -> None:
    from openai_proxy.tools.mcp import stdio

    await supervised.start(fault())
    monkeypatch.setattr(stdio, "ENDLESS", 20 << 20)
    result = await supervised.echo("endless")
    assert result.is_error
    await eventually(lambda: "without an end" in (supervised.status()["last_error"] or ""))
    await supervised.state("ready")


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
async def test_malformed_answers_become_text(supervised: Supervised, mode: str, expected: str) -> None:
    await supervised.start(fault())
    result = await supervised.echo(mode)
    assert expected in result.text
    assert not result.is_error


async def test_a_result_that_is_not_an_object_fails_only_its_call(supervised: Supervised) -> None:
    await supervised.start(fault())
    assert (await supervised.echo("result-string")).is_error
    assert (await supervised.echo("next")).text == "next"


async def test_an_error_reaches_the_model_without_secrets_or_paths(supervised: Supervised) -> None:
    vault.learn(["sk-very-secret-key-1"])
    await supervised.start(fault())
    result = await supervised.echo("error")
    assert result.is_error
    assert "sk-very" not in result.text
    assert "/home" not in result.text
    assert supervised.status()["state"] == "ready"


async def test_a_reported_failure_is_passed_on(supervised: Supervised) -> None:
    await supervised.start(fault())
    result = await supervised.echo("is-error")
    assert result.is_error
    assert "No entities matched" in result.text


async def test_one_bad_tool_does_not_affect_the_others(supervised: Supervised) -> None:
    await supervised.start(fault("bad-tools"))
    tools = supervised.status()["tools"]
    assert {"echo", "no_schema", "empty_schema", "null_schema", "bad_required", "bad_property"} <= set(tools)
    assert "array_schema" not in tools
    assert (await supervised.call("no_schema")).is_error is False
    assert (await supervised.call("wants_output")).text == "no structure at all"


async def test_a_call_never_answered_ends_at_its_deadline_and_is_cancelled(supervised: Supervised) -> None:
    await supervised.start(fault(timeout=0.5))
    result = await supervised.echo("mute")
    assert result.is_error
    assert "0.5 s" in result.text
    supervised.configure(fault())
    assert (await supervised.call("cancelled")).text == "1"


async def test_a_cancelled_caller_cancels_the_call_at_the_server(supervised: Supervised) -> None:
    await supervised.start(fault())
    call = asyncio.create_task(supervised.call("sleep", {"seconds": 30}))
    await supervised.asleep()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert (await supervised.call("cancelled")).text == "1"


async def test_a_server_that_stops_reading_is_restarted(supervised: Supervised) -> None:
    await supervised.start(fault("stop-reading", timeout=0.5))
    pid = supervised.status()["pid"]
    first = await supervised.echo("x" * 1_000_000)
    assert first.is_error
    second = await supervised.echo("x" * 1_000_000)
    assert second.is_error
    await eventually(lambda: supervised.status()["pid"] not in (pid, None))


async def test_progress_reaches_the_caller(supervised: Supervised) -> None:
    await supervised.start(fault())
    seen: list[tuple[float | None, float | None, str | None]] = []
    context = CallContext(progress=lambda done, total, message: seen.append((done, total, message)))
    result = await supervised.tool("progress").call({}, context)
    assert result.text == "done"
    assert seen[0] == (1.0, 3.0, "step 1")


async def test_an_elicitation_is_declined(supervised: Supervised) -> None:
    await supervised.start(fault())
    assert json.loads((await supervised.echo("ask")).text)[-1] == {"action": "decline"}


async def test_a_call_that_never_started_affects_no_other(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch
) -> None:
    await supervised.start(fault(name="warm"))
    from openai_proxy.tools.mcp import calls

    monkeypatch.setattr(calls, "PARALLEL_CALLS", 2)
    supervised.configure(fault(timeout=0.6))
    await supervised.state("ready")
    pid = supervised.status()["pid"]
    results = await asyncio.gather(
        *(supervised.call("sleep", {"seconds": 5}) for _ in range(2)), supervised.echo("third")
    )
    assert "busy" in results[2].text
    supervised.configure(fault())
    assert (await supervised.echo("next")).text == "next"
    assert supervised.status()["pid"] == pid
