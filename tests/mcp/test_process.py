"""Processes: found, killed, replaced, and ended with all descendants, on both event loops."""

import asyncio
import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from openai_proxy.tools.mcp import process

from .conftest import Config, Supervised, children, eventually, fault


@pytest.fixture(autouse=True)
def short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "EOF_GRACE", 0.2)
    monkeypatch.setattr(process, "TERM_GRACE", 0.2)


async def test_a_killed_server_comes_back(supervised: Supervised) -> None:
    await supervised.start(fault())
    pid = supervised.status()["pid"]
    call = asyncio.create_task(supervised.call("sleep", {"seconds": 30}))
    await supervised.asleep()
    os.killpg(pid, signal.SIGKILL)
    assert (await asyncio.wait_for(call, 15)).is_error
    await eventually(lambda: supervised.status()["state"] == "ready" and supervised.status()["pid"] not in (pid, None))
    assert (await supervised.echo("again")).text == "again"


async def test_the_environment_has_no_secrets_and_no_descriptor_leaks(
    supervised: Supervised, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-or-secret")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/creds")
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ca.pem")
    monkeypatch.setenv("UV_PUBLISH_TOKEN", "t0ken")
    with (tmp_path / "open").open("w") as handle:
        os.set_inheritable(handle.fileno(), True)
        await supervised.start(fault(env={"OWN": "$(id)"}))
        env = json.loads((await supervised.call("env")).text)
        descriptors = (await supervised.call("fds")).text.split()
    assert env["OWN"] == "$(id)"
    assert env["SSL_CERT_FILE"] == "/etc/ca.pem"
    assert not {"OPENROUTER_API_KEY", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY", "UV_PUBLISH_TOKEN"} & env.keys()
    assert sorted(map(int, descriptors))[:3] == [0, 1, 2]
    assert len(descriptors) == 4  # the fourth one is used to list them


async def test_large_arguments_and_answers_pass(supervised: Supervised) -> None:
    await supervised.start(fault())
    assert (await supervised.echo("x" * 90_000)).text == "x" * 90_000
    assert "left out" in (await supervised.echo("huge", size=3)).text


async def test_a_missing_command_or_directory_is_named(supervised: Supervised) -> None:
    supervised.configure(Config(command="/no/such/command-x"), fault(name="nowhere", cwd="/no/such/directory"))
    assert "command-x" in (await supervised.state("backoff"))["last_error"]
    assert "/no/such/directory" in (await supervised.state("backoff", "nowhere"))["last_error"]


@pytest.mark.parametrize(
    "modes",
    [
        ("ignore-eof",),
        ("ignore-eof", "ignore-term"),
        ("grandchild=",),
        ("grandchild=holds-pipe",),
        ("grandchild=new-session",),
    ],
)
async def test_nothing_survives_a_stop(supervised: Supervised, modes: tuple[str, ...]) -> None:
    await supervised.start(fault(*modes))
    started = len(children())
    assert started == (2 if modes[0].startswith("grandchild") else 1)
    supervised.configure()
    await eventually(lambda: not children())


@pytest.mark.parametrize("kind", ["", "new-session", "holds-pipe", "holds-pipes"])
async def test_grandchildren_of_an_exited_server_are_ended(supervised: Supervised, kind: str) -> None:
    await supervised.start(fault(f"grandchild={kind}"))
    old = {child.pid for child in children()}
    os.kill(supervised.status()["pid"], signal.SIGKILL) if kind == "holds-pipes" else await supervised.echo("exit")
    await eventually(lambda: supervised.status()["state"] == "ready" and supervised.status()["pid"] not in {*old, None})
    assert not old & {child.pid for child in children()}


async def test_a_server_is_ended_while_it_is_still_connecting(supervised: Supervised) -> None:
    supervised.configure(fault("hang-initialize"))
    await eventually(children)
    async with asyncio.timeout(15):  # the server's own start timeout is 20
        await supervised.supervisor.aclose()
    assert children() == []


async def test_the_shutdown_waits_for_a_process_that_an_edit_replaced(supervised: Supervised) -> None:
    await supervised.start(fault("ignore-eof", "ignore-term"))
    old = supervised.status()["pid"]
    supervised.configure(fault())
    await eventually(lambda: supervised.status()["pid"] not in (old, None))
    await supervised.supervisor.aclose()
    assert children() == []


async def test_a_frozen_server_does_not_delay_the_shutdown(supervised: Supervised) -> None:
    await supervised.start(fault())
    psutil.Process(supervised.status()["pid"]).suspend()
    await supervised.supervisor.aclose()
    assert children() == []
