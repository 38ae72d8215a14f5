"""Budgets of thinking, in tokens, and the efforts that OpenAI's API knows instead."""

from typing import Final

_EFFORTS: Final = ((2048, "low"), (16384, "medium"))
"""Budgets up to which an effort is meant; above: high."""


def effort_of_budget(tokens: float) -> str:
    """The `reasoning_effort` for a budget of `tokens`."""
    return next((effort for limit, effort in _EFFORTS if tokens <= limit), "high")
