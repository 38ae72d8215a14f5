"""Directories that are replaced, appear later, are links or vanish; file systems without notifications."""

import asyncio
import shutil
from pathlib import Path

import pytest

from openai_proxy.runtime import watcher
from openai_proxy.runtime.tree import Tree, look
from openai_proxy.runtime.watcher import Watcher, is_remote, notifier
from tests.conftest import DaemonFactory
from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually
from tests.reload.conftest import ECHO
from tests.reload.looking import model, models, problems, reload, status, until_owner


def test_a_replaced_directory_is_still_watched(configured_daemon: Daemon) -> None:
    folder = configured_daemon.conf_dir / "models"
    for owner in ("one", "two"):
        new = configured_daemon.root / f"models.{owner}"
        shutil.copytree(folder, new)
        (new / "replaced.yaml").write_text(model("replaced", owner))
        folder.rename(configured_daemon.root / f"old.{owner}")
        new.rename(folder)
        until_owner(configured_daemon, "replaced", owner)
        (folder / "replaced.yaml").write_text(model("replaced", f"{owner} edited"))
        until_owner(configured_daemon, "replaced", f"{owner} edited")
    assert "first" in models(configured_daemon)


def test_a_directory_that_appears_later_is_watched(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO)
    (daemon.conf_dir / "models").mkdir()
    (daemon.conf_dir / "models" / "late.yaml").write_text(model("late", "me"))
    until_owner(daemon, "late", "me")
    (daemon.conf_dir / "models" / "late.yaml").write_text(model("late", "you"))
    until_owner(daemon, "late", "you")


def test_a_daemon_started_without_files_reads_them_later(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(start=False)
    (daemon.root / ".env").unlink()
    daemon.start()
    daemon.write("models/late.yaml", "name: late\nowned_by: ${WHO:-nobody}\n")
    until_owner(daemon, "late", "nobody")
    (daemon.root / ".env").write_text("WHO=somebody\n")
    until_owner(daemon, "late", "somebody")
    (daemon.root / ".env").write_text("WHO=another\n")
    until_owner(daemon, "late", "another")


def test_conf_behind_links_as_a_config_map_is_mounted(make_daemon: DaemonFactory) -> None:
    """conf/proxy.yaml -> ..data/proxy.yaml, ..data -> ..first: an update is one rename of ..data."""
    daemon = make_daemon(start=False)

    def version(name: str, owner: str) -> None:
        (daemon.conf_dir / f"..{name}" / "models").mkdir(parents=True)
        (daemon.conf_dir / f"..{name}" / "proxy.yaml").write_text("connections: {offline: {api_type: echo}}\n")
        (daemon.conf_dir / f"..{name}" / "models" / "m.yaml").write_text(model("m", owner))
        link = daemon.conf_dir / "..new"
        link.symlink_to(f"..{name}")
        link.replace(daemon.conf_dir / "..data")

    version("first", "one")
    for name in ("proxy.yaml", "models"):
        (daemon.conf_dir / name).symlink_to(f"..data/{name}")
    daemon.start()
    assert models(daemon)["m"] == "one"
    version("second", "two")
    until_owner(daemon, "m", "two")
    version("third", "three")
    until_owner(daemon, "m", "three")


def test_conf_itself_may_be_a_link_that_changes(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(start=False)
    daemon.conf_dir.rmdir()
    for owner in ("one", "two"):
        folder = daemon.root / owner / "models"
        folder.mkdir(parents=True)
        (folder.parent / "proxy.yaml").write_text("connections: {offline: {api_type: echo}}\n")
        (folder / "m.yaml").write_text(model("m", owner))
    daemon.conf_dir.symlink_to(daemon.root / "one")
    daemon.start()
    (daemon.root / "next").symlink_to(daemon.root / "two")
    (daemon.root / "next").replace(daemon.conf_dir)
    until_owner(daemon, "m", "two")
    (daemon.root / "two" / "models" / "m.yaml").write_text(model("m", "edited where it lies"))
    until_owner(daemon, "m", "edited where it lies")


def test_a_vanished_conf_keeps_the_configuration(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, files={"models/m.yaml": model("m", "me")})
    away = daemon.root / "away"
    daemon.conf_dir.rename(away)
    eventually(lambda: problems(daemon), "the problem is reported")
    assert "the directory is gone" in problems(daemon)[0]
    assert models(daemon)["m"] == "me"
    code, answer = reload(daemon)
    assert (code, answer["changed"]) == (422, False)
    away.rename(daemon.conf_dir)
    eventually(lambda: not problems(daemon), "the problem is gone")
    assert models(daemon)["m"] == "me"
    daemon.write("models/m.yaml", model("m", "you"))
    until_owner(daemon, "m", "you")


def test_conf_replaced_by_another_directory(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, files={"models/m.yaml": model("m", "me")})
    new = daemon.root / "new"
    shutil.copytree(daemon.conf_dir, new)
    (new / "models" / "m.yaml").write_text(model("m", "you"))
    shutil.rmtree(daemon.conf_dir)
    new.rename(daemon.conf_dir)
    until_owner(daemon, "m", "you")
    daemon.write("models/m.yaml", model("m", "them"))
    until_owner(daemon, "m", "them")


def test_polling_notices_edits(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, files={"models/m.yaml": model("m", "me")}, env={"WATCHFILES_FORCE_POLLING": "1"})
    before = daemon.generation()
    daemon.write("models/m.yaml", model("m", "you"))
    until_owner(daemon, "m", "you")
    with (daemon.conf_dir / "models" / "m.yaml").open(
        "r+"
    ) as file:  # changed in place by a single write, so it is never half written
        file.write(model("m", "her"))
    until_owner(daemon, "m", "her")
    assert status(daemon)["config"]["generation"] == before + 2


async def test_without_free_kernel_watches_it_polls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_left(*_: object) -> object:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr(watcher, "notifier", lambda: none_left)
    monkeypatch.setattr(watcher, "RETRY", 0.01)
    monkeypatch.setattr(watcher, "POLL", 0.01)
    looks: asyncio.Queue[Tree] = asyncio.Queue()
    watching = Watcher(asyncio.get_running_loop(), lambda: [tmp_path], looks.put_nowait)
    watching.start()
    try:
        assert not (await asyncio.wait_for(looks.get(), 10)).files
        (tmp_path / "proxy.yaml").write_text("port: 1\n")
        while not (await asyncio.wait_for(looks.get(), 10)).files:
            pass
    finally:
        watching.stop()
    assert [record.message for record in caplog.records if "cannot be watched" in record.message]


MOUNTS = """\
22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
36 22 0:40 / /srv/house rw,relatime shared:7 - nfs4 server:/house rw,vers=4.2
37 22 0:41 / /srv/with\\040space rw,relatime - fuse.sshfs pi@host: rw
38 36 0:42 / /srv/house/local rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "remote"),
    [
        ("/etc/openai-proxy", False),
        ("/srv/house/conf", True),
        ("/srv/with space/conf/not/there/yet", True),
        ("/srv/house/local/conf", False),
        ("/srv/houses", False),
    ],
)
def test_network_file_systems_are_recognised_by_their_mount(path: str, remote: bool) -> None:
    assert is_remote([Path("/tmp"), Path(path)], MOUNTS) is remote


def test_without_mountinfo_a_file_system_counts_as_local() -> None:
    assert is_remote([Path("/tmp")], "") is False


def test_the_core_of_watchfiles_is_unchanged() -> None:
    """The core is imported without its package, so a new version that moves it must fail here."""
    core = notifier()
    from watchfiles._rust_notify import RustNotify

    assert core is RustNotify


def test_scanning_follows_no_link_cycles_and_skips_foreign_directories(tmp_path: Path) -> None:
    (tmp_path / "skills" / "deep").mkdir(parents=True)
    (tmp_path / "skills" / "deep" / "up").symlink_to(tmp_path)
    (tmp_path / "skills" / "nowhere.md").symlink_to(tmp_path / "gone.md")
    for name in ("proxy.yaml", "skills/deep/SKILL.md", ".proxy.yaml.swp", "proxy.yaml~", "notes.txt"):
        (tmp_path / name).write_text("x")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.py").write_text("")
    tree = look([tmp_path, tmp_path / ".env"])
    assert {Path(path).name for path in tree.files} == {"proxy.yaml", "SKILL.md"}
    assert tree.roots == {str(tmp_path)}
    assert tree.concerns(str(tmp_path / ".env"))
    assert tree.concerns(str(tmp_path / "gone.md"))
    assert not tree.concerns(str(tmp_path.parent / "other"))
    (tmp_path / ".env").write_text("A=1")
    assert not look([tmp_path, tmp_path / ".env"]).same(tree)
