"""The systemd units: valid, tightly sandboxed, and consistent with the paths of `make install`."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).resolve().parents[2] / "systemd"
PYTHON = "/usr/local/lib/openai-proxy/bin/python"

needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    """The units with an interpreter that exists on this machine, since `verify` looks for it."""
    for name in ("openai-proxy.service", "openai-proxy.socket"):
        text = (UNITS / name).read_text()
        (tmp_path / name).write_text(text.replace(PYTHON, "/bin/true"))
    return tmp_path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)


@needs_systemd
@pytest.mark.parametrize("node", [False, True], ids=["strict", "with node drop-in"])
def test_systemd_knows_every_key(staged: Path, node: bool) -> None:
    # `verify` exits with 0 even for an unknown key: only an empty stderr means that everything is understood.
    if node:
        (staged / "openai-proxy.service.d").mkdir()
        shutil.copy(UNITS / "mcp-node.conf", staged / "openai-proxy.service.d")
    done = analyze("verify", str(staged / "openai-proxy.service"), str(staged / "openai-proxy.socket"))
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_a_misspelt_key_would_be_noticed(staged: Path) -> None:
    unit = staged / "openai-proxy.service"
    unit.write_text(unit.read_text().replace("WatchdogSec=", "WatchDogSec="))
    assert "WatchDogSec" in analyze("verify", str(unit)).stderr


@needs_systemd
def test_the_sandbox_is_tight(staged: Path) -> None:
    done = analyze("security", "--offline=true", "--threshold=15", str(staged / "openai-proxy.service"))
    assert done.returncode == 0, done.stdout[-300:]


@needs_systemd
def test_a_looser_sandbox_would_be_noticed(staged: Path) -> None:
    unit = staged / "openai-proxy.service"
    kept = [line for line in unit.read_text().splitlines() if not line.startswith(("Protect", "Restrict"))]
    unit.write_text("\n".join(kept))
    assert analyze("security", "--offline=true", "--threshold=15", str(unit)).returncode != 0


def test_no_secret_is_in_the_environment() -> None:
    service = (UNITS / "openai-proxy.service").read_text()
    assert "EnvironmentFile" not in service
    assert "LoadCredential=openai-proxy.env:" in service
    assert "--env-file ${CREDENTIALS_DIRECTORY}/openai-proxy.env" in service


def test_the_drop_in_for_node_allows_what_v8_needs() -> None:
    assert "MemoryDenyWriteExecute=yes" in (UNITS / "openai-proxy.service").read_text()
    assert "MemoryDenyWriteExecute=no" in (UNITS / "mcp-node.conf").read_text()


def test_the_stop_timeout_covers_two_drains_and_the_tool_servers() -> None:
    service = (UNITS / "openai-proxy.service").read_text()
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)s$", service, re.MULTILINE)
    assert int(seconds) >= 2 * 30 + 6
