"""Documents with members of every type, to check that nothing becomes a 500."""

from typing import Any

from hypothesis import strategies as st

_SCALARS = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False) | st.text(max_size=8)
_WORDS = st.sampled_from(
    ["role", "content", "user", "assistant", "tool", "tool_calls", "function", "name", "arguments", "images", "text",
     "parts", "functionCall", "functionResponse", "inlineData", "functionDeclarations", "temperature", "stop", "type",
     "id", "thinking", "response", "args", "mimeType", "data", "properties", "required", "model"]
)  # fmt: skip


def values() -> st.SearchStrategy[Any]:
    """JSON values built of words that the APIs use."""
    return st.recursive(
        _SCALARS | _WORDS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_WORDS, inner, max_size=4),
        max_leaves=12,
    )


def documents(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with a model and any of the members `names`."""
    members = st.dictionaries(st.sampled_from(names), values(), max_size=6)
    model = st.sampled_from([{"model": "m"}, {"model": ""}, {}, {"model": 3}])
    return st.builds(lambda base, more: {**base, **more}, model, members)
