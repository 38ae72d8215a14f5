"""The place that `check` reports for a template with an unknown tool."""

from pathlib import Path

import pytest

from openai_proxy.config.load import load
from openai_proxy.runtime import checking


def places(tmp_path: Path, text: str) -> list[tuple[int, int]]:
    conf = tmp_path / "conf"
    (conf / "models").mkdir(parents=True)
    (conf / "models" / "m.yaml").write_text(text)
    found = checking.models(load(conf, None, {}))
    assert all(problem.file.endswith("m.yaml") for problem in found)
    return [(problem.line, problem.column) for problem in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: m\nsystem_prompt: |\n  Hello\n  it is {{no()}} or {{nope(a=1)}}\n", [(4, 9), (4, 21)]),
        ("name: m\nsystem_prompt: |\n\n  ü {{no()}}\n\n   {{no()}}\n", [(4, 5), (6, 4)]),
        ("name: m\nsystem_prompt: 'a {{no(b=1)}}'\n", [(2, 19)]),
        ("name: m\nsystem_prompt: a {{no()}}\n", [(2, 18)]),
        ("name: m\nsystem_prompt: >\n  one\n  two {{no()}}\n", [(4, 7)]),
        ("name: m\nsystem_prompt: |\n  {{no(a=1,\n    b=2)}}\n", [(3, 3)]),
        ("name: m\ndescription: '{{no()}}'\nsystem_prompt: |\n  {{no()}}\n", [(4, 3)]),
        ("name: m\nsystem_prompt: |\n  {{calculator(expression='1')}} {{no()}}\n", [(3, 34)]),
        ('name: m\nsystem_prompt: "x {{no(a=\\"b\\")}}"\n', [(2, 16)]),  # escaped: the prompt's own place
    ],
)
def test_it_is_reported_at_its_own_line(tmp_path: Path, text: str, expected: list[tuple[int, int]]) -> None:
    assert places(tmp_path, text) == expected


def test_in_a_file_changed_since_it_is_the_prompts_place(tmp_path: Path) -> None:
    places(tmp_path, "name: m\nsystem_prompt: |\n  a\n  {{no()}}\n")
    snapshot = load(tmp_path / "conf", None, {})
    (tmp_path / "conf" / "models" / "m.yaml").write_text("name: m\nsystem_prompt: |\n  {{no()}}\n")
    (problem,) = checking.models(snapshot)
    assert (problem.line, problem.column) == (2, 16)
