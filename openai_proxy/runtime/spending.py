"""Applies budgets to requests: the maximum cost is reserved before sending, and settled when the record is read."""

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from openai_proxy.auth.budgets import FILE, VERSION, Budget, Budgets
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
"""Maximum estimated input tokens: a request of megabytes consists of pictures, not text."""
OUTPUT: Final = 4096
"""Assumed output tokens, if neither the request nor the provider's model list limits them."""
_LIMITS_HOLD: Final = 300.0  # seconds for which a model's limit is cached
_MAX_REMEMBERED: Final = 1000


class Spendings:
    """Lives as long as the process. Belongs to the event loop, except `cost`."""

    def __init__(self, directory: Path, records: Records, catalog: "Catalog", shared: Shared) -> None:
        self.book = Budgets()
        self.book.load(directory)
        self._shared = SharedBudgets(self.book, shared)
        self._records = records
        self._catalog = catalog
        self._outputs: dict[tuple[str, str], tuple[float, int]] = {}  # until when, tokens
        self._named: set[tuple[str | None, str | None]] = set()  # models without a price that were logged

    def at_ease(self, exchange: Exchange, budget: Budget) -> bool:
        """True if a request can be admitted without a header to add or anything to wait for."""
        return self.book.at_ease(self.book.spending(exchange.caller), budget)

    def check(self, exchange: Exchange, budget: Budget) -> None:
        """Admit a request that may cost something. Raises BudgetExceeded; notes the remaining budget if it is low."""
        spending = self.book.spending(exchange.caller)
        if exchange.costs:
            self.book.left(spending, budget)
        exchange.budget_left = self.book.almost(spending, budget)

    def estimate(self, target: Target, model: str | None, size: int, document: Mapping[str, Any]) -> float | None:
        """The maximum cost of a request of `size` bytes for `model` at `target`; None if the price must be looked up.

        0 for a model without a known price.
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
        """Reserve the maximum cost of a request. Raises BudgetExceeded."""
        if not exchange.costs or exchange.reserved is not None:
            return
        estimate = self.estimate(target, exchange.model, size, document)
        if estimate is None:
            prices = self._records.usage.prices
            price = prices.of(target.model or exchange.model, exchange.model, target.connection)
            if isinstance(price, Pending):
                await asyncio.get_running_loop().run_in_executor(None, prices.look_up, [price.question])
            estimate = self.estimate(target, exchange.model, size, document) or 0.0
        name = exchange.caller.account
        exchange.reserved = self.book.reserve(name, budget, estimate)
        if not self.book.at_ease(self.book.of(name), budget) and await self._shared.exchange(name):
            had, exchange.reserved = exchange.reserved, 0.0
            exchange.reserved = self.book.reserve(name, budget, estimate, had)

    def reserve_now(self, exchange: Exchange, budget: Budget, estimate: float) -> bool:
        """Reserve `estimate` at once; False if there is something to report or wait for first."""
        exchange.reserved = self.book.reserve_at_ease(exchange.caller.account, budget, estimate)
        return exchange.reserved is not None

    def cost(self, exchange: Exchange, tokens: Tokens, paid: bool) -> float:
        """The cost of a finished exchange; 0 if unknown. Called in the recorder's thread."""
        if not paid or exchange.connection is None:
            return 0.0
        cost = self._records.usage.prices.known_charge(exchange, tokens)
        if cost is None:
            self._name(exchange, tells=bool(tokens.total) and not tokens.half_known)
            return 0.0
        return cost

    def settle(self, exchange: Exchange, cost: float, over: bool) -> None:
        """An exchange has cost this much more. The rest of what is reserved for it is kept until it is `over`."""
        reserved = exchange.reserved or 0.0
        freed = reserved if over else min(reserved, cost)
        exchange.reserved = None if over or exchange.reserved is None else reserved - freed
        self.book.settle(exchange.caller.account, freed, cost)

    def dump(self) -> tuple[str, int, dict[str, Any] | None]:
        """The state file: its name, its version, and its members if they have changed."""
        return FILE, VERSION, self.book.dump()

    def _name(self, exchange: Exchange, *, tells: bool) -> None:
        model = (exchange.upstream_model or exchange.model, exchange.connection)
        if model in self._named or len(self._named) >= _MAX_REMEMBERED:
            return
        self._named.add(model)
        words = ('no price is known for the model "%s" of the connection "%s": it does not count towards the budget of '
                 'group "%s" until `prices` has one')  # fmt: skip
        if not tells:
            words = ('the model "%s" of the connection "%s" reports no tokens, so its cost is unknown: it does not '
                     'count towards the budget of group "%s"')  # fmt: skip
        log.warning(words, (model[0] or "")[:200], model[1], exchange.caller.group)

    def _limit(self, connection: str, model: str) -> int:
        """The model's output limit according to its provider's list."""
        known = self._outputs.get((connection, model))
        now = time.monotonic()
        if known is not None and known[0] > now:
            return known[1]
        from openai_proxy.dialects.model_lists.cards import card_of  # the limits are only needed with budgets

        entry = self._catalog.find(connection, model)
        limit = (card_of(entry).max_output_tokens if entry is not None else None) or OUTPUT
        if len(self._outputs) >= _MAX_REMEMBERED:
            self._outputs.clear()
        self._outputs[connection, model] = (now + _LIMITS_HOLD, limit)
        return limit


_BOUNDS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
_BELOW: Final = (("options", "num_predict"), ("generationConfig", "maxOutputTokens"))


def _bound_of(document: Mapping[str, Any]) -> int | None:
    """A request's own output limit, in any of the APIs."""
    for name in _BOUNDS:
        if name in document and (bound := _whole(document[name])):
            return bound
    for outer, name in _BELOW:
        if outer in document and type(inner := document[outer]) is dict and (bound := _whole(inner.get(name))):
            return bound
    return None


def _whole(value: Any) -> int | None:
    return int(value) if type(value) in (int, float) and 0 < value < 1e9 else None
