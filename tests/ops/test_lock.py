"""The lock files: current, complete, hashed, with the same versions, and without the name of an index."""

import re
import tomllib
from importlib.metadata import distribution, distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
RUNTIME = ROOT / "requirements.lock"
DEVELOPMENT = ROOT / "tests" / "requirements.lock"
COMPILED = ROOT / "openai_proxy" / "compiled" / "requirements.lock"


def pins(lock: Path) -> dict[str, set[Version]]:
    """Name -> versions (one, or one per environment marker)."""
    found: dict[str, set[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", lock.read_text(), re.MULTILINE):
        found.setdefault(canonicalize_name(name), set()).add(Version(version))
    return found


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        (RUNTIME, PROJECT["dependencies"] + EXTRAS["redis"]),
        (DEVELOPMENT, PROJECT["dependencies"] + EXTRAS["redis"] + EXTRAS["dev"]),
        (COMPILED, ["setuptools>=77", *(text for text in EXTRAS["dev"] if Requirement(text).name == "mypy")]),
    ],
    ids=["runtime", "development", "compiled"],
)
def test_every_dependency_of_the_project_is_pinned_within_its_range(lock: Path, wanted: list[str]) -> None:
    pinned = pins(lock)
    for text in wanted:
        requirement = Requirement(text)
        versions = pinned.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement.name} is not in {lock.name}: run make lock"
        assert all(version in requirement.specifier for version in versions), f"{text}: run make lock"


@pytest.mark.parametrize("lock", [RUNTIME, COMPILED], ids=["runtime", "compiled"])
def test_development_runs_on_the_versions_that_users_run(lock: Path) -> None:
    development = pins(DEVELOPMENT)
    assert {name: development.get(name) for name in pins(lock)} == pins(lock)


def needs(*texts: str) -> set[str]:
    """These requirements and all packages that they need on this machine, according to what is installed."""
    seen, open_ = set[tuple[str, str]](), [Requirement(text) for text in texts]
    while open_:
        wanted = open_.pop()
        for extra in ("", *wanted.extras):
            if (one := (canonicalize_name(wanted.name), extra)) in seen:
                continue
            seen.add(one)
            requirements = map(Requirement, distribution(one[0]).requires or ())
            open_ += [each for each in requirements if each.marker is None or each.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def test_nothing_unneeded_is_locked() -> None:
    """A removed dependency must take its own with it. Packages for other machines are not installed and not checked."""
    markers = {text: Requirement(text).marker for text in PROJECT["dependencies"] + EXTRAS["redis"]}
    wanted = needs("setuptools", *(text for text, marker in markers.items() if marker is None or marker.evaluate()))
    here = {canonicalize_name(one.name) for one in distributions()}
    assert pins(RUNTIME).keys() & here <= wanted, "run make lock"


def test_the_lock_for_compiling_has_exactly_what_mypyc_needs() -> None:
    assert set(pins(COMPILED)) == needs("mypy") | {"setuptools"}, "run make lock"


@pytest.mark.parametrize(
    ("lock", "least"), [(RUNTIME, 20), (DEVELOPMENT, 20), (COMPILED, 4)], ids=["runtime", "development", "compiled"]
)
def test_every_pin_has_hashes_and_no_line_names_an_index(lock: Path, least: int) -> None:
    text = lock.read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|^-i ", text)
    blocks = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(blocks) > least
    for block in blocks:
        assert "--hash=sha256:" in block, block.splitlines()[0]
