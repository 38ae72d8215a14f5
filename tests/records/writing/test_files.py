"""Writing lines to disks that fill up or vanish, and to files that are rotated."""

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from openai_proxy.records.writing import files as files_module
from openai_proxy.records.writing.files import ANYWAY, IDLE, LET_GO, MAX_OPEN, RETRY_AFTER, LineFiles
from tests.harness.clock import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lines(tmp_path: Path, clock: Clock) -> LineFiles:
    return LineFiles(tmp_path / "logs", clock=clock)


def open_fds() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_files_are_private_and_appended_to(lines: LineFiles) -> None:
    assert lines.append("a_b.jsonl", b"1\n")
    assert lines.append("a_b.jsonl", b"2\n3\n", 2)
    path = lines.directory / "a_b.jsonl"
    assert path.read_bytes() == b"1\n2\n3\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert (lines.written, lines.lost) == (3, 0)


def test_a_torn_last_line_is_ended_first(lines: LineFiles) -> None:
    lines.directory.mkdir()
    path = lines.directory / "a_b.jsonl"
    path.write_bytes(b'{"whole": 1}\n{"torn": ')
    lines.append("a_b.jsonl", b"{}\n")
    assert path.read_bytes() == b'{"whole": 1}\n{"torn": \n{}\n'


def test_a_rotated_file_is_opened_anew(lines: LineFiles, clock: Clock) -> None:
    lines.append("a_b.jsonl", b"1\n")
    path = lines.directory / "a_b.jsonl"
    path.rename(lines.directory / "a_b.jsonl.1")
    clock.now += 1
    lines.append("a_b.jsonl", b"2\n")
    path.unlink()
    clock.now += 1
    lines.append("a_b.jsonl", b"3\n")
    assert path.read_bytes() == b"3\n"
    assert (lines.directory / "a_b.jsonl.1").read_bytes() == b"1\n"


def settle(lines: LineFiles) -> None:
    """Let the directory look as if nothing had changed in it for a minute."""
    long_ago = time.time() - 60
    os.utime(lines.directory, (long_ago, long_ago))


def test_idle_files_are_closed(lines: LineFiles, clock: Clock) -> None:
    lines.append("a_b.jsonl", b"1\n")
    clock.now += IDLE - 0.3
    lines.append("c_d.jsonl", b"1\n")
    assert lines.close_idle(False) == pytest.approx(0.3)
    clock.now += 0.4
    assert lines.close_idle(False) == LET_GO, "a_b.jsonl is closed, c_d.jsonl may be deleted meanwhile"
    assert list(lines._open) == ["c_d.jsonl"]
    assert lines.close_idle(True) is None
    assert lines.append("a_b.jsonl", b"2\n")
    assert (lines.directory / "a_b.jsonl").read_bytes() == b"1\n2\n"


@pytest.mark.parametrize("settled", [False, True])
def test_deleted_and_renamed_files_are_closed_soon(lines: LineFiles, clock: Clock, settled: bool) -> None:
    for name in ("a_b.jsonl", "c_d.jsonl", "e_f.jsonl"):
        lines.append(name, b"1\n")
    if settled:
        settle(lines)
    clock.now += LET_GO
    assert lines.close_idle(False) == LET_GO
    (lines.directory / "a_b.jsonl").unlink()
    (lines.directory / "c_d.jsonl").rename(lines.directory / "c_d.jsonl.1")
    clock.now += LET_GO
    assert lines.close_idle(False) == LET_GO
    assert list(lines._open) == ["e_f.jsonl"]


def rename_unseen(lines: LineFiles) -> None:
    """Rename a_b.jsonl, yet leave the directory's time as it was."""
    before = lines.directory.stat().st_mtime_ns
    (lines.directory / "a_b.jsonl").rename(lines.directory / "a_b.jsonl.1")
    os.utime(lines.directory, ns=(before, before))


@pytest.mark.parametrize("late", [0, 3600])
def test_a_second_change_within_the_resolution_of_the_time_is_noticed(
    lines: LineFiles, clock: Clock, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    lines.append("a_b.jsonl", b"1\n")
    clock.now += 1
    lines.append("a_b.jsonl", b"2\n")
    rename_unseen(lines)
    now = time.time() + late
    monkeypatch.setattr(time, "time", lambda: now)  # after an hour of sleep the monotonic clock has hardly moved
    clock.now += 1
    lines.append("a_b.jsonl", b"3\n")
    assert (lines.directory / "a_b.jsonl").read_bytes() == b"3\n"


def test_a_directory_that_never_shows_a_change_is_not_trusted_for_long(lines: LineFiles, clock: Clock) -> None:
    lines.append("a_b.jsonl", b"1\n")
    settle(lines)
    clock.now += 1
    lines.append("a_b.jsonl", b"2\n")
    rename_unseen(lines)
    clock.now += 1
    lines.append("a_b.jsonl", b"3\n")
    assert not (lines.directory / "a_b.jsonl").exists(), "the test hides the change from the daemon"
    clock.now += ANYWAY
    lines.append("a_b.jsonl", b"4\n")
    assert (lines.directory / "a_b.jsonl").read_bytes() == b"4\n"


def test_names_are_checked_only_after_a_change_in_the_directory(
    lines: LineFiles, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = []
    stat = os.stat

    def watched(path: Any, **options: Any) -> os.stat_result:
        looked_up.append(path)
        return stat(path, **options)

    lines.append("a_b.jsonl", b"1\n")
    monkeypatch.setattr(os, "stat", watched)
    clock.now += 1
    lines.append("a_b.jsonl", b"2\n")
    assert "a_b.jsonl" in looked_up, "the file was just created, and another change may have left the same time"
    settle(lines)
    clock.now += 1
    lines.append("a_b.jsonl", b"3\n")
    looked_up.clear()
    clock.now += 1
    lines.append("a_b.jsonl", b"4\n")
    assert "a_b.jsonl" not in looked_up
    (lines.directory / "a_b.jsonl").rename(lines.directory / "a_b.jsonl.1")
    clock.now += 1
    lines.append("a_b.jsonl", b"5\n")
    assert (lines.directory / "a_b.jsonl").read_bytes() == b"5\n"
    assert (lines.directory / "a_b.jsonl.1").read_bytes() == b"1\n2\n3\n4\n"


def test_a_moved_or_removed_directory_is_created_again(lines: LineFiles, clock: Clock, tmp_path: Path) -> None:
    lines.append("a_b.jsonl", b"1\n")
    lines.directory.rename(tmp_path / "old")
    clock.now += 1
    assert lines.append("a_b.jsonl", b"2\n")
    assert (lines.directory / "a_b.jsonl").read_bytes() == b"2\n"
    assert (tmp_path / "old" / "a_b.jsonl").read_bytes() == b"1\n"
    (lines.directory / "a_b.jsonl").unlink()
    lines.directory.rmdir()
    clock.now += 1
    assert lines.append("a_b.jsonl", b"3\n")
    assert (lines.directory / "a_b.jsonl").read_bytes() == b"3\n"


def test_few_descriptors_are_used(lines: LineFiles) -> None:
    lines.append("first_x.jsonl", b"1\n")
    before = open_fds()
    for n in range(1000):
        assert lines.append(f"m_{n}.jsonl", b"1\n")
    assert open_fds() <= before + MAX_OPEN
    lines.close()
    assert open_fds() < before


def test_idle_records_hold_no_descriptor(lines: LineFiles, clock: Clock) -> None:
    before = open_fds()
    lines.append("a_b.jsonl", b"1\n")
    clock.now += IDLE
    assert lines.close_idle(False) is None
    assert open_fds() == before, "the directory would keep its disk from being unmounted"


def test_fewer_are_used_if_the_process_has_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (160, 160))
    lines = LineFiles(tmp_path)
    for n in range(100):
        assert lines.append(f"m_{n}.jsonl", b"1\n")
    assert list(lines._open) == [f"m_{n}.jsonl" for n in range(90, 100)]


def test_without_a_descriptor_the_file_that_was_idle_longest_is_closed(
    lines: LineFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def limited(*arguments: Any, **options: Any) -> int:
        if len(lines._open) >= taken:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return opened(*arguments, **options)

    taken = 3
    monkeypatch.setattr(os, "open", limited)
    for n in range(5):
        assert lines.append(f"m_{n}.jsonl", b"1\n")
    assert list(lines._open) == ["m_2.jsonl", "m_3.jsonl", "m_4.jsonl"]
    taken = 0
    assert not lines.append("m_5.jsonl", b"1\n"), "none is left even with every file closed"
    assert (lines.written, lines.lost) == (5, 1)


def test_links_and_pipes_are_not_written_through(lines: LineFiles, tmp_path: Path) -> None:
    lines.directory.mkdir()
    victim = tmp_path / "victim"
    victim.write_text("")
    (lines.directory / "a_b.jsonl").symlink_to(victim)
    os.mkfifo(lines.directory / "c_d.jsonl")
    assert not lines.append("a_b.jsonl", b"1\n")
    assert not lines.append("c_d.jsonl", b"1\n")
    assert victim.read_text() == ""
    assert lines.lost == 2
    assert lines.append("e_f.jsonl", b"1\n")


def test_a_full_disk_costs_lines_until_the_next_try(lines: LineFiles, clock: Clock) -> None:
    lines.append("a_b.jsonl", b"1\n")
    full = os.open("/dev/full", os.O_WRONLY)
    fd = lines._open["a_b.jsonl"].fd
    os.dup2(full, fd)
    os.close(full)
    assert not lines.append("a_b.jsonl", b"2\n")
    assert lines.degraded == os.strerror(errno.ENOSPC)
    assert not lines.append("a_b.jsonl", b"3\n")
    assert not lines.append("c_d.jsonl", b"3\n")
    assert lines.lost == 3
    clock.now += RETRY_AFTER + 1
    assert lines.append("a_b.jsonl", b"4\n")
    assert lines.degraded is None
    assert (lines.directory / "a_b.jsonl").read_bytes() == b"1\n4\n"


def test_a_directory_that_cannot_be_created_costs_lines(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "logs").write_text("a file stands here")
    lines = LineFiles(tmp_path / "logs", clock=clock)
    assert not lines.append("a_b.jsonl", b"1\n")
    assert lines.lost == 1
    (tmp_path / "logs").unlink()
    clock.now += RETRY_AFTER + 1
    assert lines.append("a_b.jsonl", b"2\n")


LIMITED = """
import resource, sys
from pathlib import Path
from openai_proxy.records.writing.files import LineFiles
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
lines = LineFiles(Path(sys.argv[1]))
line = b'{"n": "' + b"x" * 290 + b'"}\\n'
print(len(line), [lines.append("a_b.jsonl", line * int(n), int(n)) for n in sys.argv[2]], lines.written, lines.lost)
print(lines.append("c_d.jsonl", b"{}\\n"))
"""


@pytest.mark.parametrize("batches", ["1111", "22", "4"])
def test_a_short_write_is_cut_back_to_a_whole_line(tmp_path: Path, batches: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), batches], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout.splitlines()[0].endswith(" 3 1"), done.stdout
    assert done.stdout.splitlines()[1] == "True"  # other files are still written
    written = (tmp_path / "a_b.jsonl").read_bytes()
    assert written.endswith(b"\n")
    assert [len(json.loads(line)["n"]) for line in written.splitlines()] == [290] * 3
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


KILLED = """
import sys
from pathlib import Path
from openai_proxy.records.writing.files import LineFiles
lines = LineFiles(Path(sys.argv[1]))
print("ready", flush=True)
n = 0
while True:
    n += 1
    lines.append("a_b.jsonl", b'{"n": %d, "x": "%s"}\\n' % (n, b"x" * (n % 3000)) * 5, 5)
"""


def test_a_killed_writer_leaves_only_whole_lines_but_the_last(tmp_path: Path) -> None:
    path = tmp_path / "a_b.jsonl"
    for _ in range(3):
        child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"ready\n"
        size = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size < size + 200_000:
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        torn = 0
        for line in path.read_bytes().split(b"\n"):
            try:
                if line:
                    json.loads(line)
            except ValueError:
                torn += 1
        assert torn <= 3
        LineFiles(tmp_path).append("a_b.jsonl", b'{"after": 1}\n')
        assert path.read_bytes().endswith(b'\n{"after": 1}\n')


def test_only_old_conversations_are_removed(lines: LineFiles, tmp_path: Path) -> None:
    lines.directory.mkdir()
    for name in ("old_1.jsonl", "new_1.jsonl", "notes.txt", "requests.jsonl", "kept_rows.jsonl"):
        (lines.directory / name).write_text("x")
        if not name.startswith("new"):
            os.utime(lines.directory / name, (1, 1))
    (lines.directory / "link_1.jsonl").symlink_to(tmp_path / "nowhere")
    assert sum(lines.remove_older(86400, frozenset({"kept_rows.jsonl"}))) == 1
    left = {p.name for p in lines.directory.iterdir()}
    assert left == {"new_1.jsonl", "notes.txt", "requests.jsonl", "kept_rows.jsonl", "link_1.jsonl"}
    assert files_module.RETRY_AFTER == 30
