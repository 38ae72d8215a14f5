"""Every way in which an editor saves a file is one edit: noticed, applied once, and nothing is missing meanwhile."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon
from tests.harness.waiting import eventually
from tests.reload.looking import model, models, reload, settled, until_owner
from tests.reload.pace import Pace, attempts, written_in_one_go

Save = Callable[[Path, str], Pace | None]
"""Saves a text. One that writes slowly on purpose reports its pace; all others must be quick as a whole."""


def truncate_and_write(path: Path, text: str) -> None:
    path.write_text(text)


def rename_over(path: Path, text: str) -> None:
    new = path.with_name(f"{path.name}.tmp")
    new.write_text(text)
    new.replace(path)


def rename_from_elsewhere(path: Path, text: str) -> None:
    new = path.parent.parent.parent / f"{path.name}.elsewhere"
    new.write_text(text)
    new.replace(path)


def swap_a_link(path: Path, text: str) -> None:
    target = path.parent.parent.parent / f"{path.name}.{time.monotonic_ns()}"
    target.write_text(text)
    link = path.with_name(f".{path.name}.link")
    link.symlink_to(target)
    link.replace(path)


def delete_and_create(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    time.sleep(0.05)
    path.write_text(text)


def as_vim_does(path: Path, text: str) -> None:
    """`:w` with backupcopy=no: a swap file, a test file, the old file renamed to a backup, a new one, both removed."""
    swap, probe, backup = path.with_name(f".{path.name}.swp"), path.with_name("4913"), Path(f"{path}~")
    swap.write_bytes(b"b0VIM 9.0")
    probe.touch()
    probe.unlink()
    if path.exists():
        path.rename(backup)
    path.write_text(text)
    backup.unlink(missing_ok=True)
    swap.unlink()


def as_emacs_does(path: Path, text: str) -> None:
    """A lock that is a dangling link, an auto-save file, the old file copied to a backup, the file overwritten."""
    lock, autosave = path.with_name(f".#{path.name}"), path.with_name(f"#{path.name}#")
    lock.symlink_to("owner@host.1234:1700000000")
    autosave.write_text(text)
    if path.exists():
        shutil.copy2(path, Path(f"{path}~"))
    path.write_text(text)
    autosave.unlink()
    lock.unlink()


def in_small_writes(path: Path, text: str) -> Pace:
    pace = Pace()
    with path.open("w") as out:
        for character in text:
            out.write(character)
            out.flush()
            pace.step()
            time.sleep(0.005)
    pace.step()
    return pace


def keeping_the_old_times(path: Path, text: str) -> None:
    """Like `rsync -t` and `cp -p`: the modification time is long ago, the size may be the same."""
    path.write_text(text)
    os.utime(path, (1_000_000_000, 1_000_000_000))


SAVES = [
    truncate_and_write, rename_over, rename_from_elsewhere, swap_a_link, delete_and_create, as_vim_does, as_emacs_does,
    in_small_writes, keeping_the_old_times,
]  # fmt: skip


@pytest.mark.parametrize("save", SAVES, ids=lambda save: save.__name__)
def test_each_way_to_save_is_noticed_as_one_edit(configured_daemon: Daemon, save: Save) -> None:
    name = save.__name__
    path = configured_daemon.conf_dir / "models" / f"{name}.yaml"
    for owner in ("one", "two", "six"):
        former = path.read_text() if path.exists() else None
        for _ in attempts():
            before, pace = settled(configured_daemon), Pace()
            told = save(path, model(name, owner))
            pace.step()
            until_owner(configured_daemon, name, owner)
            after = settled(configured_daemon)
            if (told or pace).steady:
                break
            path.unlink() if former is None else rename_over(path, former)
        assert after == before + 1
    assert "first" in models(configured_daemon)


def test_touching_a_file_changes_nothing(configured_daemon: Daemon) -> None:
    path = configured_daemon.conf_dir / "models" / "touched.yaml"
    path.write_text(model("touched", "me"))
    before = settled(configured_daemon)
    reload(configured_daemon)
    path.touch()
    os.utime(path, (1_500_000_000, 1_500_000_000))
    path.chmod(0o640)
    code, answer = reload(configured_daemon)
    assert (code, answer["changed"], answer["generation"]) == (200, False, before)
    rename_over(path, model("touched", "me"))
    assert settled(configured_daemon) == before


def test_removing_a_file_removes_its_model(configured_daemon: Daemon) -> None:
    path = configured_daemon.conf_dir / "models" / "leaving.yaml"
    path.write_text(model("leaving", "me"))
    until_owner(configured_daemon, "leaving", "me")
    path.unlink()
    code, answer = reload(configured_daemon)
    assert (code, answer["removed"]) == (200, ["model leaving"])
    assert "leaving" not in models(configured_daemon)


@pytest.mark.parametrize("gap", [0.02, 0.06, 0.1])
def test_the_first_half_of_a_file_is_never_applied(configured_daemon: Daemon, gap: float) -> None:
    """Both halves are valid YAML, and somebody requests a reload between them."""
    path = configured_daemon.conf_dir / "models" / "halved.yaml"
    for _ in attempts():
        rename_over(path, model("halved", "before"))
        until_owner(configured_daemon, "halved", "before")
        before, pace, seen = settled(configured_daemon), Pace(), set()
        asking = threading.Thread(target=reload, args=(configured_daemon,))
        with path.open("w") as out:
            out.write("name: halved\n")
            out.flush()
            asking.start()
            time.sleep(gap)
            out.write("owned_by: after\n")
        pace.step()
        eventually(
            lambda seen=seen: seen.add(models(configured_daemon).get("halved")) or "after" in seen,
            "the complete file is in effect",
        )
        asking.join()
        after = settled(configured_daemon)
        if pace.steady:
            break
    assert seen <= {"before", "after"}
    assert after == before + 1


def test_a_file_overwritten_repeatedly_is_read_once_stable(configured_daemon: Daemon) -> None:
    path = configured_daemon.conf_dir / "models" / "busy.yaml"
    for attempt in attempts():
        before, pace = settled(configured_daemon), Pace()
        for number in range(15):
            path.write_text(model("busy", f"draft{number}"))
            pace.step()
            time.sleep(0.03)
        path.write_text(model("busy", f"final{attempt}"))
        pace.step()
        until_owner(configured_daemon, "busy", f"final{attempt}")
        after = settled(configured_daemon)
        if pace.steady:
            break
    assert after == before + 1


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_a_checkout_of_fifty_files_is_one_edit(configured_daemon: Daemon) -> None:
    def git(*words: str) -> None:
        author = ("-c", "user.name=owner", "-c", "user.email=owner@home")
        subprocess.run(["git", *author, *words], cwd=configured_daemon.conf_dir, check=True, capture_output=True)

    folder = configured_daemon.conf_dir / "models"
    for number in range(50):
        (folder / f"git{number}.yaml").write_text(model(f"git{number}", "first"))
    git("init", "-q", "-b", "first")
    git("add", "-A")
    git("commit", "-q", "-m", "first")
    git("checkout", "-q", "-b", "second")
    for number in range(50):
        (folder / f"git{number}.yaml").write_text(model(f"git{number}", "second"))
    git("commit", "-q", "-a", "-m", "second")
    for attempt in attempts():
        before, branch = settled(configured_daemon), ("first", "second")[attempt % 2]
        git("checkout", "-q", branch)
        until_owner(configured_daemon, "git49", branch)
        assert settled(configured_daemon) > before
        assert {owner for name, owner in models(configured_daemon).items() if name.startswith("git")} == {branch}
        if written_in_one_go(folder.glob("git*.yaml")):
            break
    assert settled(configured_daemon) == before + 1
