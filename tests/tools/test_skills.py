import os

import pytest

from openai_proxy.config.skills import SkillFile
from openai_proxy.tools.skills import MAX_FILE_BYTES, MAX_LISTED, load_skill, resources, skill_tools
from openai_proxy.tools.toolbox import Toolbox
from openai_proxy.tools.workers import Workers


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "guide"
    (root / "references").mkdir(parents=True)
    (root / "scripts").mkdir()
    (root / "SKILL.md").write_text("---\nname: guide\n---\nBody.")
    (root / "references" / "a.md").write_text("Ünïcode text.")
    (root / "scripts" / "run.py").write_text("open('/tmp/never', 'w')")
    (root / ".env").write_text("SECRET=1")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("x")
    (tmp_path / "outside.txt").write_text("OUTSIDE")
    (tmp_path / "guide-two").mkdir()
    (tmp_path / "guide-two" / "b.md").write_text("OUTSIDE")
    return root


@pytest.fixture
def toolbox(folder):
    skills = [
        SkillFile("guide", "Guide", "For guiding.", "Body.", path=folder),
        SkillFile("plain", "plain", "Plain.", "Just text & <tags>."),
    ]
    return Toolbox(skill_tools(skills, Workers()))


async def read(toolbox, path):
    return await toolbox.run("read_skill_file", {"skill": "guide", "path": path})


def test_without_skills_there_are_no_tools_and_without_folders_no_reader():
    assert skill_tools([], Workers()) == []
    assert [t.name for t in skill_tools([SkillFile("a", "a", "", "x")], Workers())] == ["load_skill"]


def test_the_names_are_an_enum(toolbox):
    load, read_file = toolbox.definitions()
    assert load["function"]["parameters"]["properties"]["name"]["enum"] == ["guide", "plain"]
    assert read_file["function"]["parameters"]["properties"]["skill"]["enum"] == ["guide"]


async def test_a_skill_has_its_body_and_the_names_of_its_files(toolbox):
    text = (await toolbox.run("load_skill", '{"name": "guide"}')).text
    assert text.startswith('<skill_content name="guide">\nBody.\n')
    assert "<file>references/a.md</file>\n<file>scripts/run.py</file>\n</skill_resources>" in text
    assert "executed" in text
    assert ".env" not in text
    assert "SKILL.md" not in text
    assert (await toolbox.run("load_skill", {"name": "plain"})).text == (
        '<skill_content name="plain">\nJust text & <tags>.\n</skill_content>'
    )
    assert (await toolbox.run("load_skill", {"name": "nobody"})).is_error


async def test_a_file_is_read_and_never_run(toolbox):
    result = await read(toolbox, "references/a.md")
    assert "Ünïcode text." in result.text
    assert not result.is_error
    assert "open('/tmp/never', 'w')" in (await read(toolbox, "scripts/run.py")).text
    assert "Body." in (await read(toolbox, "./SKILL.md")).text


@pytest.mark.parametrize(
    "path",
    [
        "../outside.txt", "references/../../outside.txt", "/etc/passwd", "../guide-two/b.md", "..", ".", "", " ",
        "references", "missing.md", ".env", ".git/config", "references/.hidden", "a\0b", "C:\\x", "..\\outside.txt",
        "~/x", "x" * 5000, "link.txt", "linked/outside.txt", "loop", "pipe", "\ud800", "file:///etc/passwd",
    ],
)  # fmt: skip
async def test_nothing_outside_the_folder_is_read(toolbox, folder, path):
    (folder / "link.txt").symlink_to(folder.parent / "outside.txt")
    (folder / "linked").symlink_to(folder.parent)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    result = await read(toolbox, path)
    assert result.is_error
    assert "OUTSIDE" not in result.text
    assert str(folder.parent) not in result.text


async def test_a_link_that_stays_inside_is_followed(toolbox, folder):
    (folder / "again.md").symlink_to(folder / "references" / "a.md")
    assert "Ünïcode" in (await read(toolbox, "again.md")).text


async def test_only_text_of_a_bounded_size_is_read(toolbox, folder):
    (folder / "image.png").write_bytes(b"\x89PNG\0\0")
    (folder / "latin.txt").write_bytes(b"\xe4\xf6")
    (folder / "large.txt").write_text("x" * (MAX_FILE_BYTES + 1))
    for name, said in (("image.png", "not a text"), ("latin.txt", "not a text"), ("large.txt", "larger than")):
        result = await read(toolbox, name)
        assert result.is_error
        assert said in result.text


def test_the_list_of_files_is_capped(folder):
    for number in range(MAX_LISTED + 20):
        (folder / f"f{number:03}.md").write_text("x")
    listed, more = resources(folder)
    assert len(listed) == MAX_LISTED
    assert more
    assert "only the first" in load_skill(SkillFile("g", "g", "", "x", path=folder))


async def test_a_missing_folder_is_harmless(toolbox, folder):
    folder.rename(folder.parent / "moved")
    assert "Body." in (await toolbox.run("load_skill", {"name": "guide"})).text
    assert (await read(toolbox, "references/a.md")).is_error
