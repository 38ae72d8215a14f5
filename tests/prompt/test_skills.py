from pathlib import Path

import pytest

from openai_proxy.config.skills import SkillFile, read_skill
from openai_proxy.prompt.skills import catalogue, choose, hidden, injected


def skill(skill_id, content="Body.", *, model=None, description="What for.", **frontmatter):
    return SkillFile(skill_id, skill_id, description, content, model=model, frontmatter=frontmatter)


SKILLS = [
    skill("zebra"),
    skill("python-expert"),
    skill("mine", model="augmented/homeassistant"),
    skill("theirs", model="augmented/other"),
]


def ids(skills):
    return [s.id for s in skills]


def test_a_model_has_all_global_skills_and_its_own_in_one_stable_order():
    assert ids(choose(SKILLS, "augmented/homeassistant")) == ["mine", "python-expert", "zebra"]
    assert ids(choose(reversed(SKILLS), "augmented/homeassistant")) == ["mine", "python-expert", "zebra"]


def test_without_global_skills_it_has_its_own_and_those_it_names():
    assert ids(choose(SKILLS, "augmented/homeassistant", include_global=False)) == ["mine"]
    assert ids(choose(SKILLS, "m", named=("zebra",), include_global=False)) == ["zebra"]
    assert choose(SKILLS, "m", include_global=False) == ()


@pytest.mark.parametrize("order", [1, -1])
def test_a_models_own_skill_hides_a_global_one_of_the_same_id(order):
    both = [skill("a", "global"), skill("a", "own", model="m")][::order]
    assert [s.content for s in choose(both, "m")] == ["own"]


@pytest.mark.parametrize("value", [True, "true", "Yes"])
def test_a_skill_models_may_not_call_is_left_out_unless_it_is_named(value):
    hidden_one = [skill("deploy", **{"disable-model-invocation": value}), skill("other")]
    assert ids(choose(hidden_one, "m")) == ["other"]
    assert ids(choose(hidden_one, "m", named=("deploy",))) == ["deploy", "other"]
    assert "deploy" not in catalogue(choose(hidden_one, "m", named=("deploy",)))
    assert not hidden(skill("x", **{"disable-model-invocation": False}))


def test_injected_skills_follow_each_other():
    assert injected([skill("a", "One.\n"), skill("b", "Two <b>.")]) == (
        '<skill_content name="a">\nOne.\n</skill_content>\n\n<skill_content name="b">\nTwo <b>.\n</skill_content>'
    )
    assert injected([]) == ""


def test_truncated_skills_are_marked():
    text = injected([skill("a", "x" * 50), skill("b", "y" * 100), skill("c"), skill("d")], limit=100)
    assert "x" * 50 in text
    assert "y" * 50 + "\n\n[… the skills are too long; 50 characters" in text
    assert "y" * 51 not in text
    assert "c, d" in text


def test_the_catalogue_has_names_and_descriptions_only():
    text = catalogue([skill("a", "BODY", description="For <this> & that\nand more."), skill("b")])
    assert '<skill name="a">For &lt;this&gt; &amp; that and more.</skill>' in text
    assert "BODY" not in text
    assert "load_skill" in text
    assert catalogue([]) == ""


def test_a_long_description_is_cut_and_no_name_is_dropped():
    many = [skill(f"s{i}", description="word " * 1000) for i in range(300)]
    text = catalogue(many)
    assert all(f'"s{i}"' in text for i in range(300))
    assert len(text) < 40_000
    assert len(catalogue(many[:1])) < 2500


# Quirks of published skills, in texts of our own.
ODDITIES = {
    "unquoted colon": (
        "name: pdf\ndescription: Use when: the user asks for PDFs. Note: read first\n",
        "Use when: the user",
    ),
    "long description": ("name: api\ndescription: " + "very " * 400 + "long\n", "very very"),
    "name mismatch": ("name: Another Name\ndescription: About.\n", "About."),
    "unknown keys": ("name: x\ndescription: About.\nallowed-tools: Bash(git:*)\nhooks:\n  a: [1]\n", "About."),
    "folded": ("name: x\ndescription: >\n  Two\n  lines.\n", "Two lines."),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_published_skills_can_be_chosen_and_shown(oddity):
    head, words = ODDITIES[oddity]
    data = f"---\n{head}---\n\n# Title\n\nDo this.\n".encode()
    read = read_skill(data, "skills/odd/SKILL.md", "odd", folder=Path("skills/odd"), model=None)
    assert isinstance(read, SkillFile)
    (chosen,) = choose([read], "m")
    assert words in catalogue([chosen])
    assert '<skill name="odd">' in catalogue([chosen])
    assert injected([chosen]) == '<skill_content name="odd">\n# Title\n\nDo this.\n</skill_content>'
