"""Budgets joined to requests: what one may cost is reserved before it is sent, and settled when its record is read."""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openai_proxy.auth.budgets import Budget, Budgets
from openai_proxy.auth.shared_budgets import SharedBudgets
from openai_proxy.exchange import Exchange, Target
from openai_proxy.records.counting.prices import Pending
from openai_proxy.records.counting.rates import ModelPrice
from openai_proxy.records.reading.tokens import CHARACTERS_A_TOKEN, Tokens
from openai_proxy.records.recording.service import Records
from openai_proxy.store.shared import Shared

if TYPE_CHECKING:
    from openai_proxy.routing.catalog import Catalog

log = logging.getLogger(__name__)

MAX_INPUT: Final = 100_000
"""Tokens an estimate of the input comes to at most: megabytes of a request are pictures, not text."""
OUTPUT: Final = 4096
"""Tokens of an answer, where neither the request nor the provider's list of models bounds them."""
_LIMITS_HOLD: Final = 300.0  # seconds a model's limit is remembered
_MAX_REMEMBERED: Final = 1000


class Spendings:
    """Lives as long as the process. Belongs to the event loop, but for `cost`."""

    def __init__(self, directory: Path, records: Records, catalog: "Catalog", shared: Shared) -> None:
        self.book = Budgets()
        self.book.load(directory)
        self._shared = SharedBudgets(self.book, shared)
        self._records = records
        self._catalog = catalog
        self._outputs: dict[tuple[str, str], tuple[float, int]] = {}  # until when, tokens
        self._named: set[tuple[str | None, str | None]] = set()  # models without a price that the log has named

    def at_ease(self, exchange: Exchange, budget: Budget) -> bool:
        """True if a request may be let in with nothing to say or to wait for."""
        return self.book.at_ease(self.book.spending(exchange.caller), budget)

    def check(self, exchange: Exchange, budget: Budget) -> None:
        """Let a request in that may cost something. Raises BudgetExceeded; notes what is left where that is little."""
        spending = self.book.spending(exchange.caller)
        if exchange.endpoint.costs:
            self.book.left(spending, budget)
        exchange.budget_left = self.book.almost(spending, budget)

    def estimate(self, target: Target, model: str | None, size: int, document: Mapping[str, Any]) -> float | None:
        """What a request of `size` bytes for `model` may cost at `target`; None where the price is to be looked up.

        0 for a model whose price nobody knows.
        """
        name = target.model or model
        price = self._records.usage.prices.of(name, model, target.connection)
        if not isinstance(price, ModelPrice):
            return 0.0 if price is None else None
        read = size // CHARACTERS_A_TOKEN
        written = _bound_of(document) or self._limit(target.connection, name or "")
        return price.estimate(min(MAX_INPUT, read), written)

    async def reserve(
        self, exchange: Exchange, budget: Budget, target: Target, size: int, document: Mapping[str, Any]
    ) -> None:
        """Set aside what a request may cost. Raises BudgetExceeded."""
        if not exchange.endpoint.costs or exchange.reserved is not None:
            return
        estimate = self.estimate(target, exchange.model, size, document)
        if estimate is None:
            prices = self._records.usage.prices
            price = prices.of(target.model or exchange.model, exchange.model, target.connection)
            if isinstance(price, Pending):
                await asyncio.get_running_loop().run_in_executor(None, prices.look_up, [price.question])
            estimate = self.estimate(target, exchange.model, size, document) or 0.0
        exchange.reserved = self.book.reserve(self.book.spending(exchange.caller), budget, estimate)

    def reserve_now(self, exchange: Exchange, budget: Budget, estimate: float) -> bool:
        """Set aside `estimate` at once; False where something has to be said or waited for first."""
        exchange.reserved = self.book.reserve_at_ease(self.book.spending(exchange.caller), budget, estimate)
        return exchange.reserved is not None

    def cost(self, exchange: Exchange, tokens: Tokens, paid: bool) -> float:
        """What an exchange that is over cost; 0 where nobody knows. Called in the recorder's thread."""
        if not paid or exchange.connection is None:
            return 0.0
        cost = self._records.usage.prices.known_charge(exchange, tokens)
        if cost is None:
            self._name(exchange)
            return 0.0
        return cost

    def settle(self, exchange: Exchange, cost: float) -> None:
        """An exchange is over and cost so much."""
        reserved, exchange.reserved = exchange.reserved or 0.0, None
        self.book.settle(exchange.caller.key_digest or exchange.caller.remote, reserved, cost)

    def _name(self, exchange: Exchange) -> None:
        model = (exchange.upstream_model or exchange.model, exchange.connection)
        if model in self._named or len(self._named) >= _MAX_REMEMBERED:
            return
        self._named.add(model)
        log.warning(
            'no price is known for the model "%s" of the connection "%s": it counts nothing under the budget of '
            'group "%s" until `prices` says what it costs',
            (model[0] or "")[:200], model[1], exchange.caller.group,
        )  # fmt: skip

    def _limit(self, connection: str, model: str) -> int:
        """The tokens a model writes at most, as far as its provider's list says."""
        known = self._outputs.get((connection, model))
        now = time.monotonic()
        if known is not None and known[0] > now:
            return known[1]
        from openai_proxy.dialects.model_lists.cards import card_of  # only houses with budgets read the limits

        entry = self._catalog.find(connection, model)
        limit = (card_of(entry).max_output_tokens if entry is not None else None) or OUTPUT
        if len(self._outputs) >= _MAX_REMEMBERED:
            self._outputs.clear()
        self._outputs[connection, model] = (now + _LIMITS_HOLD, limit)
        return limit


_BOUNDS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_BELOW: Final = (("options", "num_predict"), ("generationConfig", "maxOutputTokens"))


def _bound_of(document: Mapping[str, Any]) -> int | None:
    """The tokens a request wants at most, in the words of any of the APIs."""
    for name in _BOUNDS:
        if name in document and (bound := _whole(document[name])):
            return bound
    for outer, name in _BELOW:
        if outer in document and type(inner := document[outer]) is dict and (bound := _whole(inner.get(name))):
            return bound
    return None


def _whole(value: Any) -> int | None:
    return int(value) if type(value) in (int, float) and 0 < value < 1e9 else None
