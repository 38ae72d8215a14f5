"""Many servers, edits while they run, and what a request can rely on."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from openai_proxy.errors import NotFound
from openai_proxy.tools.base import CallContext

from .conftest import Config, House, children, eventually, fault


async def test_an_unchanged_server_keeps_its_process(house: House) -> None:
    await house.start(fault(), fault(name="other"))
    pid, other = house.status()["pid"], house.status("other")["pid"]
    tools = house.supervisor.tools("fault")
    house.configure(fault(), fault("pages", name="other"))
    await eventually(lambda: house.status("other")["pid"] not in (other, None))
    assert house.status()["pid"] == pid
    assert all(a is b for a, b in zip(house.supervisor.tools("fault"), tools, strict=True))


async def test_a_change_of_policy_keeps_the_process_and_applies_at_once(house: House) -> None:
    await house.start(fault())
    pid = house.status()["pid"]
    house.configure(fault(whitelist=("e*",), blacklist=("env",)))
    assert [tool.name for tool in house.supervisor.tools("fault")] == ["mcp_fault_echo"]
    assert house.status()["tools"] == ["echo"]
    assert house.status()["pid"] == pid


async def test_a_models_globs_narrow_the_servers_and_a_denial_wins(house: House) -> None:
    await house.start(fault(blacklist=("die",)))
    names = [tool.name for tool in house.supervisor.tools("fault", ["*e*", "die"], ["echo", "f*"])]
    assert names == ["mcp_fault_cancelled", "mcp_fault_env", "mcp_fault_progress", "mcp_fault_sleep"]


async def test_globs_are_checked_when_a_tool_is_called(house: House) -> None:
    await house.start(fault())
    tool: Any = house.supervisor.tools("fault", ["echo"])[0]
    forged = dataclasses.replace(tool, source=house.tool("env").source)  # type: ignore[attr-defined]
    result = await forged.call({}, CallContext())
    assert result.is_error
    assert "PATH" not in result.text


async def test_after_an_edit_the_old_process_serves_until_the_new_one_is_ready(house: House) -> None:
    await house.start(fault())
    pid = house.status()["pid"]
    running = asyncio.create_task(house.call("sleep", {"seconds": 0.3}))
    await house.asleep()
    house.configure(fault("slow-start=0.3"))
    await eventually(lambda: house.status()["state"] == "starting")
    assert "echo" in house.status()["tools"]
    assert (await house.echo("the old one")).text == "the old one"
    assert house.status()["pid"] == pid
    await house.state("ready")
    assert house.status()["pid"] != pid
    assert (await house.echo("the new one")).text == "the new one"
    assert (await running).text == "slept"
    await eventually(lambda: len(children()) == 1)


async def test_a_failing_successor_leaves_the_old_process_serving(house: House) -> None:
    await house.start(fault())
    pid = house.status()["pid"]
    house.configure(fault("die"))
    await house.state("backoff")
    assert "echo" in house.status()["tools"]
    assert "keeps serving" in house.status()["last_error"]
    assert (await house.echo("old")).text == "old"
    assert house.status()["pid"] == pid
    house.configure(fault("slow-start=0.1"))
    await house.state("ready")
    assert (await house.echo("repaired")).text == "repaired"
    assert house.status()["pid"] != pid


async def test_a_reverted_edit_keeps_the_old_process(house: House) -> None:
    await house.start(fault())
    pid = house.status()["pid"]
    house.configure(fault("die"))
    await house.state("backoff")
    house.configure(fault())
    await house.state("ready")
    assert (await house.echo("kept")).text == "kept"
    assert house.status()["pid"] == pid


async def test_a_restart_ends_the_process_before_the_next_one_starts(house: House) -> None:
    await house.start(fault())
    house.configure(fault("die"))
    await house.state("backoff")
    house.supervisor.restart("fault")
    await eventually(lambda: house.status()["pid"] is None and house.status()["state"] == "backoff")
    result = await house.echo("x")
    assert result.is_error
    assert "not available" in result.text
    assert not children()


async def test_a_removed_server_finishes_its_calls_and_ends(house: House) -> None:
    await house.start(fault())
    running = asyncio.create_task(house.call("sleep", {"seconds": 0.3}))
    await house.asleep()
    house.configure()
    assert house.supervisor.tools("fault") == []
    assert house.supervisor.status() == []
    assert (await running).text == "slept"
    await eventually(lambda: not children())


async def test_a_held_server_serves_the_requests_that_began_with_it(house: House) -> None:
    await house.start(fault())
    tool = house.tool("echo")
    release = house.supervisor.hold(["fault"])
    house.configure()
    await asyncio.sleep(0.1)
    assert (await tool.call({"text": "still"}, CallContext())).text == "still"
    release()
    await eventually(lambda: not children())
    late = await tool.call({"text": "late"}, CallContext())
    assert late.is_error
    assert "removed" in late.text


async def test_a_server_configured_again_before_it_ended_keeps_its_process(house: House) -> None:
    await house.start(fault())
    pid = house.status()["pid"]
    release = house.supervisor.hold(["fault"])
    house.configure()
    await asyncio.sleep(0.05)
    house.configure(fault())
    release()
    assert (await house.echo("same")).text == "same"
    assert house.status()["pid"] == pid


async def test_a_disabled_server_does_not_run(house: House) -> None:
    house.configure(fault(enabled=False))
    assert await house.supervisor.wait_ready(["fault"], 1) == ["fault"]
    assert house.status()["state"] == "disabled"
    house.configure(fault())
    await house.state("ready")
    house.configure(fault(enabled=False))
    assert house.status()["state"] == "disabled"
    await eventually(lambda: not children())


async def test_one_dead_server_delays_nobody(house: House) -> None:
    house.configure(fault(), fault("die", name="dead"))
    assert await house.supervisor.wait_ready(["fault", "dead", "unknown"], 10) == ["dead", "unknown"]
    assert (await house.echo("x")).text == "x"


async def test_waiting_for_a_slow_server_is_bounded(house: House) -> None:
    house.configure(fault("slow-start=3"))
    assert await house.supervisor.wait_ready(["fault"], 0.2) == ["fault"]
    assert house.status()["state"] == "starting"


async def test_a_changed_list_is_adopted(house: House) -> None:
    await house.start(fault("changes"))
    assert "early" in house.status()["tools"]
    await house.echo("change")
    await eventually(lambda: "late" in house.status()["tools"])
    assert "early" not in house.status()["tools"]
    assert description(house, "shifty") == "evil"
    assert any("late" in event["tools"] for event in house.events)


async def test_a_changed_pinned_definition_is_withheld_until_accepted(house: House) -> None:
    await house.start(fault("changes", pin=True))
    await house.echo("change")
    await eventually(lambda: "late" in house.status()["tools"])
    assert description(house, "shifty") == "good"
    assert house.status()["held_back"] == ["shifty"]
    house.configure(fault("changes", pin=False))
    assert description(house, "shifty") == "evil"
    assert house.status()["held_back"] == []


def description(house: House, tool: str) -> str:
    return str(house.tool(tool).definition["function"]["description"])


@pytest.mark.parametrize(("mode", "count"), [("pages", 30), ("same-cursor", 1), ("endless-pages", 100)])
async def test_pages_are_read_to_the_end_or_the_cap(house: House, mode: str, count: int) -> None:
    await house.start(fault(mode))
    assert len(house.status()["tools"]) == count


async def test_too_many_tools_are_cut_and_reported(house: House) -> None:
    await house.start(fault("many=1000"))
    assert len(house.status()["tools"]) == 500
    assert house.status()["left_out"] == 508


async def test_restart_replaces_the_process(house: House) -> None:
    await house.start(fault())
    pid = house.status()["pid"]
    house.supervisor.restart("fault")
    await eventually(lambda: house.status()["state"] == "ready" and house.status()["pid"] not in (pid, None))
    with pytest.raises(NotFound):
        house.supervisor.restart("unknown")


async def test_a_crash_loop_is_logged_sparingly(house: House, caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    from openai_proxy.tools.mcp import failures, server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failures, "_FIRST", 0.001)
        patch.setattr(failures, "SLOW_AFTER", 100)
        patch.setattr(server, "SLOW_AFTER", 100)
        patch.setattr(failures, "_CAP_STDIO", 0.001)
        house.configure(fault("die"))
        await eventually(lambda: house.status()["failures"] >= 7)
    complaints = [record for record in caplog.records if record.name.endswith("mcp.server")]
    told = house.status()["failures"].bit_length()  # the first, second, fourth … time
    assert len(complaints) == told


async def test_many_servers_start_and_stop_together(house: House) -> None:
    names = [f"s{number}" for number in range(8)]
    await house.start(*(fault(name=name) for name in names))
    results = await asyncio.gather(*(house.call("echo", {"text": name}, name) for name in names))
    assert [result.text for result in results] == names
    house.configure()
    await eventually(lambda: not children())


async def test_edits_faster_than_a_server_starts_end_with_the_last(house: House) -> None:
    for number in range(6):
        house.configure(fault("slow-start=0.2", env={"N": str(number)}))
        await asyncio.sleep(0.03)
    await house.state("ready")
    assert '"N": "5"' in (await house.call("env")).text
    assert len(children()) == 1


async def test_nothing_is_imported_without_servers() -> None:
    code = (
        "import sys, asyncio\n"
        "from openai_proxy.tools.mcp.supervisor import Supervisor\n"
        "async def main():\n"
        "    s = Supervisor(); s.reconcile({}); await s.aclose()\n"
        "asyncio.run(main())\n"
        "print(sorted({'mcp', 'httpx2', 'jsonschema', 'pydantic'} & sys.modules.keys()))\n"
    )
    import sys

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert out.strip() == b"[]"


def test_the_real_configuration_has_the_expected_shape() -> None:
    from openai_proxy.config.servers import ServerConfig
    from openai_proxy.tools.mcp.settings import ServerSettings

    real = ServerConfig.model_validate({"name": "x", "command": "true"})
    members = [name for name in vars(ServerSettings) if not name.startswith("_")]
    assert members
    assert all(hasattr(real, name) and hasattr(Config(), name) for name in members)
