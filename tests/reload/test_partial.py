"""A broken part affects only itself, and problems are shown everywhere that the owner may look."""

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from psutil import Process

from openai_proxy.runtime import reload as reload_module
from openai_proxy.runtime.tree import look
from tests.conftest import DaemonFactory
from tests.harness.daemon import REPOSITORY, Daemon
from tests.harness.waiting import PATIENCE, eventually, turning_until
from tests.reload.conftest import ECHO
from tests.reload.looking import model, models, problems, reload, until_owner
from tests.reload.pace import Pace, attempts
from tests.reload.process import reloading, write_configuration, write_model

PROXY = "connections:\n  offline: {api_type: echo}\n"
TOOL = """\
from openai_proxy import tool


@tool
def which() -> str:
    "Which form of the file this is."
    return "{form}"
"""
SKILL = "---\nname: manners\ndescription: {form}\n---\nBe {form}.\n"


WHOLE = {
    "proxy.yaml": PROXY,
    "models/a.yaml": model("a", "one") + 'system_prompt: "It is {{which()}}"\n',
    "models/b.yaml": model("b", "one"),
    "skills/manners.md": SKILL.format(form="kind"),
    "tools/which.py": TOOL.format(form="one"),
    "mcp/servers.yaml": "servers:\n  off: {command: x, enabled: false}\n",
}
"""A configuration with something of everything, all valid."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """The whole configuration, which each test restores."""
    with Daemon(tmp_path_factory.mktemp("whole"), files=WHOLE).serving(leaks=False) as daemon:
        yield daemon


@pytest.mark.parametrize(
    ("file", "broken", "place"),
    [
        ("models/a.yaml", "name: a\nowned_by: [\n", "a.yaml:2:11"),
        ("models/a.yaml", "name: a\nowend_by: two\n", "a.yaml:2:1"),
        ("models/a.yaml", "", "a.yaml:1:1"),
        ("models/a.yaml", "\x00\x01 binary \xff", "a.yaml:1"),
        ("proxy.yaml", "connections: [\n", "proxy.yaml:1:14"),
        ("proxy.yaml", PROXY + "prot: 80\n", "proxy.yaml:3:1"),
        ("proxy.yaml", PROXY + "limits: {drain_seconds: soon}\n", "proxy.yaml:3:25"),
        ("skills/manners.md", "", "manners.md:1:1"),
        ("tools/which.py", "import nothing_of_this_name\n", "which.py:1"),
        ("tools/which.py", "def broken(:\n", "which.py:1"),
        ("tools/which.py", "raise SystemExit(3)\n", "which.py:1"),
        ("mcp/servers.yaml", "servers:\n  off: {comand: x}\n", "servers.yaml:2:9"),
        ("mcp/servers.yaml", "servers: [\n", "servers.yaml:1:10"),
    ],
)
def test_a_broken_file_keeps_its_last_good_form_and_the_rest_applies(
    whole: Daemon, file: str, broken: str, place: str
) -> None:
    path = whole.conf_dir / file
    sound, logged = path.read_text(), len(whole.stderr)
    path.write_text(broken)
    whole.write("models/b.yaml", model("b", "two"))
    until_owner(whole, "b", "two")
    assert models(whole)["a"] == "one"
    assert whole.chat("a").status == 200
    (told,) = problems(whole)
    assert told.startswith(place)
    code, answer = reload(whole)
    assert code == 422
    assert [set(problem) for problem in answer["problems"]] == [{"file", "line", "column", "message"}]
    assert whole.get("/health").json()["config"]["problems"]
    assert whole.stderr[logged:].count(told.split(": ", 1)[1][:40]) == 1, "each problem must be logged exactly once"
    path.write_text(sound)
    eventually(lambda: not problems(whole), "the problem is gone")
    whole.write("models/b.yaml", model("b", "one"))
    assert reload(whole)[0] == 200
    assert (models(whole)["a"], models(whole)["b"]) == ("one", "one")


def test_a_missing_variable_drops_its_entry_and_the_variable_brings_it_back(make_daemon: DaemonFactory) -> None:
    conf = PROXY + "  paid: {api_type: openai, api_base: 'http://127.0.0.1:9/v1', api_key: '${PAID_KEY}'}\n"
    conf += "default_connection: offline\n"  # otherwise nothing would serve the model once there are two
    daemon = make_daemon(conf, files={"models/m.yaml": "name: m\nowned_by: ${OWNER}\n"}, dotenv="OWNER=me\n")

    def connections() -> set[str]:
        return {connection["name"] for connection in daemon.get("/admin/status").json()["connections"]}

    assert connections() == {"offline"}
    assert "PAID_KEY" in problems(daemon)[0]
    (daemon.root / ".env").write_text("OWNER=you\nPAID_KEY=sk-paid-0123456789abcdef\n")
    until_owner(daemon, "m", "you")
    assert (connections(), problems(daemon)) == ({"offline", "paid"}, [])
    (daemon.root / ".env").write_text("PAID_KEY=sk-paid-0123456789abcdef\n")
    eventually(lambda: "m" not in models(daemon), "the model without its variable is left out")
    assert connections() == {"offline", "paid"}
    assert ["OWNER" in problem for problem in problems(daemon)] == [True]


def test_a_broken_env_file_keeps_its_last_good_form(make_daemon: DaemonFactory) -> None:
    daemon = make_daemon(ECHO, files={"models/m.yaml": "name: m\nowned_by: ${OWNER}\n"}, dotenv="OWNER=me\n")
    (daemon.root / ".env").write_text("OWNER=you\nthis is no assignment\n")
    eventually(lambda: problems(daemon), "the problem is reported")
    assert problems(daemon)[0].startswith(".env:2:1")
    assert models(daemon)["m"] == "me"


def test_a_reload_reports_what_it_added_removed_and_updated(make_daemon: DaemonFactory) -> None:
    whole = make_daemon(files=WHOLE)
    whole.write("models/c.yaml", model("c", "one"))
    whole.write("models/b.yaml", model("b", "two"))
    (whole.conf_dir / "skills" / "manners.md").unlink()
    whole.write("tools/which.py", TOOL.format(form="two"))
    whole.write("proxy.yaml", PROXY + 'session_ttl: 60\nrouting: {"x*": "offline.*"}\n')
    code, answer = reload(whole)
    assert (code, answer["changed"], answer["generation"]) == (200, True, 2)
    assert answer["added"] == ["model c", "route x*"]
    assert answer["removed"] == ["skill manners"]
    assert answer["updated"] == ["model b", "settings", "tool which.py"]
    assert reload(whole)[1] == {"changed": False, "generation": 2, "added": [], "removed": [], "updated": []}


async def test_a_reload_request_reports_a_save_that_the_watcher_saw_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Contract §3: `POST /admin/reload` reports what changed, even if the watcher was faster."""
    monkeypatch.setattr(reload_module, "TOLD", PATIENCE)
    write_configuration(tmp_path / "conf", 1)
    async with reloading(tmp_path) as (state, reloads):
        for number in (1, 0):
            write_model(tmp_path / "conf", number, "two")
            before = state.generation
            reloads.noticed(look(reloads.roots))
            await turning_until(lambda before=before: state.generation is not before, "the edit is in effect")  # type: ignore[misc]
        told = await reloads.ask()
        assert (told["changed"], told["added"], told["updated"]) == (True, ["model house/m1"], ["model house/m0"])
        assert (await reloads.ask())["changed"] is False, "a change must be reported only once"


@pytest.mark.parametrize(
    ("file", "broken"),
    [
        ("models/a.yaml", "name: a\nowned_by: [\n"),
        ("proxy.yaml", PROXY + "prot: 80\n"),
        ("skills/manners.md", ""),
        ("tools/which.py", "import nothing_of_this_name\n"),
        ("mcp/servers.yaml", "servers: [\n"),
    ],
)
def test_a_broken_file_is_not_reported_as_a_change(whole: Daemon, file: str, broken: str) -> None:
    whole.write(file, broken)
    code, answer = reload(whole)
    told = {name: answer[name] for name in ("changed", "added", "removed", "updated")}
    assert (code, told) == (422, {"changed": False, "added": [], "removed": [], "updated": []})


@pytest.fixture(scope="module")
def shell_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("shell"), ECHO, files={"models/m.yaml": model("m", "me")}).serving(
        leaks=False
    ) as daemon:
        yield daemon


def shell(daemon: Daemon) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "openai_proxy", "reload", "--state-dir", str(daemon.state_dir)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=30, check=False)


def connections(daemon: Daemon) -> int:
    """How many clients are connected to the control socket of `daemon`."""
    sockets = Process(daemon.process.pid).net_connections("unix")
    return sum(str(one.laddr).endswith("control.sock") for one in sockets) - 1  # without the listener


def test_the_command_line_reloads_and_reports_what_changed(shell_daemon: Daemon) -> None:
    path: Path = shell_daemon.conf_dir / "models" / "n.yaml"

    def write_until_requested(requested: threading.Event, pace: Pace) -> None:
        """So that the watcher, which notices it too, is still waiting for a stable file when the command runs."""
        while not requested.is_set():
            path.write_text(model("n", "me"))
            if connections(shell_daemon):
                requested.set()
            pace.step()
            time.sleep(0.03)

    for _ in attempts():
        requested, pace = threading.Event(), Pace()
        writing = threading.Thread(target=write_until_requested, args=(requested, pace))
        writing.start()
        try:
            done = shell(shell_daemon)
        finally:
            requested.set()
            writing.join()
        if pace.steady:
            break
        path.unlink()
        reload(shell_daemon)
    assert (done.returncode, done.stderr) == (0, "")
    assert "added model n" in done.stdout
    assert shell(shell_daemon).stdout.startswith("nothing changed")


def test_the_command_line_fails_while_anything_is_wrong(shell_daemon: Daemon) -> None:
    path: Path = shell_daemon.conf_dir / "models" / "wrong.yaml"
    path.write_text("name: wrong\nowend_by: me\n")
    for _ in range(2):
        done = shell(shell_daemon)
        assert done.returncode == 1
        assert done.stderr.splitlines() == [f'{path}:2:1: unknown key "owend_by" (did you mean "owned_by"?)']
    path.unlink()
    assert shell(shell_daemon).returncode == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: path.symlink_to(path),
        lambda path: path.write_bytes(b"a: 1\n" * 20_000_000),
        lambda path: path.write_text("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nname: [*c,*c,*c,*c]\n" * 50),
    ],
    ids=["folder", "device", "circle", "100 MB", "aliases"],
)
def test_an_unreadable_file_is_reported_and_harms_nothing(
    configured_daemon: Daemon, make: object, tmp_path: Path
) -> None:
    path = configured_daemon.conf_dir / "models" / "odd.yaml"
    assert callable(make)
    make(path)
    try:
        code, answer = reload(configured_daemon)
        told = [problem for problem in answer.get("problems", ()) if problem["file"].endswith("odd.yaml")]
        assert (code, len(told)) == (422, 1)
        assert "first" in models(configured_daemon)
    finally:
        path.rename(tmp_path / "odd")
    assert reload(configured_daemon)[0] == 200
