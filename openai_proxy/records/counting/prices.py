"""The cost of tokens: as reported by the upstream, else from `prices`, else from the bundled price data.

An unknown cost is None, never 0. Upstreams and the bundled data use dollars; with another `currency` they are ignored,
since nothing is converted.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from openai_proxy.exchange import Exchange
from openai_proxy.records.counting.bundled_prices import BundledPrices, PriceQuestion
from openai_proxy.records.counting.rates import ModelPrice, Rates
from openai_proxy.records.reading.tokens import Tokens

DOLLAR: Final = "USD"
_MILLION: Final = 1_000_000
_REMEMBERED: Final = 1000
_LOCAL: Final = frozenset({"ollama", "local", "echo"})
"""Types of connections whose models run locally, which no price list covers."""


class Pending(NamedTuple):
    """A price that has not been looked up yet."""

    question: PriceQuestion


class Prices:
    """The prices of one configuration. Thread-safe: remembered prices are only ever added."""

    def __init__(
        self,
        table: Mapping[str, Any] | None = None,
        connections: Mapping[str, Any] | None = None,
        bundled: BundledPrices | None = None,
        currency: str = DOLLAR,
    ) -> None:
        """`table`: glob -> price per million tokens; an exact name wins over globs. `bundled` None: none."""
        self.currency = currency
        self.in_dollars = currency == DOLLAR
        self._table = {glob: _written(price) for glob, price in (table or {}).items()}
        self._bundled = bundled if self.in_dollars else None
        self._connections = connections or {}
        self._found: dict[tuple[str | None, str | None, str | None], ModelPrice | Pending | None] = {}

    def charge(self, exchange: Exchange, tokens: Tokens, number: int = 1) -> float | Pending | None:
        """The cost in `currency` of `number` answered exchanges like `exchange` with `tokens` in total.

        None if unknown; Pending if the bundled prices must be looked up first (see `look_up`).
        """
        if tokens.cost is not None and self.in_dollars:
            return tokens.cost
        if not tokens.total and (tokens.other is None or not tokens.other.seconds):
            return None if exchange.costs else 0.0
        price = self.of(exchange.upstream_model, exchange.model, exchange.connection)
        rounds = number if number > 1 else exchange.rounds
        return price.cost(tokens, rounds) if isinstance(price, ModelPrice) else price

    def known_charge(self, exchange: Exchange, tokens: Tokens) -> float | None:
        """`charge`, looking the price up first if necessary. Blocks for up to a second or two."""
        cost = self.charge(exchange, tokens)
        if isinstance(cost, Pending):
            self.look_up([cost.question])
            cost = self.charge(exchange, tokens)
        return None if isinstance(cost, Pending) else cost

    def of(
        self, upstream_model: str | None, model: str | None = None, connection: str | None = None
    ) -> ModelPrice | Pending | None:
        """The price of the model called `upstream_model` at `connection`, requested as `model`."""
        names = (upstream_model, model, connection)
        found = self._found.get(names)
        if found is not None:
            if not isinstance(found, Pending):
                return found
            assert self._bundled is not None
            known, price = self._bundled.known(found.question)
            return price if known else found
        found = self._find(*names)
        if found is not None and len(self._found) < _REMEMBERED:
            self._found[names] = found
        if isinstance(found, Pending) and self._bundled is not None:
            known, price = self._bundled.known(found.question)
            return price if known else found
        return found

    def _find(
        self, upstream_model: str | None, model: str | None, connection: str | None
    ) -> ModelPrice | Pending | None:
        for name in (upstream_model, model):
            if name and (price := self._listed(name)) is not None:
                return price
        config = self._connections.get(connection or "")
        name = upstream_model or model
        if self._bundled is None or config is None or not name or config.api_type in _LOCAL:
            return None
        return Pending(PriceQuestion(config.api_type, config.api_base or "", connection or "", name))

    def _listed(self, name: str) -> ModelPrice | None:
        price = self._table.get(name)
        if price is None:
            price = next((p for glob, p in self._table.items() if fnmatchcase(name, glob)), None)
        return price

    def look_up(self, questions: list[PriceQuestion]) -> None:
        """Look up the bundled prices, so that none of these is pending any more. Blocks for up to a second or two."""
        if self._bundled is not None:
            self._bundled.look_up(questions)


def _written(price: Any) -> ModelPrice:
    """A price as the configuration writes it."""

    def member(name: str, default: float) -> float:
        value = price.get(name) if isinstance(price, Mapping) else getattr(price, name, None)
        return float(value) / _MILLION if value is not None else default

    read, written = member("input", 0.0), member("output", 0.0)
    rates = Rates(
        read, member("cached_input", read), member("cache_write", read), written, member("reasoning", written),
        read, read, written, written, member("cache_write", read),
    )  # fmt: skip
    return ModelPrice(((-1, rates),))
