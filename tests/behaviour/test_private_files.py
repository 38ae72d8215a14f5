"""State files and chat logs are readable by their owner only, whatever the umask and their earlier permissions."""

import stat
from pathlib import Path

import pytest

from tests.conftest import DaemonFactory
from tests.front.configurations import front_conf
from tests.harness.plays import completion, plain
from tests.harness.upstream import Upstream
from tests.harness.waiting import eventually

KEY = "sk-family-0123456789"
FOUND_OPEN = ("usage.sqlite3", "sessions.json", "models.json", "limits.json")


def _open_to_others(folder: Path) -> dict[str, str]:
    modes = {path: path.stat().st_mode for path in folder.rglob("*") if not path.is_dir()}
    return {str(path.relative_to(folder)): stat.filemode(mode) for path, mode in modes.items() if mode & 0o077}


@pytest.mark.parametrize("umask", [0o000, 0o022])
def test_state_and_logs_cannot_be_read_by_others(make_daemon: DaemonFactory, upstream: Upstream, umask: int) -> None:
    groups = {"family": {"api_keys": [KEY], "limits": {"tokens_per_day": 100_000}, "commands": True}}
    daemon = make_daemon(front_conf(upstream, groups=groups), umask=umask)
    play = upstream.play(plain(completion("hello")))
    messages = [{"role": "user", "content": "!/set(interactive=on) hi"}]
    headers = [("X-Session-ID", "private")]
    assert daemon.chat(play.model, key=KEY, headers=headers, messages=messages).status == 200
    assert daemon.get("/v1/models", key=KEY).status == 200
    eventually(lambda: len(list(daemon.log_lines())) >= 2, "the chat log is written")
    daemon.stop()
    written = {path.name for path in daemon.state_dir.rglob("*")}
    assert {"usage.sqlite3", "sessions.json", "models.json", "limits.json", "proxy.yaml"} <= written
    assert _open_to_others(daemon.state_dir) == {}
    assert _open_to_others(daemon.logs_dir) == {}

    for name in FOUND_OPEN:
        (daemon.state_dir / name).chmod(0o644)
        (daemon.state_dir / f".{name}.new").touch(0o644)
        (daemon.state_dir / f".{name}.new").chmod(0o644)
    daemon.start()
    assert daemon.chat(play.model, key=KEY, headers=headers, messages=messages).status == 200
    assert daemon.get("/v1/models", key=KEY).status == 200
    daemon.stop()
    assert _open_to_others(daemon.state_dir) == {}
