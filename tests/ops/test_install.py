"""`make install` and `make uninstall` with a staging directory: what a packager gets and a machine would run."""

import os
import re
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from openai_proxy.compiled import library
from openai_proxy.compiled.build import obstacle
from tests.conftest import DaemonFactory
from tests.harness.daemon import free_port
from tests.harness.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
LIB = "usr/local/lib/openai-proxy"
UNITS = "usr/local/lib/systemd/system"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed"),
]


def make(*words: str) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(["make", *words], cwd=ROOT, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done


def run(staged: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run the staged program, independent of the checkout."""
    command = [f"{staged}/{LIB}/bin/python", "-m", "openai_proxy", *words]
    return subprocess.run(command, cwd="/", env={"HOME": "/nonexistent"}, capture_output=True, text=True, timeout=60)


def test_every_file_is_in_its_place(staged: Path) -> None:
    places = [
        f"{LIB}/bin/python",
        "usr/local/bin/openai-proxy",
        f"{UNITS}/openai-proxy.service",
        f"{UNITS}/openai-proxy.socket",
        f"{UNITS}/openai-proxy@.service",
        f"{UNITS}/openai-proxy.service.d/mcp-node.conf.example",
        "etc/openai-proxy/proxy.yaml",
        "etc/openai-proxy/openai-proxy.env",
    ]
    assert [place for place in places if not (staged / place).exists()] == []
    assert (staged / "etc/openai-proxy/openai-proxy.env").stat().st_mode & 0o777 == 0o600
    assert os.access(staged / "usr/local/bin/openai-proxy", os.X_OK)


def test_nothing_names_the_staging_directory(staged: Path) -> None:
    texts = [staged / "usr/local/bin/openai-proxy", *(staged / UNITS).rglob("*.*"), staged / LIB / "bin"]
    for path in texts:
        if path.is_file():
            assert str(staged) not in path.read_text(), path
    package = next((staged / LIB).rglob("openai_proxy/__pycache__/daemon.*.pyc"))
    assert str(staged).encode() not in package.read_bytes()
    assert not [path.name for path in (staged / LIB / "bin").iterdir() if not path.is_symlink()]


def test_the_installed_program_has_its_data_files(staged: Path, tmp_path: Path) -> None:
    assert "serve" in run(staged, "--help").stdout
    begun = run(staged, "init", str(tmp_path / "conf"))
    assert begun.returncode == 0, begun.stderr
    written = {path.relative_to(tmp_path / "conf") for path in (tmp_path / "conf").rglob("*") if path.is_file()}
    starter = ROOT / "openai_proxy/config/starter"
    assert {path.relative_to(starter) for path in starter.rglob("*") if path.is_file()} <= written
    checked = run(staged, "check", "--config-dir", str(staged / "etc/openai-proxy"))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_units_command_line_works(staged: Path, make_daemon: DaemonFactory) -> None:
    unit = (staged / UNITS / "openai-proxy.service").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    daemon = make_daemon("", start=False)
    daemon.port = free_port()
    (daemon.root / "openai-proxy.env").write_text("")
    environ = {
        "HOME": str(daemon.root),
        "CONFIGURATION_DIRECTORY": str(staged / "etc/openai-proxy"),
        "CREDENTIALS_DIRECTORY": str(daemon.root),
        "LOGS_DIRECTORY": str(daemon.logs_dir),
        "STATE_DIRECTORY": str(daemon.state_dir),
        "HOST": "127.0.0.1",
        "PORT": str(daemon.port),
    }
    words = [re.sub(r"\$\{(\w+)\}", lambda found: environ[found[1]], word) for word in line.split()]
    assert words[0].startswith("/usr/local/lib/openai-proxy/")
    with (daemon.root / "stderr").open("ab") as stderr:
        daemon._process = subprocess.Popen(
            [str(staged) + words[0], *words[1:]], cwd="/", env=environ, stdout=stderr, stderr=stderr
        )
    eventually(lambda: "serving on" in daemon.stderr, "the daemon serves")
    assert daemon.chat("echo").status == 200
    (reload,) = re.findall(r"^ExecReload=\S+ (.*)$", unit, re.MULTILINE)
    asked = [environ["STATE_DIRECTORY"] if word == "${STATE_DIRECTORY}" else word for word in reload.split()[2:]]
    assert run(staged, *asked).returncode == 0
    daemon.stop()


ORIGIN = "import openai_proxy.fastpath.direct_relay; print(openai_proxy.fastpath.direct_relay.__file__)"


def origin(staged: Path) -> Path:
    """The file of a module on every request's path, in the installed program."""
    python = f"{staged}/{LIB}/bin/python"
    return Path(subprocess.run([python, "-c", ORIGIN], cwd="/", capture_output=True, text=True, check=True).stdout[:-1])


@pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))
def test_with_a_compiler_the_library_is_built(staged: Path) -> None:
    folder = next((staged / LIB).rglob("openai_proxy/compiled"))
    assert [path.name for path in folder.glob("hot-*")] == [library().name]
    assert origin(staged) == folder / library().name
    assert not list((staged / LIB).rglob("mypyc*")), "the compiler's packages are not installed"
    assert not (ROOT / "build/compiler").exists()


NOT_FETCHED = "PIP_INSTALL=-c 'raise SystemExit(9)'"


def test_without_a_compiler_nothing_is_fetched_and_one_line_says_why(staged: Path) -> None:
    done = make("compiler", f"COMPILED_BY={staged}/{LIB}/bin/python", "CC=/nonexistent", NOT_FETCHED)
    assert done.stderr.startswith("not compiled: there is no C compiler /nonexistent")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(obstacle() is not None, reason=str(obstacle()))
def test_without_mypyc_the_installation_continues(staged: Path) -> None:
    done = make("compiler", f"COMPILED_BY={staged}/{LIB}/bin/python", NOT_FETCHED)
    assert done.stderr == "not compiled: mypyc is not available here\n"


def test_a_wheel_contains_no_library(staged: Path, tmp_path: Path) -> None:
    """It would only fit the Python and sources with which the wheel was made."""
    shutil.copytree(ROOT / "openai_proxy", tmp_path / "openai_proxy", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "openai_proxy/compiled/hot-0.cpython-311-x86_64-linux-gnu.so").touch()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    python = f"{staged}/{LIB}/bin/python"  # this Python has the locked setuptools
    command = [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "openai_proxy/compiled/build.py" in names
    assert not [name for name in names if "hot-" in name]


def test_uninstall_takes_everything_but_the_configuration(staged: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(staged, copy, symlinks=True)
    make("uninstall", f"DESTDIR={copy}")
    left = {path.relative_to(copy).parts[:2] for path in copy.rglob("*") if not path.is_dir()}
    assert left == {("etc", "openai-proxy")}
