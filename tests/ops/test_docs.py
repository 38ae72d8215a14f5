"""README.md and docs/: examples work as pasted, links lead somewhere, and commands run."""

import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from ruamel.yaml import YAML

import openai_proxy
from docs import make_settings
from openai_proxy.cli.main import cli
from openai_proxy.config.load import load
from openai_proxy.config.skills import SkillFile, read_skill
from openai_proxy.runtime import checking
from tests.harness.daemon import REPOSITORY, Daemon

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text() for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")]}
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"# (conf/\S+)\n")


def blocks(page: str) -> list[tuple[str, str]]:
    """(language, text) of every block of a page."""
    return [(found[1], found[2]) for found in _BLOCK.finditer(PAGES[page])]


def files(page: str) -> list[tuple[str, str]]:
    """(path, text) of every block that begins with the path where it belongs."""
    return [(place[1], text) for _, text in blocks(page) if (place := _PLACE.match(text)) is not None]


def configurations() -> Iterator[tuple[str, int]]:
    """Every page with files, once for each of its proxy.yaml (the last of any other name wins)."""
    for page in PAGES:
        number = sum(path == "conf/proxy.yaml" for path, _ in files(page))
        if files(page):
            yield from ((page, n) for n in range(max(number, 1)))


@pytest.mark.parametrize("page", PAGES)
def test_every_yaml_block_names_its_file(page: str) -> None:
    assert [text for language, text in blocks(page) if language == "yaml" and not _PLACE.match(text)] == []


@pytest.mark.parametrize(("page", "number"), list(configurations()))
def test_the_files_of_a_page_work_as_pasted(page: str, number: int, tmp_path: Path) -> None:
    settings = [text for path, text in files(page) if path == "conf/proxy.yaml"]
    for path, text in files(page):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(settings[number] if path == "conf/proxy.yaml" else text)
    written = "".join(path.read_text() for path in tmp_path.rglob("*.yaml"))
    environ = {name: f"sk-docs-{name}" for name in re.findall(r"\$\{(\w+)\}", written)}
    snapshot = load(tmp_path / "conf", None, environ, {})
    assert [str(problem) for problem in snapshot.problems] == []
    assert [str(problem) for problem in checking.models(snapshot)] == []
    assert [str(problem) for problem in checking.loggers(snapshot)] == []


def test_every_setting_is_on_its_page() -> None:
    """The page is generated from the program, so it is complete; `make docs` regenerates it."""
    assert PAGES["docs/settings.md"] == make_settings.page()


def test_every_setting_and_option_has_a_description() -> None:
    rows = re.findall(r"^\| (`.*?`) \|.*\|\s*\|$", PAGES["docs/settings.md"], re.MULTILINE)
    assert rows == []


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text()), target


def anchors(text: str) -> set[str]:
    """The names of the headings of a page, as GitHub and most others make them."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_quoted_message_is_one_of_the_program() -> None:
    sources = "\n".join(path.read_text() for path in (ROOT / "openai_proxy").rglob("*.py"))
    messages = re.findall(r"^\| `([^`]+ [^`]+)` \|", PAGES["docs/troubleshooting.md"], re.MULTILINE)
    assert len(messages) >= 6
    parts = [part.strip() for message in messages for part in re.split(r"…|\d+", message) if part.strip()]
    assert [part for part in parts if part not in sources] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_every_make_target_exists() -> None:
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, timeout=30, env=dict(os.environ))
    words = set(re.findall(r"^  make (\w+)", done.stdout, re.MULTILINE))
    assert {"help", "run", "test", "check", "fix", "docs", "bench", "venv", "install", "uninstall"} <= words
    for page, text in PAGES.items():
        assert set(re.findall(r"`make (\w+)", text)) <= words, page


# -- commands ---------------------------------------------------------------------------------------------------------

COMMANDS = sorted(
    {
        line: page  # one that is on several pages is run once
        for page in PAGES
        for language, text in blocks(page)
        if language == "sh"
        for line in text.replace("\\\n", " ").splitlines()
        if line.strip()
    }.items()
)
SHOWN = sorted(
    {
        (line[2:], page)
        for page in PAGES
        for language, text in blocks(page)
        if language == "console"
        for line in text.splitlines()
        if line.startswith("$ openai-proxy ")
    }
)


@pytest.fixture(scope="module")
def configured_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with the starter configuration, and files where the commands expect them by default."""
    root = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "openai_proxy/config/starter", root / "conf", ignore=shutil.ignore_patterns("__pycache__"))
    daemon = Daemon(root)
    daemon.state_dir = root / ".state"
    daemon.start()
    daemon.chat("echo")
    yield daemon
    daemon.stop()


def run(configured_daemon: Daemon, line: str, folder: Path | None = None) -> "subprocess.CompletedProcess[str]":
    line = line.replace("http://localhost:8000", f"http://127.0.0.1:{configured_daemon.port}")
    words = shlex.split(line)
    if words[0] == "openai-proxy":
        words[:1] = [sys.executable, "-m", "openai_proxy"]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(configured_daemon.root)}
    return subprocess.run(
        words,
        cwd=folder or configured_daemon.root,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(("line", "page"), COMMANDS)
def test_every_command_of_the_docs_runs(configured_daemon: Daemon, line: str, page: str, tmp_path: Path) -> None:
    if line.startswith("curl ") and shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    done = run(configured_daemon, line, tmp_path if " init" in line else None)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert '"error"' not in done.stdout


@pytest.mark.parametrize(("line", "page"), SHOWN)
def test_every_command_that_is_only_shown_exists(line: str, page: str) -> None:
    """Commands that ask questions, sign in or serve are not run here, but must exist with these options."""
    words = shlex.split(line)[1:]
    command: click.Command | None = cli
    while isinstance(command, click.Group) and words:
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word.partition("=")[0] for word in words if word.startswith("--")} <= options


def test_the_first_answer_is_at_the_top() -> None:
    top = PAGES["README.md"].partition("\n## Three examples")[0]
    assert "uv tool install ." in top
    assert "pipx install ." in top
    assert "openai-proxy init" in top
    assert '"model": "echo"' in top
    assert '"model": "augmented/example"' in top


def test_the_readme_is_two_screens() -> None:
    assert PAGES["README.md"].count("\n") < 120


# -- neither YAML nor our own commands --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "page"),
    [(line[2:], page) for page in PAGES for language, text in blocks(page) if language == "console"
     for line in text.splitlines() if line.startswith("$ ") and not line.startswith("$ openai-proxy ")],
)  # fmt: skip
def test_every_other_command_names_existing_files(line: str, page: str) -> None:
    """Installing, make and containers: run by `make test-deb`, `make test-systemd` and the tests of packaging."""
    words = shlex.split(line)
    words = words[1:] if words[0] == "sudo" else words
    if words[0] == "make":
        rules = (ROOT / "Makefile").read_text()
        assert all(f"\n{word}:" in rules for word in words[1:] if "=" not in word), page
    elif words[:2] == ["docker", "exec"]:
        test_every_command_that_is_only_shown_exists(" ".join(words[words.index("openai-proxy") + 1 :]), page)
    elif words[0] in ("systemctl", "nano", "apt"):
        named = [word for word in words[1:] if "openai-proxy" in word]
        assert named, page
        for word in named:
            unit = word.removesuffix(".service").removesuffix(".socket")
            assert unit == "openai-proxy" or word.startswith(("/etc/openai-proxy/", "./build/openai-proxy_")), page
    else:
        assert words[:2] in (["uv", "tool"], ["pipx", "install"], ["pip", "install"], ["docker", "run"]), page


def test_the_skill_on_its_page_is_valid() -> None:
    (text,) = (text for language, text in blocks("docs/skills.md") if language == "markdown")
    skill = read_skill(text.encode(), "SKILL.md", "plain-speech", folder=None, model=None)
    assert isinstance(skill, SkillFile)
    assert (skill.name, skill.description) == ("Plain speech", "How to phrase answers that are read aloud.")


def test_the_prometheus_configuration_is_yaml() -> None:
    (text,) = (text for _, text in blocks("docs/metrics.md") if text.startswith("# prometheus.yml"))
    (job,) = YAML(typ="safe", pure=True).load(text)["scrape_configs"]
    assert job["job_name"] == "openai-proxy"
    assert job.get("metrics_path", "/metrics") == "/metrics"


def test_the_example_on_the_library_page_is_valid_python() -> None:
    (text,) = (text for language, text in blocks("docs/library.md") if language == "python")
    assert 'build_app("conf", prefix="/llm", tools=[], validator=None, loggers=[])' in text
    compile(text, "docs/library.md", "exec")
    taken = inspect.signature(openai_proxy.build_app).parameters
    assert {"prefix", "tools", "validator", "loggers"} <= taken.keys()


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_nginx_accepts_its_example(tmp_path: Path) -> None:
    (text,) = (text for _, text in blocks("docs/https.md") if text.startswith("location / {"))
    config = tmp_path / "nginx.conf"
    server = f"server {{ listen 127.0.0.1:1; {text} }}"
    config.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}} http {{ access_log off; {server} }}\n"
    )
    done = subprocess.run(["nginx", "-t", "-p", tmp_path, "-c", config], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
