"""Many servers, edits while they run, and the guarantees for a running request."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from openai_proxy.errors import NotFound
from openai_proxy.tools.base import CallContext

from .conftest import Config, Supervised, children, eventually, fault


async def test_an_unchanged_server_keeps_its_process(supervised: Supervised) -> None:
    await supervised.start(fault(), fault(name="other"))
    pid, other = supervised.status()["pid"], supervised.status("other")["pid"]
    tools = supervised.supervisor.tools("fault")
    supervised.configure(fault(), fault("pages", name="other"))
    await eventually(lambda: supervised.status("other")["pid"] not in (other, None))
    assert supervised.status()["pid"] == pid
    assert all(a is b for a, b in zip(supervised.supervisor.tools("fault"), tools, strict=True))


async def test_a_change_of_policy_keeps_the_process_and_applies_at_once(supervised: Supervised) -> None:
    await supervised.start(fault())
    pid = supervised.status()["pid"]
    supervised.configure(fault(whitelist=("e*",), blacklist=("env",)))
    assert [tool.name for tool in supervised.supervisor.tools("fault")] == ["mcp_fault_echo"]
    assert supervised.status()["tools"] == ["echo"]
    assert supervised.status()["pid"] == pid


async def test_a_models_globs_narrow_the_servers_and_a_denial_wins(supervised: Supervised) -> None:
    await supervised.start(fault(blacklist=("die",)))
    names = [tool.name for tool in supervised.supervisor.tools("fault", ["*e*", "die"], ["echo", "f*"])]
    assert names == ["mcp_fault_cancelled", "mcp_fault_env", "mcp_fault_progress", "mcp_fault_sleep"]


async def test_globs_are_checked_when_a_tool_is_called(supervised: Supervised) -> None:
    await supervised.start(fault())
    tool: Any = supervised.supervisor.tools("fault", ["echo"])[0]
    forged = dataclasses.replace(tool, source=supervised.tool("env").source)  # type: ignore[attr-defined]
    result = await forged.call({}, CallContext())
    assert result.is_error
    assert "PATH" not in result.text


async def test_after_an_edit_the_old_process_serves_until_the_new_one_is_ready(supervised: Supervised) -> None:
    await supervised.start(fault())
    pid = supervised.status()["pid"]
    running = asyncio.create_task(supervised.call("sleep", {"seconds": 0.3}))
    await supervised.asleep()
    supervised.configure(fault("slow-start=0.3"))
    await eventually(lambda: supervised.status()["state"] == "starting")
    assert "echo" in supervised.status()["tools"]
    assert (await supervised.echo("the old one")).text == "the old one"
    assert supervised.status()["pid"] == pid
    await supervised.state("ready")
    assert supervised.status()["pid"] != pid
    assert (await supervised.echo("the new one")).text == "the new one"
    assert (await running).text == "slept"
    await eventually(lambda: len(children()) == 1)


async def test_a_failing_successor_leaves_the_old_process_serving(supervised: Supervised) -> None:
    await supervised.start(fault())
    pid = supervised.status()["pid"]
    supervised.configure(fault("die"))
    await supervised.state("backoff")
    assert "echo" in supervised.status()["tools"]
    assert "keeps serving" in supervised.status()["last_error"]
    assert (await supervised.echo("old")).text == "old"
    assert supervised.status()["pid"] == pid
    supervised.configure(fault("slow-start=0.1"))
    await supervised.state("ready")
    assert (await supervised.echo("repaired")).text == "repaired"
    assert supervised.status()["pid"] != pid


async def test_a_reverted_edit_keeps_the_old_process(supervised: Supervised) -> None:
    await supervised.start(fault())
    pid = supervised.status()["pid"]
    supervised.configure(fault("die"))
    await supervised.state("backoff")
    supervised.configure(fault())
    await supervised.state("ready")
    assert (await supervised.echo("kept")).text == "kept"
    assert supervised.status()["pid"] == pid


async def test_a_restart_ends_the_process_before_the_next_one_starts(supervised: Supervised) -> None:
    await supervised.start(fault())
    supervised.configure(fault("die"))
    await supervised.state("backoff")
    supervised.supervisor.restart("fault")
    await eventually(lambda: supervised.status()["pid"] is None and supervised.status()["state"] == "backoff")
    result = await supervised.echo("x")
    assert result.is_error
    assert "not available" in result.text
    assert not children()


async def test_a_removed_server_finishes_its_calls_and_ends(supervised: Supervised) -> None:
    await supervised.start(fault())
    running = asyncio.create_task(supervised.call("sleep", {"seconds": 0.3}))
    await supervised.asleep()
    supervised.configure()
    assert supervised.supervisor.tools("fault") == []
    assert supervised.supervisor.status() == []
    assert (await running).text == "slept"
    await eventually(lambda: not children())


async def test_a_held_server_serves_the_requests_that_began_with_it(supervised: Supervised) -> None:
    await supervised.start(fault())
    tool = supervised.tool("echo")
    release = supervised.supervisor.hold(["fault"])
    supervised.configure()
    await asyncio.sleep(0.1)
    assert (await tool.call({"text": "still"}, CallContext())).text == "still"
    release()
    await eventually(lambda: not children())
    late = await tool.call({"text": "late"}, CallContext())
    assert late.is_error
    assert "removed" in late.text


async def test_a_server_configured_again_before_it_ended_keeps_its_process(supervised: Supervised) -> None:
    await supervised.start(fault())
    pid = supervised.status()["pid"]
    release = supervised.supervisor.hold(["fault"])
    supervised.configure()
    await asyncio.sleep(0.05)
    supervised.configure(fault())
    release()
    assert (await supervised.echo("same")).text == "same"
    assert supervised.status()["pid"] == pid


async def test_a_disabled_server_does_not_run(supervised: Supervised) -> None:
    supervised.configure(fault(enabled=False))
    assert await supervised.supervisor.wait_ready(["fault"], 1) == ["fault"]
    assert supervised.status()["state"] == "disabled"
    supervised.configure(fault())
    await supervised.state("ready")
    supervised.configure(fault(enabled=False))
    assert supervised.status()["state"] == "disabled"
    await eventually(lambda: not children())


async def test_one_dead_server_delays_no_request(supervised: Supervised) -> None:
    supervised.configure(fault(), fault("die", name="dead"))
    assert await supervised.supervisor.wait_ready(["fault", "dead", "unknown"], 10) == ["dead", "unknown"]
    assert (await supervised.echo("x")).text == "x"


async def test_waiting_for_a_slow_server_is_bounded(supervised: Supervised) -> None:
    supervised.configure(fault("slow-start=3"))
    assert await supervised.supervisor.wait_ready(["fault"], 0.2) == ["fault"]
    assert supervised.status()["state"] == "starting"


async def test_a_changed_list_is_adopted(supervised: Supervised) -> None:
    await supervised.start(fault("changes"))
    assert "early" in supervised.status()["tools"]
    await supervised.echo("change")
    await eventually(lambda: "late" in supervised.status()["tools"])
    assert "early" not in supervised.status()["tools"]
    assert description(supervised, "shifty") == "evil"
    assert any("late" in event["tools"] for event in supervised.events)


async def test_a_changed_pinned_definition_is_withheld_until_accepted(supervised: Supervised) -> None:
    await supervised.start(fault("changes", pin=True))
    await supervised.echo("change")
    await eventually(lambda: "late" in supervised.status()["tools"])
    assert description(supervised, "shifty") == "good"
    assert supervised.status()["held_back"] == ["shifty"]
    supervised.configure(fault("changes", pin=False))
    assert description(supervised, "shifty") == "evil"
    assert supervised.status()["held_back"] == []


def description(supervised: Supervised, tool: str) -> str:
    return str(supervised.tool(tool).definition["function"]["description"])


@pytest.mark.parametrize(("mode", "count"), [("pages", 30), ("same-cursor", 1), ("endless-pages", 100)])
async def test_pages_are_read_to_the_end_or_the_cap(supervised: Supervised, mode: str, count: int) -> None:
    await supervised.start(fault(mode))
    assert len(supervised.status()["tools"]) == count


async def test_too_many_tools_are_cut_and_reported(supervised: Supervised) -> None:
    await supervised.start(fault("many=1000"))
    assert len(supervised.status()["tools"]) == 500
    assert supervised.status()["left_out"] == 508


async def test_restart_replaces_the_process(supervised: Supervised) -> None:
    await supervised.start(fault())
    pid = supervised.status()["pid"]
    supervised.supervisor.restart("fault")
    await eventually(lambda: supervised.status()["state"] == "ready" and supervised.status()["pid"] not in (pid, None))
    with pytest.raises(NotFound):
        supervised.supervisor.restart("unknown")


async def test_a_crash_loop_is_logged_sparingly(
    supervised: Supervised, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    from openai_proxy.tools.mcp import failures, server

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failures, "_FIRST", 0.001)
        patch.setattr(failures, "SLOW_AFTER", 100)
        patch.setattr(server, "SLOW_AFTER", 100)
        patch.setattr(failures, "_CAP_STDIO", 0.001)
        supervised.configure(fault("die"))
        await eventually(lambda: supervised.status()["failures"] >= 7)
    complaints = [record for record in caplog.records if record.name.endswith("mcp.server")]
    told = supervised.status()["failures"].bit_length()  # the first, second, fourth … time
    assert len(complaints) == told


async def test_many_servers_start_and_stop_together(supervised: Supervised) -> None:
    names = [f"s{number}" for number in range(8)]
    await supervised.start(*(fault(name=name) for name in names))
    results = await asyncio.gather(*(supervised.call("echo", {"text": name}, name) for name in names))
    assert [result.text for result in results] == names
    supervised.configure()
    await eventually(lambda: not children())


async def test_edits_faster_than_a_server_starts_end_with_the_last(supervised: Supervised) -> None:
    for number in range(6):
        supervised.configure(fault("slow-start=0.2", env={"N": str(number)}))
        await asyncio.sleep(0.03)
    await supervised.state("ready")
    assert '"N": "5"' in (await supervised.call("env")).text
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
