"""Contract §6, §14: what is broken at start-up affects as little as possible, and is reported everywhere."""

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

IN_USE = "the last working configuration"


def problems(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = daemon.get("/admin/status").json()["config"]["problems"]
    return found


def log_line(daemon: Daemon, part: str) -> str:
    def found() -> list[str]:
        return [line for line in daemon.stderr.splitlines() if part in line]

    return eventually(found, f"a line contains: {part}")[0]


@pytest.fixture
def worked(make_daemon: DaemonFactory, upstream: Upstream) -> Daemon:
    """A daemon that has run with a working configuration and was stopped."""
    daemon = make_daemon({"connections": {"up": {"api_base": upstream.url, "api_key": "sk-kept-0123456789"}}})
    assert daemon.chat("x").status == 200
    daemon.stop()
    return daemon


@pytest.mark.parametrize("broken", ["connections: [\n", "port: many\n", "hots: x\n", "a: 1\na: 2\n"])
def test_a_broken_proxy_yaml_is_replaced_by_the_last_working_one(worked: Daemon, broken: str) -> None:
    sound = (worked.conf_dir / "proxy.yaml").read_text()
    worked.write("proxy.yaml", broken)
    worked.start()
    assert worked.chat("x").status == 200
    assert any(IN_USE in problem["message"] for problem in problems(worked))
    assert len(problems(worked)) >= 2
    assert worked.get("/health").json()["config"]["problems"]
    assert "proxy.yaml:1:1" in log_line(worked, IN_USE)
    assert any(IN_USE in line for line in worked.status) or "problems" in "".join(worked.status)
    worked.write("proxy.yaml", sound)
    eventually(lambda: problems(worked) == [], "the repair takes effect without a reload")
    assert worked.chat("x").status == 200


def test_the_copy_is_readable_by_its_owner_only(worked: Daemon) -> None:
    kept = worked.state_dir / "last-good/proxy.yaml"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text() == (worked.conf_dir / "proxy.yaml").read_text()


def test_the_copy_follows_edits(worked: Daemon, upstream: Upstream) -> None:
    worked.start()
    conf = {"connections": {"other": {"api_base": upstream.url}}}
    worked.write("proxy.yaml", conf)
    kept = worked.state_dir / "last-good/proxy.yaml"
    eventually(lambda: "other" in kept.read_text(), "the copy contains the edit")
    worked.write("proxy.yaml", "connections: [\n")
    eventually(lambda: problems(worked) != [], "the broken edit is reported")
    worked.stop()
    assert "other" in kept.read_text()
    worked.start()
    assert worked.chat("other:x").status == 200


def test_without_a_working_copy_it_exits_with_1(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon("connections: [\n", start=False)
    daemon.port = 0
    daemon.launch()
    assert daemon.exit_code() == 1
    assert "the [ that opens here is never closed" in daemon.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_unwritable_logs_directory_is_reported(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon("", start=False)
    daemon.logs_dir.chmod(0o500)
    daemon.start()
    assert "permission denied" in log_line(daemon, "logs cannot be written")


def test_a_logs_directory_that_is_a_file_is_reported_and_requests_continue(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon("", start=False)
    daemon.logs_dir.rmdir()
    daemon.logs_dir.write_text("")
    daemon.start()
    assert f"logs cannot be written to {daemon.logs_dir}: " in log_line(daemon, "logs cannot be written")
    assert daemon.chat("echo").status == 200


def test_a_file_name_that_is_not_utf_8_breaks_nothing(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon("", start=False)
    for folder, name, text in (
        ("models", b"caf\xe9.yaml", b"nme: x\n"),
        ("skills", b"caf\xe9.md", b"text\n"),
        ("tools", b"caf\xe9.py", b"import nowhere\n"),
    ):
        (daemon.conf_dir / folder).mkdir()
        Path(os.fsdecode(os.fsencode(daemon.conf_dir / folder) + b"/" + name)).write_bytes(text)
    daemon.start()
    assert daemon.get("/health").status == 200
    files = {problem["file"].rpartition("/")[2] for problem in problems(daemon)}
    assert files == {r"caf\udce9.yaml", r"caf\udce9.md", r"caf\udce9.py"}
    assert daemon.chat("echo").status == 200
