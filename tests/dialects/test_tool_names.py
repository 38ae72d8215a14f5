"""Names that every provider accepts, and the mapping back."""

from hypothesis import given
from hypothesis import strategies as st

from openai_proxy.dialects.tool_names import ToolNames


def test_valid_names_stay_and_others_become_distinct_ones() -> None:
    names = ToolNames()
    assert names.fit("f-1_x") == "f-1_x"
    assert [names.fit("a.b"), names.fit("a:b"), names.fit("a.b")] == ["a_b", "a_b_2", "a_b"]
    assert [names.original(name) for name in ("a_b", "a_b_2", "f-1_x")] == ["a.b", "a:b", "f-1_x"]


@given(st.lists(st.text(min_size=1, max_size=80), max_size=30, unique=True))
def test_every_name_is_unique_and_maps_back(given_names: list[str]) -> None:
    names = ToolNames()
    fit = [names.fit(name) for name in given_names]
    assert [names.original(name) for name in fit] == given_names
    assert all(len(name) <= 64 for name in fit)
