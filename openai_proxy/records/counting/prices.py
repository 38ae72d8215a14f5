"""What tokens cost: `prices` of the configuration, globs on model names, dollars per million tokens."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from openai_proxy.records.reading.tokens import Tokens

_MILLION = 1_000_000


class Prices:
    """An ordered table of (glob, price); the first that matches holds, an exact name before any glob."""

    def __init__(self, table: Mapping[str, Any] | None = None) -> None:
        self._table = dict(table or {})
        self._found: dict[str, Any] = {}

    def cost(self, tokens: Tokens, *names: str | None) -> float | None:
        """Dollars for `tokens` of the model called by one of `names`, else what the upstream said, else None."""
        for name in names:
            price = self._price(name) if name else None
            if price is not None:
                each = _member(price, "input"), _member(price, "output")
                fresh = max(tokens.input - tokens.cached, 0)
                cached = _member(price, "cached_input", each[0])
                return (fresh * each[0] + tokens.cached * cached + tokens.output * each[1]) / _MILLION
        return tokens.cost

    def _price(self, name: str) -> Any:
        if name in self._found:
            return self._found[name]
        price = self._table.get(name)
        if price is None:
            price = next((p for glob, p in self._table.items() if fnmatchcase(name, glob)), None)
        if len(self._found) < 1000:
            self._found[name] = price
        return price


def _member(price: Any, name: str, default: float = 0.0) -> float:
    value = price.get(name) if isinstance(price, Mapping) else getattr(price, name, None)
    return float(value) if value is not None else default
