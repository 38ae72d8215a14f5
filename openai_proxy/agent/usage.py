"""Token counts summed over the rounds of a turn."""

from typing import Any


def add_usage(total: dict[str, Any] | None, usage: dict[str, Any] | None) -> dict[str, Any] | None:
    """`total` plus `usage`: numbers are added, also in nested details; of other values the last is kept."""
    if not usage:
        return total
    if total is None:
        return dict(usage)
    summed = dict(total)
    for name, value in usage.items():
        old = summed.get(name)
        if isinstance(value, dict):
            summed[name] = add_usage(old if isinstance(old, dict) else None, value) or {}
        elif _number(value) and _number(old):
            summed[name] = old + value
        elif value is not None:
            summed[name] = value
    return summed


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
