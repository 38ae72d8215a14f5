"""The lock files: current, complete, hashed, of the same versions, and silent about where they came from."""

import re
import tomllib
from importlib.metadata import distribution
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


def needs(name: str) -> set[str]:
    """What a distribution installed here needs on this machine, itself included."""
    found, open_ = set[str](), [name]
    while open_:
        wanted = canonicalize_name(open_.pop())
        if wanted not in found:
            found.add(wanted)
            requirements = map(Requirement, distribution(wanted).requires or ())
            open_ += [one.name for one in requirements if one.marker is None or one.marker.evaluate({"extra": ""})]
    return found


def test_the_lock_to_compile_with_is_what_mypyc_needs_and_nothing_else() -> None:
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
