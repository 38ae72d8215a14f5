"""Braces that look like a template but are not one."""

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.prompt.suspects import suspects
from openai_proxy.prompt.templates import parse

PIECES = st.sampled_from(["{{", "}}", "{", "}", "now", "(", ")", "=", '"x"', "'", " ", "\n", "1", ",", "True", "word"])


@given(st.lists(PIECES, max_size=30).map("".join))
def test_every_suspect_is_in_the_text_and_is_not_a_call(text: str) -> None:
    template = parse(text)
    calls = set()
    at = 0
    for part in template.parts:
        if isinstance(part, str):
            at += len(part)
        else:
            calls.update(range(at, at + len(part.source)))
            at += len(part.source)
    found = list(suspects(template, lambda name: name == "now"))
    assert [one.offset for one in found] == sorted({one.offset for one in found})
    for one in found:
        assert text.startswith(one.source, one.offset)
        assert one.source.startswith("{{")
        assert one.offset not in calls
    assert text.count("{{") >= len(found)


def test_the_work_on_a_long_text_is_bounded() -> None:
    text = "{{now(" * 20_000
    assert len(list(suspects(parse(text), lambda name: True))) == 20_000
