"""Editing proxy.yaml: unchanged parts stay as the owner wrote them."""

import stat
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_proxy.config.edit import change, writable
from openai_proxy.config.problems import ConfigError
from openai_proxy.config.yaml_text import Node, parse

TEXT = """\
# The house.

port: 8000   # the port

connections:
  a: &a      # the first
    api_key: 'quoted'
    api_keys:
      - one
      - two   # the second
  b:
    <<: *a

routing:
  "gpt*": "a.*"    # all of them
  fast: [a.x, "b.y"]
# the end
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "proxy.yaml"
    path.write_text(TEXT)
    return path


def test_a_new_value_is_added_at_the_end_of_its_mapping(file: Path) -> None:
    change(file, {("routing", "slow"): {"targets": ["a.z"], "policy": "round_robin"}})
    text = file.read_text()
    assert parse(text.encode(), "f").value["routing"]["slow"] == {  # type: ignore[union-attr]
        "targets": ["a.z"],
        "policy": "round_robin",
    }
    kept = [line for line in text.splitlines() if line in TEXT.splitlines()]
    assert kept == TEXT.splitlines()


def test_a_value_is_changed_in_its_place_with_its_comment(file: Path) -> None:
    change(file, {("port",): 9000})
    assert file.read_text() == TEXT.replace("8000", "9000")


def test_removing_a_member_leaves_the_rest(file: Path) -> None:
    assert change(file, {}, [("routing", "gpt*")])
    node = parse(file.read_bytes(), "f")
    assert isinstance(node, Node)
    assert list(node.value["routing"]) == ["fast"]
    assert "# The house." in file.read_text()
    assert "# the second" in file.read_text()
    assert not change(file, {}, [("routing", "gpt*")])
    assert not change(file, {}, [("port", "deeper", "still")])


def test_nothing_to_change_writes_nothing(file: Path) -> None:
    before = file.stat()
    assert not change(file, {("port",): 8000})
    assert file.stat().st_ino == before.st_ino
    assert change(file, {("port",): 8001, ("session_ttl",): 5}, [("routing", "fast")])
    assert file.stat().st_ino != before.st_ino


def test_comments_are_kept_and_a_missing_file_is_created(tmp_path: Path) -> None:
    path = tmp_path / "proxy.yaml"
    path.write_text("# one\n\n# connections: {}\n")
    change(path, {("commands", "interactive"): True})
    assert path.read_text() == "# one\n\n# connections: {}\ncommands:\n  interactive: true\n"
    path.unlink()
    change(path, {("port",): 1})
    assert path.read_text() == "port: 1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_mode_and_links_are_preserved(file: Path, tmp_path: Path) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file)
    change(link, {("port",): 1})
    assert link.is_symlink()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert not file.is_symlink()
    assert len(list(tmp_path.iterdir())) == 2  # no temporary file is left


def test_a_file_that_cannot_be_edited_is_refused_and_unchanged(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="port"):
        change(file, {("port", "deeper"): 1})
    assert file.read_text() == TEXT
    file.write_text("a: [\n")
    with pytest.raises(ConfigError):
        change(file, {("port",): 1})
    assert file.read_text() == "a: [\n"
    with pytest.raises(ConfigError, match="cannot be written"):
        change(tmp_path / "no" / "proxy.yaml", {("port",): 1})
    assert not writable(tmp_path / "no" / "proxy.yaml")
    assert writable(file)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-9, 9**9)
    | st.text(st.characters(codec="ascii", exclude_categories=["Cc"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc*-", min_size=1), inner, max_size=3),
    max_leaves=6,
)


@given(st.text("abc.*?-: '\"#", min_size=1, max_size=12), PLAIN)
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_a_written_value_is_read_back(file: Path, name: str, value: object) -> None:
    file.write_text(TEXT)
    change(file, {("routing", name): value})
    node = parse(file.read_bytes(), "f")
    assert isinstance(node, Node)
    assert node.value["routing"][name] == value
    assert list(node.traps()) == []
    assert "# the first" in file.read_text()
