"""Requests end under the configuration in which they began; unchanged parts are the same objects after an edit."""

import asyncio
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from openai_proxy.runtime.leases import Lease, Leases
from openai_proxy.upstream.echo import EchoProvider
from tests.conftest import DaemonFactory
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.plays import DONE, LAST, SSE_HEAD, TWO, chunk, delta, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import PATIENCE, eventually, turning_until
from tests.reload.conftest import ECHO
from tests.reload.looking import model, models, reload, status, until_owner

FAULT = REPOSITORY / "tests" / "mcp" / "fault_server.py"


def server(*modes: str, **more: Any) -> dict[str, Any]:
    return {"type": "stdio", "command": sys.executable, "args": [str(FAULT), *modes], **more}


def with_servers(daemon: Daemon, **servers: dict[str, Any]) -> None:
    daemon.write("mcp/servers.yaml", {"servers": servers})


def pids(daemon: Daemon) -> dict[str, int | None]:
    return {found["name"]: found["pid"] for found in status(daemon)["mcp_servers"]}


def ready(daemon: Daemon, *names: str) -> dict[str, int | None]:
    def states() -> dict[str, str]:
        return {found["name"]: found["state"] for found in status(daemon)["mcp_servers"]}

    eventually(lambda: all(states().get(name) == "ready" for name in names), f"{names} are ready")
    return pids(daemon)


class Closing(EchoProvider):
    """A provider that records when it is closed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.closed = 0

    async def aclose(self) -> None:
        self.closed += 1


async def rest(leases: Leases) -> None:
    await turning_until(
        lambda: not leases._retiring and not leases._closing,
        "retired generations are released and their providers closed",
    )


async def test_a_provider_is_closed_with_the_last_generation_that_uses_it() -> None:
    leases = Leases(asyncio.get_running_loop(), grace=0.01)
    shared, old = Closing("shared"), Closing("old")
    first, second, third = Lease(), Lease(), Lease()
    leases.hold(first, [shared, old])
    leases.hold(second, [shared])
    leases.hold(third, [])
    first.take()
    leases.retire(first)
    await asyncio.sleep(0.05)
    assert (old.closed, shared.closed, len(leases)) == (0, 0, 1)
    first.give_back()
    await rest(leases)
    assert (old.closed, shared.closed) == (1, 0)
    leases.retire(second)
    await rest(leases)
    assert (old.closed, shared.closed, len(leases)) == (1, 1, 0)


async def test_a_request_handed_over_keeps_its_generation() -> None:
    leases = Leases(asyncio.get_running_loop(), grace=PATIENCE)
    lease, provider = Lease(), Closing("p")
    leases.hold(lease, [provider])
    lease.take()
    leases.retire(lease)
    for _ in range(4):
        lease.give_back()
        await asyncio.sleep(0.02)
        lease.take()
    assert provider.closed == 0
    leases._grace = 0.01
    lease.give_back()
    await rest(leases)
    assert provider.closed == 1


async def test_no_request_keeps_a_generation_forever() -> None:
    leases = Leases(asyncio.get_running_loop(), grace=0.01, limit=0.05)
    lease, provider = Lease(), Closing("p")
    leases.hold(lease, [provider])
    lease.take()
    leases.retire(lease)
    await rest(leases)
    assert provider.closed == 1
    lease.give_back()
    await rest(leases)
    assert provider.closed == 1


async def test_shutdown_releases_everything_at_once() -> None:
    leases = Leases(asyncio.get_running_loop())
    lease, provider = Lease(), Closing("p")
    leases.hold(lease, [provider])
    lease.take()
    leases.retire(lease)
    await leases.aclose()
    assert provider.closed == 1


@pytest.mark.parametrize("flags", [[], ["--no-splice"]], ids=["spliced", "plain"])
def test_a_stream_continues_after_its_connection_was_removed(
    make_daemon: DaemonFactory, upstream: Upstream, flags: list[str]
) -> None:
    def conf(*names: str) -> dict[str, Any]:
        one = {"api_type": "openai", "api_base": upstream.url, "api_key": "sk-up-0123456789abcdef"}
        return {"connections": dict.fromkeys(names, one), "default_connection": names[0]}

    daemon = make_daemon(conf("old"), flags=flags)
    gate = upstream.gate()
    play = upstream.play(SSE_HEAD, chunk(TWO), gate, chunk(delta("end") + DONE), LAST)
    with daemon.wire() as wire:
        wire.chat(play.model, stream=True).read_head()
        wire.read_until(b"two")
        daemon.write("proxy.yaml", conf("new"))
        code, answer = reload(daemon)
        assert (code, answer["added"], answer["removed"]) == (200, ["connection new"], ["connection old"])
        gate.open()
        rest_of_it = wire.read_rest()
        assert (rest_of_it.complete, rest_of_it.body) == (True, delta("end") + DONE)
        after = upstream.play(plain(b"{}"))
        assert wire.chat(after.model).answer().status == 200  # the same client connection, the new configuration


def test_a_tool_runs_to_its_end_on_a_server_that_was_removed(make_daemon: DaemonFactory) -> None:
    """The turn has begun: its tool answers, its model answers, then the server is stopped."""
    files = {"models/m.yaml": "name: m\nmcp_servers: [s]\n"}
    daemon = make_daemon(ECHO, files=files, start=False)
    with_servers(daemon, s=server())
    daemon.start()
    ready(daemon, "s")
    (child,) = daemon.children()
    answers: list[bytes] = []
    awake = daemon.root / "awake"

    def ask() -> None:
        messages = [{"role": "user", "content": f'use mcp_s_sleep {{"until": "{awake}"}}'}]
        answers.append(daemon.chat("m", messages=messages).body)

    asking = threading.Thread(target=ask)
    asking.start()
    eventually(lambda: any(r["state"] == "tools" for r in status(daemon)["requests"]), "the tool runs")
    (daemon.conf_dir / "mcp" / "servers.yaml").unlink()
    (daemon.conf_dir / "models" / "m.yaml").unlink()
    code, answer = reload(daemon)
    assert (code, answer["removed"]) == (200, ["model m", "server s"])
    assert child.is_running()
    awake.touch()
    asking.join(PATIENCE)
    assert b"slept" in answers[0]
    eventually(lambda: not child.is_running(), "the server stopped after its last request")


def test_unchanged_servers_keep_their_process(make_daemon: DaemonFactory) -> None:
    files = {"models/m.yaml": model("m", "one") + "mcp_servers: [a, b]\n"}
    daemon = make_daemon(ECHO, files=files, start=False)
    with_servers(daemon, a=server(), b=server())
    daemon.start()
    before = ready(daemon, "a", "b")
    with_servers(daemon, a=server(whitelist=["echo"], timeout=7), b=server(), c=server())
    daemon.write("models/m.yaml", model("m", "two") + "mcp_servers: [a]\n")
    until_owner(daemon, "m", "two")
    after = ready(daemon, "a", "b", "c")
    assert (after["a"], after["b"]) == (before["a"], before["b"])
    tools = {found["name"]: found["tools"] for found in status(daemon)["mcp_servers"]}
    assert tools["a"] == ["echo"]
    with_servers(daemon, a=server("banner"), b=server())
    eventually(lambda: ready(daemon, "a", "b")["a"] != before["a"], "the server runs in a new process")
    assert pids(daemon)["b"] == before["b"]


def test_a_server_broken_by_an_edit_keeps_its_tools_until_it_is_fixed(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, files={"models/m.yaml": "name: m\nmcp_servers: [s]\n"}, start=False)
    with_servers(daemon, s=server())
    daemon.start()
    ready(daemon, "s")
    with_servers(daemon, s=server("die"))
    (found,) = eventually(
        lambda: [s for s in status(daemon)["mcp_servers"] if s["state"] == "backoff"], "the edited server fails"
    )
    assert "echo" in found["tools"]
    assert daemon.chat("m").status == 200
    with_servers(daemon, s=server("banner"))
    ready(daemon, "s")
    messages = [{"role": "user", "content": 'use mcp_s_echo {"text": "back again"}'}]
    assert b"back again" in daemon.chat("m", messages=messages).body


def test_tools_templates_and_skills_change_with_their_files(make_daemon: DaemonFactory) -> None:
    """Including a sibling that a tool file imports; the daemon is not notified."""
    files = {
        "models/m.yaml": 'name: m\nsystem_prompt: "It is {{which()}}"\ntools: [which]\n',
        "tools/which.py": "import forms\nfrom openai_proxy import tool\n\n"
        '@tool\ndef which() -> str:\n    "Which."\n    return forms.FORM\n',
        "tools/forms.py": 'FORM = "formone"\n',
        "skills/manners.md": "Be kindone.\n",
    }
    daemon = make_daemon(ECHO, files=files)

    def answer() -> bytes:
        return daemon.chat("m", messages=[{"role": "user", "content": "use which"}]).body

    assert b"formone" in answer()
    daemon.write("tools/forms.py", 'FORM = "formtwo"\n')
    eventually(lambda: b"formtwo" in answer(), "the edited sibling is in use")
    daemon.write("tools/which.py", "import gone_with_the_wind\n")
    eventually(lambda: reload(daemon)[0] == 422, "the module cannot be imported")
    assert b"formtwo" in answer()


def test_a_validator_and_its_helpers_are_reloaded(make_daemon: DaemonFactory) -> None:
    conf = "connections: {offline: {api_type: echo}}\ncheck_api_key: doors.check\ngroups: {family: {}}\n"
    doors = 'def check(key: str) -> str | None:\n    return "family" if key == "{key}" else None\n'
    daemon = make_daemon(conf, files={"doors.py": doors.format(key="first-key-0123")})
    assert daemon.chat("echo", key="first-key-0123").status == 200
    (daemon.conf_dir / "doors.py").write_text(doors.format(key="other-key-0123"))
    eventually(lambda: daemon.chat("echo", key="other-key-0123").status == 200, "the new validator decides")
    assert daemon.chat("echo", key="first-key-0123").status == 401
    (daemon.conf_dir / "doors.py").write_text("def check(:\n")
    eventually(lambda: daemon.get("/admin/status").json()["config"]["problems"], "the problem is reported")
    assert daemon.chat("echo", key="other-key-0123").status == 200


def test_prices_loggers_and_limits_follow_an_edit(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO)
    rows: Path = daemon.logs_dir / "rows.jsonl"
    conf: dict[str, Any] = {
        **ECHO,
        "loggers": [
            {"class": "openai_proxy.loggers.JsonLogger", "file_name": "rows.jsonl", "entry": {"m": "request.model"}}
        ],
        "limits": {"max_body_mb": 1},
    }
    daemon.write("proxy.yaml", conf)
    assert reload(daemon)[0] == 200
    assert daemon.chat("echo").status == 200
    eventually(lambda: rows.exists() and '"echo"' in rows.read_text(), "the new logger writes")
    assert daemon.chat("echo", padding="x" * (2 << 20)).status == 413
    daemon.write("proxy.yaml", {**conf, "loggers": [{"class": "no.such.Logger"}]})
    code, answer = reload(daemon)
    assert code == 422
    assert "loggers[0]" in answer["problems"][0]["message"]
    assert answer["problems"][0]["file"].endswith("proxy.yaml")
    daemon.write("proxy.yaml", ECHO)
    assert reload(daemon)[0] == 200
    assert daemon.chat("echo", padding="x" * (2 << 20)).status == 200
    assert "echo" in models(daemon)
