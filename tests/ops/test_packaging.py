"""The container, the app for Home Assistant and the Debian package, tested without an engine."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from openai_proxy.config.environment import VARIABLES

ROOT = Path(__file__).resolve().parents[2]
PACKAGING = ROOT / "packaging"
APP = PACKAGING / "homeassistant"
_INSTRUCTION = re.compile(r"^([A-Z]+) (.*)$", re.DOTALL)
KNOWN = {"FROM", "WORKDIR", "COPY", "RUN", "LABEL", "ENV", "USER", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
         "ENTRYPOINT", "CMD"}  # fmt: skip


def yaml(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(path.read_text())
    return found


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, rest) of a Dockerfile, continued lines joined."""
    lines = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    found = []
    for line in lines.splitlines():
        if line.strip():
            match = _INSTRUCTION.match(line)
            assert match is not None, line
            found.append((match[1], match[2].strip()))
    return found


def stages(text: str) -> dict[str, dict[str, list[str]]]:
    """The stages by name, each with the arguments of its instructions."""
    found: dict[str, dict[str, list[str]]] = {}
    current: dict[str, list[str]] = {}
    for word, rest in instructions(text):
        assert word in KNOWN, word
        if word == "FROM":
            current = found.setdefault(rest.rpartition(" AS ")[2], {"FROM": [rest.partition(" ")[0]]})
        else:
            current.setdefault(word, []).append(rest)
    return found


def test_the_container_runs_unprivileged_with_one_volume() -> None:
    last = list(stages((ROOT / "Dockerfile").read_text()).values())[-1]
    assert last["USER"] == ["openai-proxy"]
    assert last["VOLUME"] == last["WORKDIR"] == ["/data"]
    assert "CMD [" in last["HEALTHCHECK"][0]
    for name in ("ENTRYPOINT", "CMD"):
        assert json.loads(last[name][-1]), f"{name} must have the exec form so that signals reach the daemon"
    assert last["STOPSIGNAL"] == ["SIGTERM"]


@pytest.mark.parametrize("more", ["", "packaging/homeassistant/Dockerfile.app"])
def test_files_copied_into_the_container_exist_in_its_context(more: str) -> None:
    text = (ROOT / "Dockerfile").read_text() + ((ROOT / more).read_text() if more else "")
    known = stages(text)
    allowed = [line[1:].rstrip("/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    for stage in known.values():
        for line in stage.get("COPY", []):
            words = [word for word in line.split() if not word.startswith("--")]
            if (origin := re.search(r"--from=(\S+)", line)) is not None:
                assert origin[1] in known
                continue
            for source in words[:-1]:
                assert (ROOT / source).exists(), source
                assert any(source.rstrip("/") == name or source.startswith(f"{name}/") for name in allowed), source


def test_every_package_of_the_container_is_pinned_by_hash() -> None:
    for stage in stages((ROOT / "Dockerfile").read_text()).values():
        for line in stage.get("RUN", []):
            for install in re.findall(r"pip install[^&]*", line):
                assert "--require-hashes" in install or "--no-index" in install


def test_an_empty_volume_gets_a_starter_configuration_and_the_daemon_takes_over(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "openai-proxy"
    script.write_text('#!/bin/sh\necho "$@" >> ../calls\n[ "$1" != init ] || mkdir conf\n')
    script.chmod(0o755)
    data = tmp_path / "data"
    data.mkdir()
    environ = {"PATH": f"{programs}:{os.environ['PATH']}"}
    for words in (["serve"], ["serve"], ["check"]):
        subprocess.run(["sh", PACKAGING / "entrypoint.sh", *words], cwd=data, env=environ, check=True, timeout=30)
    assert (tmp_path / "calls").read_text().splitlines() == ["init --yes", "serve", "serve", "check"]


def test_compose_builds_and_runs_this_container() -> None:
    (service,) = yaml(ROOT / "compose.yaml")["services"].values()
    assert service["build"] == "."
    assert service["volumes"] == ["data:/data"]
    assert service["cap_drop"] == ["ALL"]


def test_the_app_has_what_home_assistant_requires() -> None:
    """https://developers.home-assistant.io/docs/add-ons/configuration"""
    config = yaml(APP / "config.yaml")
    assert {"name", "version", "slug", "description", "arch"} <= config.keys()
    assert config["ingress"] is True
    assert config["ingress_port"] == 8000
    assert f"{config['ingress_port']}/tcp" in config["ports"]
    assert set(config["arch"]) <= {"amd64", "aarch64"}
    assert config["options"].keys() <= config["schema"].keys()
    names = {row.name for row in VARIABLES}
    assert {option.upper() for option in config["schema"] if option != "log_level"} <= names


def test_the_apps_options_become_variables(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    script = programs / "openai-proxy"
    script.write_text('#!/bin/sh\necho "$@" >> "$DATA/calls"\nenv > "$DATA/environ"\n')
    script.chmod(0o755)
    options = {
        "openai_api_key": "sk-'quoted' $HOME",
        "gemini_api_key": "",
        "llm_backend": "openai",
        "log_level": "debug",
    }
    (tmp_path / "options.json").write_text(json.dumps(options))
    environ = {
        "PATH": f"{programs}:{os.environ['PATH']}", "OPTIONS": str(tmp_path / "options.json"),
        "CONFIG": str(tmp_path / "config"), "DATA": str(tmp_path),
    }  # fmt: skip
    subprocess.run(["sh", APP / "run.sh"], env=environ, check=True, timeout=30)
    begun, served = (tmp_path / "calls").read_text().splitlines()
    assert begun.startswith(f"init --yes {tmp_path}/config")
    assert "--log-level debug" in served
    seen = (tmp_path / "environ").read_text().splitlines()
    assert "OPENAI_API_KEY=sk-'quoted' $HOME" in seen
    assert "LLM_BACKEND=openai" in seen
    assert not [line for line in seen if line.startswith(("GEMINI_API_KEY", "LOG_LEVEL"))]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_the_apps_folder_is_complete() -> None:
    subprocess.run(["make", "homeassistant-app"], cwd=ROOT, check=True, capture_output=True, timeout=60)
    app = ROOT / "build/homeassistant-app/openai_proxy"
    text = (app / "Dockerfile").read_text()
    assert list(stages(text))[-1] == "app"
    for stage in stages(text).values():
        for line in stage.get("COPY", []):
            if "--from=" not in line:
                assert [source for source in line.split()[:-1] if not (app / source).exists()] == []
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*", yaml(app / "config.yaml")["version"])


def test_the_debian_package_keeps_the_socket_and_protects_keys() -> None:
    rules = (PACKAGING / "debian/rules").read_text()
    assert "--no-stop-on-upgrade openai-proxy.socket" in rules
    assert "--restart-after-upgrade openai-proxy.service" in rules
    postinst = (PACKAGING / "debian/postinst").read_text()
    assert "chown root:root $conf/openai-proxy.env" in postinst
    assert "chmod 1775 $conf" in postinst


@pytest.mark.parametrize(
    "script", [*sorted(PACKAGING.rglob("*.sh")), PACKAGING / "debian/postinst", PACKAGING / "debian/postrm"]
)
def test_the_scripts_are_valid_shell(script: Path) -> None:
    done = subprocess.run(["sh", "-n", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


# -- the switch at the end of `make install` -----------------------------------------------------------------------


RUNNING = ("openai-proxy.service", "openai-proxy@8001.service")


class Machine:
    """A machine with a version in service, and a scripted systemctl."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lib, self.units, self.bin = root / "lib/openai-proxy", root / "units", root / "bin"
        self.calls = root / "calls"
        self.systemctl = root / "systemctl"

    def version(self, name: str, where: Path) -> None:
        """Add a version, as `make install` leaves it beside the one in service."""
        (where / "bin").mkdir(parents=True)
        python = where / "bin/python"
        python.write_text(f"#!/bin/sh\necho {name}\n")
        python.chmod(0o755)
        (where / "share").mkdir()
        for file in ("openai-proxy.service", "openai-proxy.socket", "mcp-node.conf", "openai-proxy.sh"):
            (where / "share" / file).write_text(f"{file} of {name}\n")
        (where / "share/CHANGELOG.md").write_text("# Changelog\n\n## 2.0.0\n- new\n\n## 1.0.0\n- old\n")

    def switch(self, *, active: bool = True, refused: str = "") -> "subprocess.CompletedProcess[str]":
        """Run it; `restart UNIT of VERSION` fails where that line matches the extended regular expression `refused`."""
        units = "".join(rf"{unit} loaded active running a proxy\n" for unit in RUNNING) if active else ""
        self.systemctl.write_text(
            f'#!/bin/sh\necho "$@" >> {self.calls}\ncase "$*" in\nlist-units*) printf \'{units}\';;\n'
            f'restart*) sed "s/.* of/$* of/" {self.units}/openai-proxy.service | '
            f'grep -qvE "{refused or "^$"}";;\nesac\n'
        )
        self.systemctl.chmod(0o755)
        command = ["sh", PACKAGING / "switch.sh", self.lib, self.units, self.bin]
        environ = {"PATH": os.environ["PATH"], "SYSTEMCTL": str(self.systemctl)}
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=30)

    def in_service(self) -> str:
        return (self.units / "openai-proxy.service").read_text().split()[-1]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    made = Machine(tmp_path)
    made.version("1.0.0", made.lib.with_name("openai-proxy.new"))
    assert "Installed openai_proxy 1.0.0" in made.switch(active=False).stdout
    made.calls.write_text("")
    made.version("2.0.0", made.lib.with_name("openai-proxy.new"))
    return made


def test_an_upgrade_restarts_a_running_service_and_reports_it(machine: Machine) -> None:
    done = machine.switch()
    assert done.returncode == 0, done.stderr
    assert machine.in_service() == "2.0.0"
    restarted = [line for line in machine.calls.read_text().splitlines() if line.startswith("restart")]
    assert restarted == [f"restart {unit}" for unit in RUNNING], "each unit must be restarted once, in this order"
    assert "socket" not in machine.calls.read_text(), "the socket must not be restarted"
    assert done.stdout.startswith("openai_proxy 1.0.0 is now 2.0.0. What changed:\n## 2.0.0\n- new")
    assert "old" not in done.stdout
    assert [path.name for path in machine.lib.parent.iterdir()] == ["openai-proxy"]


def test_a_version_that_does_not_start_is_rolled_back(machine: Machine) -> None:
    done = machine.switch(refused="of 2.0.0")
    assert done.returncode == 1
    assert machine.in_service() == "1.0.0"
    assert (machine.bin / "openai-proxy").read_text() == "openai-proxy.sh of 1.0.0\n"
    assert "2.0.0 did not start, so 1.0.0 serves again" in done.stderr
    assert machine.calls.read_text().count("restart openai-proxy.service") == 2
    assert sorted(path.name for path in machine.lib.parent.iterdir()) == ["openai-proxy", "openai-proxy.failed"]
    machine.version("2.0.0", machine.lib.with_name("openai-proxy.new"))
    assert machine.switch().returncode == 0  # the next version works
    assert [path.name for path in machine.lib.parent.iterdir()] == ["openai-proxy"]


def test_every_unit_goes_back_even_if_one_of_them_fails_again(machine: Machine) -> None:
    done = machine.switch(refused="@8001.service of 2.0.0|proxy.service of 1.0.0")
    assert done.returncode == 1
    restarted = [line for line in machine.calls.read_text().splitlines() if line.startswith("restart")]
    assert restarted == 2 * [f"restart {unit}" for unit in RUNNING]
    assert "journalctl -u 'openai-proxy*'" in done.stderr, "the instance that failed has a log of its own"


def test_a_stopped_service_is_not_started(machine: Machine) -> None:
    assert machine.switch(active=False).returncode == 0
    assert "restart" not in machine.calls.read_text()
    assert machine.in_service() == "2.0.0"
