"""The models that a caller may use, in the formats of the APIs that have a list: from memory, in milliseconds.

GET /v1/models, /v1/models/{id}           OpenAI's; Anthropic's with `anthropic-version`, Google's with its key header,
                                          the catalog of Codex with `?client_version=`
GET /v1beta/models, /v1beta/models/{id}   Google's
/api/tags, /api/show, /api/ps, /api/version   Ollama's
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import parse_qsl, unquote

import orjson
from aiohttp.web_request import BaseRequest

from openai_proxy.decision.visible import every_model, may_ask
from openai_proxy.dialects.model_lists import openai
from openai_proxy.dialects.model_lists.cards import ModelCard, card_of
from openai_proxy.endpoints import Endpoint, list_language
from openai_proxy.errors import BadRequest, unknown_model
from openai_proxy.exchange import Caller
from openai_proxy.pipeline.document import read_document
from openai_proxy.routing.listing import model_object
from openai_proxy.runtime.generation import DEFAULT_TAG, Generation
from openai_proxy.runtime.state import ProxyState
from openai_proxy.server.reply import Reply
from openai_proxy.server.request_body import RequestBody
from openai_proxy.tasks import spawn

OLLAMA_VERSION: Final = "0.18.3"
"""Reported to clients that check whether this Ollama is new enough. VS Code requires three numbers."""

_LOADED: Final = timedelta(minutes=5)  # how long a model in use is reported to stay loaded: Ollama's default
_KEPT: Final = 64  # cached lists: of several groups, in several formats

_STEP: Final = 25  # models processed at once

Cards = tuple[ModelCard, ...]


def _one(card: ModelCard, language: str) -> dict[str, Any]:
    """`card` alone, in the format of the client's API."""
    if language == "gemini":
        from openai_proxy.dialects.model_lists import gemini

        return gemini.one(card)
    if language == "messages":
        from openai_proxy.dialects.model_lists import anthropic as messages

        return messages.one(card)
    return openai.one(card)


class ModelLists:
    """The daemon's lists, cached as long as neither its configuration nor the upstreams' offers change."""

    def __init__(self, state: ProxyState) -> None:
        self._state = state
        self._cards: dict[tuple[Any, ...], Cards] = {}
        self._bodies: dict[tuple[Any, ...], bytes] = {}
        # (generation, group) -> the key of its last cards
        self._latest: dict[tuple[int, str | None], tuple[Any, ...]] = {}
        self._making: asyncio.Task[Cards] | None = None

    async def serve(
        self,
        generation: Generation,
        caller: Caller,
        endpoint: Endpoint,
        request: BaseRequest,
        query: str,
        body: RequestBody,
        reply: Reply,
    ) -> None:
        """Answer a request about models. Raises NotFound for a model that does not exist, or not for this caller."""
        name = endpoint.name
        if name == "ollama/version":
            await reply.send(200, orjson.dumps({"version": OLLAMA_VERSION}))
            return
        key, cards = await self._known(generation, caller)
        if not name.startswith("ollama/"):
            await reply.send(200, self._of_v1(generation, caller, endpoint, request, query, key, cards))
            return
        from openai_proxy.dialects.model_lists import ollama  # a typical installation has few kinds of clients

        if name == "ollama/show":
            wanted = _named((await read_document(await body.whole())).members)
            bare = generation.untagged(wanted)
            tagged = next((card for card in cards if card.id in (wanted, bare + DEFAULT_TAG)), None)
            answer = orjson.dumps(ollama.shown(tagged or self._find(generation, caller, cards, bare)))
        elif name == "ollama/ps":
            answer = orjson.dumps(ollama.loaded(self._in_use(cards), _in(_LOADED)))
        else:
            answer = self._ready((*key, name), lambda: ollama.listed(cards))
        await reply.send(200, answer)

    def _of_v1(
        self,
        generation: Generation,
        caller: Caller,
        endpoint: Endpoint,
        request: BaseRequest,
        query: str,
        key: tuple[Any, ...],
        cards: Cards,
    ) -> bytes:
        parameters = dict(parse_qsl(query, keep_blank_values=True))
        language = endpoint.dialect or list_language(request.headers)
        if endpoint.name in ("model", "gemini model"):
            card = self._find(generation, caller, cards, unquote(endpoint.path[len("/models/") :]))
            return orjson.dumps(_one(card, language))
        if language == "gemini":
            from openai_proxy.dialects.model_lists import gemini

            page = (parameters.get("pageSize", ""), parameters.get("pageToken", ""))
            return self._ready((*key, "gemini", *page), lambda: gemini.listed(cards, parameters))
        if language == "messages":
            from openai_proxy.dialects.model_lists import anthropic

            page = (
                parameters.get("limit", ""),
                parameters.get("after_id", "") + "\0" + parameters.get("before_id", ""),
            )
            return self._ready((*key, "anthropic", *page), lambda: anthropic.listed(cards, parameters))
        if "client_version" in parameters:
            from openai_proxy.dialects.model_lists import codex

            return self._ready((*key, "codex"), lambda: codex.listed(cards))
        return self._ready((*key, "openai"), lambda: openai.listed(cards))

    async def _known(self, generation: Generation, caller: Caller) -> tuple[tuple[Any, ...], Cards]:
        """(what the list depends on, the cards of the models that `caller` may use).

        After a change of the upstreams' offers, the last list is returned once more while the new one is being built:
        with hundreds of models that takes longer than a client should wait.
        """
        catalog = self._state.catalog
        offered = await catalog.models()
        group = (caller.group or "") if generation.access.restricts(caller) else ""
        key = (generation.number, catalog.version, group)
        cards = self._cards.get(key)
        if cards is not None:
            return key, cards
        last = self._latest.get((generation.number, group))
        if last is not None and last in self._cards:
            if self._making is None or self._making.done():
                self._making = spawn(self._make(generation, caller, key, offered), name="model list for a group")
            return last, self._cards[last]
        return key, await self._make(generation, caller, key, offered)

    async def _make(
        self, generation: Generation, caller: Caller, key: tuple[Any, ...], offered: dict[str, list[dict[str, Any]]]
    ) -> Cards:
        made: list[ModelCard] = []
        for at, entry in enumerate(every_model(generation, offered)):
            if may_ask(generation, caller, entry["id"]):
                made.append(card_of(entry, _upstream(generation, offered, entry["id"])))
            if at % _STEP == _STEP - 1:
                await asyncio.sleep(0)  # let other tasks run
        if len(self._cards) >= _KEPT:
            self._cards.clear()
            self._latest.clear()
        cards = self._cards[key] = tuple(made)
        self._latest[key[0], key[2]] = key
        return cards

    def _ready(self, key: tuple[Any, ...], make: Callable[[], dict[str, Any]]) -> bytes:
        body = self._bodies.get(key)
        if body is None:
            if len(self._bodies) >= _KEPT:
                self._bodies.clear()
            body = self._bodies[key] = orjson.dumps(make())
        return body

    def _find(self, generation: Generation, caller: Caller, cards: Cards, wanted: str) -> ModelCard:
        """The card of one model; `connection:model` may be requested past all rules, so it is shown, listed or not."""
        for card in cards:
            if card.id == wanted:
                return card
        connection, _, name = wanted.partition(":")
        known = None
        if connection in generation.config.connections:
            known = self._state.catalog.find(connection, name)
        if known is None or not may_ask(generation, caller, wanted):
            raise unknown_model(wanted)
        return card_of(model_object(wanted, known))

    def _in_use(self, cards: Cards) -> Sequence[ModelCard]:
        """The models in use at the moment."""
        running_models = {running.exchange.model for running in tuple(self._state.running.values())}
        return [card for card in cards if card.id in running_models]


def _upstream(generation: Generation, offered: dict[str, list[dict[str, Any]]], name: str) -> dict[str, Any] | None:
    """What is known about an augmented model's upstream model; None for any other model."""
    augmented = generation.snapshot.models.get(name)
    if augmented is None:
        return None
    route = generation.router.resolve(augmented.upstream_model)
    if route is None or not route.targets:
        return {}
    target = route.targets[0]
    model = target.model or augmented.upstream_model
    return next((entry for entry in offered.get(target.connection, ()) if entry.get("id") == model), {})


def _named(document: dict[str, Any]) -> str:
    name = document.get("model") or document.get("name")
    if not isinstance(name, str) or not name:
        raise BadRequest("model is required", param="model")
    return name


def _in(time: timedelta) -> str:
    return (datetime.now(UTC) + time).strftime("%Y-%m-%dT%H:%M:%SZ")
