import pytest

from openai_proxy.tools.signature import Signature, read_docstring


@pytest.mark.parametrize(
    "text",
    [
        "Does it.\n\nArgs:\n    a: One\n        more.\n    b (int): Two.\n\nReturns:\n    c: three",
        "Does it.\n\nParameters\n----------\na : str\n    One\n    more.\nb : int\n    Two.\n\nReturns\n-------",
        "Does it.\n\n:param a: One\n    more.\n:param int b: Two.\n:returns: c: three",
    ],
)
def test_docstrings_in_three_styles(text):
    assert read_docstring(text) == ("Does it.", {"a": "One more.", "b": "Two."})


@pytest.mark.parametrize("text", ["", "One line.", "Note: this stays.", "First.\n\nSecond: with a colon."])
def test_a_docstring_without_sections_is_the_description(text):
    assert read_docstring(text) == (text, {})


def test_more_arguments_are_allowed_only_where_the_function_takes_them():
    def strict(a: int): ...
    def open_(a: int, **more: str): ...

    assert Signature(strict).parameters["additionalProperties"] is False
    assert Signature(open_).parameters["additionalProperties"] is not False


def test_untyped_arguments_take_anything():
    def f(a, b=3): ...

    assert Signature(f).parameters["properties"]["a"] == {}
    assert Signature(f).parameters["required"] == ["a"]
