"""The lock files: current, complete, hashed, and silent about where they came from."""

import re
import tomllib
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
    ],
    ids=["runtime", "development"],
)
def test_every_dependency_of_the_project_is_pinned_within_its_range(lock: Path, wanted: list[str]) -> None:
    pinned = pins(lock)
    for text in wanted:
        requirement = Requirement(text)
        versions = pinned.get(canonicalize_name(requirement.name))
        assert versions, f"{requirement.name} is not in {lock.name}: run make lock"
        assert all(version in requirement.specifier for version in versions), f"{text}: run make lock"


def test_development_runs_on_the_versions_that_users_run() -> None:
    development = pins(DEVELOPMENT)
    assert {name: development.get(name) for name in pins(RUNTIME)} == pins(RUNTIME)


@pytest.mark.parametrize("lock", [RUNTIME, DEVELOPMENT], ids=["runtime", "development"])
def test_every_pin_has_hashes_and_no_line_names_an_index(lock: Path) -> None:
    text = lock.read_text()
    assert not re.search(r"://|--(extra-)?index-url|--find-links|--trusted-host|^-i ", text)
    blocks = re.split(r"\n(?=[a-z0-9])", text)[1:]
    assert len(blocks) > 20
    for block in blocks:
        assert "--hash=sha256:" in block, block.splitlines()[0]
