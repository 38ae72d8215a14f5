"""When files may be read: once stable, even with a wrong clock, also at start; and files that never become stable."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from openai_proxy.runtime import prepare, reload, tree
from tests.conftest import DaemonFactory
from tests.reload.conftest import ECHO
from tests.reload.looking import model, models, problems, until_owner
from tests.reload.pace import Pace, attempts
from tests.reload.process import reloading, write_configuration, write_model

pytestmark = pytest.mark.slow


def test_a_start_waits_for_a_file_that_is_being_written(make_daemon: DaemonFactory) -> None:

    def write_slowly(path: Path, pace: Pace) -> None:
        with path.open("w") as out:
            out.write("name: m\n")
            for number in range(20):
                time.sleep(0.05)
                out.write(f"# line {number}\n")
                out.flush()
                pace.step()
            out.write("owned_by: whole\n")
        pace.step()

    for _ in attempts():
        daemon = make_daemon(ECHO, files={"models/m.yaml": "name: m\n"}, start=False)
        pace = Pace()
        writing = threading.Thread(target=write_slowly, args=(daemon.conf_dir / "models" / "m.yaml", pace))
        writing.start()
        daemon.start()
        served = models(daemon)
        writing.join()
        if pace.steady:
            break
    assert served["m"] == "whole"


def test_a_start_leaves_broken_files_out_and_lists_them(make_daemon: DaemonFactory) -> None:
    files = {
        "models/good.yaml": model("good", "me"),
        "models/bad.yaml": "name: [\n",
        "skills/bad.yaml": "content: [\n",
        "tools/bad.py": "def (:\n",
        "mcp/servers.yaml": "servers: {bad: {comand: x}}\n",
    }
    daemon = make_daemon(ECHO, files=files)
    assert models(daemon)["good"] == "me"
    assert sorted(problem.split(":")[0] for problem in problems(daemon)) == [
        "bad.py", "bad.yaml", "bad.yaml", "servers.yaml",
    ]  # fmt: skip
    for file in ("models/bad.yaml", "skills/bad.yaml", "tools/bad.py", "mcp/servers.yaml"):
        assert daemon.stderr.count(f"{daemon.conf_dir / file}:") == 1
    for file in files:
        if file != "models/good.yaml":
            (daemon.conf_dir / file).unlink()
    daemon.write("models/good.yaml", model("good", "you"))
    until_owner(daemon, "good", "you")
    assert problems(daemon) == []


async def test_a_clock_set_back_does_not_delay_a_reload_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file seems to be from the future, so only the time for which it stayed unchanged counts."""
    write_configuration(tmp_path / "conf", 1)
    async with reloading(tmp_path) as (state, reloads):
        monkeypatch.setattr(tree.Tree, "quiet_for", lambda self: -86400.0)
        write_model(tmp_path / "conf", 0, "second")
        began = time.monotonic()
        assert (await reloads.ask())["changed"]
        assert time.monotonic() - began >= prepare.SETTLE
        assert state.generation.snapshot.models["house/m0"].owned_by == "second"


async def test_the_clock_of_another_machine_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network file system times may be old although the file is being written."""
    write_configuration(tmp_path / "conf", 1)
    async with reloading(tmp_path) as (_, reloads):
        reloads.remote = True
        monkeypatch.setattr(tree.Tree, "quiet_for", lambda self: 86400.0)
        write_model(tmp_path / "conf", 0, "second")
        began = time.monotonic()
        assert (await reloads.ask())["changed"]
        assert time.monotonic() - began >= prepare.SETTLE


async def test_files_that_never_become_stable_are_read_eventually(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write_configuration(tmp_path / "conf", 1)
    monkeypatch.setattr(reload, "SETTLE", 10.0)  # longer than any pause of the scribbler
    monkeypatch.setattr(reload, "MAX_SETTLE", 0.3)
    stop = threading.Event()

    def scribble() -> None:
        """Each draft replaces the one before atomically: read in the middle of a write, a file might be empty."""
        number = 0
        (tmp_path / "drafts" / "models").mkdir(parents=True)
        while not stop.wait(0.01):
            number += 1
            write_model(tmp_path / "drafts", 1, f"draft{number}")
            (tmp_path / "drafts" / "models" / "m1.yaml").replace(tmp_path / "conf" / "models" / "m1.yaml")

    async with reloading(tmp_path) as (_, reloads):
        write_model(tmp_path / "conf", 1, "draft")
        scribbling = threading.Thread(target=scribble)
        scribbling.start()
        try:
            assert (await reloads.ask())["changed"]
        finally:
            stop.set()
            scribbling.join()
    assert "keeps changing" in caplog.text


async def test_a_file_that_changes_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_configuration(tmp_path / "conf", 1)
    seen: list[str | None] = []
    read = reload.prepare

    def disturbed(*arguments: object) -> prepare.Prepared:
        found = read(*arguments)  # type: ignore[arg-type]  # as given
        seen.append(found.snapshot.models["house/m0"].owned_by)
        if len(seen) == 1:
            write_model(tmp_path / "conf", 0, "third")
        return found

    monkeypatch.setattr(reload, "prepare", disturbed)
    async with reloading(tmp_path) as (state, reloads):
        write_model(tmp_path / "conf", 0, "second")
        answer = await reloads.ask()
        assert seen == ["second", "third"]
        assert (answer["generation"], state.generation.snapshot.models["house/m0"].owned_by) == (2, "third")


def test_watching_imports_nothing_large() -> None:
    """The package around watchfiles' core imports anyio; aiohttp-sse all of aiohttp: an idle daemon needs neither."""
    code = (
        "import sys\nfrom openai_proxy.cli import lean\nlean.prepare()\n"
        "from openai_proxy.runtime.watcher import notifier\nimport openai_proxy.daemon\nnotifier()\n"
        "heavy = ('anyio', 'watchfiles', 'aiohttp_sse', 'aiohttp.client', 'importlib.metadata')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"
