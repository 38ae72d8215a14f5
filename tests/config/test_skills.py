"""conf/skills: three forms, read as leniently as the standard's guide for clients asks."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openai_proxy.config.diff import ConfigChanges, diff
from openai_proxy.config.skills import SkillFile, read_skill
from tests.config.conftest import ConfigDirectory


def skill(text: str, file: str = "conf/skills/s.md", folder: Path | None = None) -> SkillFile:
    read = read_skill(text.encode(), file, "s", folder=folder, model=None)
    assert isinstance(read, SkillFile), read
    return read


def test_markdown_without_frontmatter_is_a_skill() -> None:
    read = skill("# How to greet\n\nSay hello.\n")
    assert (read.id, read.name, read.description) == ("s", "s", "How to greet")
    assert read.content == "# How to greet\n\nSay hello."
    assert read.frontmatter == {}


def test_frontmatter_is_removed_from_the_text() -> None:
    read = skill("---\nname: greeting\ndescription: Use to greet\nmetadata: {a: 1}\n---\nSay hello.\n---\nand bye\n")
    assert (read.name, read.description) == ("greeting", "Use to greet")
    assert read.content == "Say hello.\n---\nand bye"
    assert read.frontmatter["metadata"] == {"a": 1}


@pytest.mark.parametrize(
    ("head", "key", "value"),
    [
        ("description: Use when: the user asks: things", "description", "Use when: the user asks: things"),
        ("description: [not closed", "description", None),
        ("allowed-tools: Bash(git:*), Read", "allowed-tools", "Bash(git:*), Read"),
        ("when_to_use: it's @home\nname: s", "when_to_use", "it's @home"),
        ("name: other-than-the-folder\nx-unknown: {a: [1]}", "x-unknown", {"a": [1]}),
        ("disable-model-invocation: true", "disable-model-invocation", True),
        ("version: 1.10\nuser-invocable: no", "user-invocable", "no"),
        ("description: >\n  folded\n  text", "description", "folded text\n"),
    ],
)
def test_frontmatter_is_read_leniently(head: str, key: str, value: object) -> None:
    read = read_skill(f"---\n{head}\n---\nBody\n".encode(), "f/SKILL.md", "f", folder=Path("f"), model=None)
    if value is None:
        assert isinstance(read, list)
        assert read[0].line >= 2
    else:
        assert isinstance(read, SkillFile)
        assert read.frontmatter[key] == value
        assert read.content == "Body"


def test_yaml_is_strict() -> None:
    read = skill("name: N\ndescription: D\ncontent: |\n  one\n  ${TWO}\n", "s.yaml")
    assert (read.name, read.description, read.content) == ("N", "D", "one\n${TWO}")
    problems = read_skill(b"name: N\ncontents: x\n", "s.yaml", "s", folder=None, model=None)
    assert isinstance(problems, list)
    assert [str(p) for p in problems] == [
        's.yaml:1:1: "content" is missing',
        's.yaml:2:1: unknown key "contents" (did you mean "content"?)',
    ]


def test_a_skills_folder_determines_its_model(config_directory: ConfigDirectory) -> None:
    config_directory.write("models/m.yaml", "name: augmented/m\n")
    config_directory.write("skills/one.md", "One")
    config_directory.write("skills/README.md", "About this directory")
    config_directory.write("skills/.hidden.md", "No")
    config_directory.write("skills/two/SKILL.md", "---\ndescription: Two\n---\n2")
    config_directory.write("skills/two/references/more.md", "not a skill")
    config_directory.write("skills/augmented/m/own.yaml", "content: Own")
    config_directory.write("skills/augmented/m/folder/SKILL.md", "Folder")
    snapshot = config_directory.load()
    assert snapshot.problems == ()
    root = config_directory.conf / "skills"
    assert [(s.model, s.id, s.path) for s in snapshot.skills] == [
        (None, "one", None),
        (None, "two", root / "two"),
        ("augmented/m", "folder", root / "augmented/m/folder"),
        ("augmented/m", "own", None),
    ]
    assert snapshot.place("skill", "augmented/m/own") == (str(root / "augmented/m/own.yaml"), 1, 1)


def test_duplicate_ids_and_folders_of_unknown_models_are_reported(config_directory: ConfigDirectory) -> None:
    config_directory.write("models/m.yaml", "name: augmented/m\n")
    config_directory.write("skills/one.md", "One")
    config_directory.write("skills/one/SKILL.md", "Another")
    config_directory.write("skills/augmented/n/x.md", "X")
    snapshot = config_directory.load()
    assert [(Path(p.file).name, p.message.partition(":")[0].partition("also")[0]) for p in snapshot.problems] == [
        ("one.md", 'duplicate skill "one"'),
        ("x.md", 'this folder belongs to the model "augmented/n", which does not exist (did you mean "augmented/m"?)'),
    ]
    assert [s.content for s in snapshot.skills if s.id == "one"] == ["Another"]


def test_a_skill_is_added_changed_and_removed(config_directory: ConfigDirectory) -> None:
    config_directory.write("skills/a.md", "A")
    first = config_directory.load()
    config_directory.write("skills/a.md", "B")
    config_directory.write("skills/b.md", "B")
    second = config_directory.load(first)
    assert diff(first, second) == ConfigChanges(added=("skill b",), updated=("skill a",))
    (config_directory.conf / "skills/a.md").unlink()
    assert diff(second, config_directory.load(second)) == ConfigChanges(removed=("skill a",))


@given(st.one_of(st.binary(max_size=60), st.text("-\n: ab[]{}'\"", max_size=60).map(lambda t: b"---\n" + t.encode())))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_bytes_raise_an_exception(data: bytes) -> None:
    read_skill(data, "s.md", "s", folder=None, model=None)
    read_skill(data, "s.yaml", "s", folder=None, model=None)
