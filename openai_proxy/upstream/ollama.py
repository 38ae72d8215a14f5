"""A connection to an Ollama server: chat uses /api/chat, which supports options and reports counts and durations.

Other requests of the OpenAI API go to the server's own `/v1`; so does chat, once the server turns out to lack
/api/chat.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from openai_proxy.dialects import dialect, json_text
from openai_proxy.dialects.ollama import server
from openai_proxy.dialects.ollama.read_answer import error_object
from openai_proxy.endpoints import CHAT_PATH
from openai_proxy.errors import UpstreamError, UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.answer_body import answer_object, error_text
from openai_proxy.upstream.inprocess import BytesResponse, refusal_as_answer
from openai_proxy.upstream.lessons import ConnectionLessons, LessonTable
from openai_proxy.upstream.model_list import listing
from openai_proxy.upstream.translating import OF_THE_BODY, Ask, body_headers, chat_of, without
from openai_proxy.upstream.translator import Translator

CHAT: Final = "/api/chat"
EMBED: Final = "/api/embed"
_TAGS: Final = "/api/tags"
_SHOW: Final = "/api/show"
_NO_SUCH_PATH: Final = frozenset({404, 405, 501})
_AT_ONCE: Final = 4  # models whose details are requested concurrently
_JSON: Final[Headers] = ((b"Content-Type", b"application/json"), (b"Accept", b"application/json"))


class _NoSuchPathError(Exception):
    """The server lacks the endpoint."""


class OllamaProvider:
    """See provider.Provider.

    `ask` sends over the pool of this connection, whose base is the server's root. `options` and `keep_alive` apply to
    every request that does not set them.
    """

    api_type: ClassVar[str] = "ollama"

    def __init__(
        self,
        name: str,
        ask: Ask,
        *,
        keys: Sequence[str] = (),
        options: Mapping[str, Any] | None = None,
        keep_alive: str | float | None = None,
        lessons: ConnectionLessons | None = None,
    ) -> None:
        self.name = name
        self._ask = ask
        self._keys = tuple(keys)
        self._options = dict(options or {})
        self._keep_alive = keep_alive
        self._lessons = lessons if lessons is not None else LessonTable().of(name)
        self._translator = Translator(name, dialect("ollama"), self._lessons)
        self._entries: dict[str, dict[str, Any]] = {}  # by the server's name of the model
        self._shown: dict[str, dict[str, Any]] = {}  # answers of /api/show, by name and digest

    def speaks(self, dialect: str) -> bool:
        return dialect == "ollama"

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """Send a request with `key`. If it has no equivalent for this server, the answer has status 400."""
        path = request.path.rstrip("/")
        if path.startswith("/api/"):
            return await self._ask(request, key)
        if request.method == "POST" and path == CHAT_PATH:
            return await refusal_as_answer(self._chat(request, key))
        if request.method == "POST" and path == "/embeddings":
            return await refusal_as_answer(self._embeddings(request, key))
        return await self._v1(request, key)

    async def list_models(self) -> list[dict[str, Any]]:
        """Its models with context and capabilities, as OpenAI model objects. Raises the UpstreamError family."""
        key = self._keys[0] if self._keys else None
        try:
            tags = await self._document("GET", _TAGS, None, key)
        except _NoSuchPathError:
            tags = await self._document("GET", "/v1/models", None, key)
        models = server.models_of(tags)
        if models is None:
            raise UpstreamInvalid(f"The connection '{self.name}' gave no model list.")
        gate = asyncio.Semaphore(_AT_ONCE)

        async def detailed(model: dict[str, Any]) -> dict[str, Any]:
            if server.is_complete(model):
                return model
            async with gate:
                return server.with_details(model, await self._show(model, key))

        found = await asyncio.gather(*(detailed(model) for model in models))
        listed = [server.with_context(model, self._options) for model in found]
        self._entries = {model["id"]: model for model in listed}
        return listed

    async def aclose(self) -> None:
        """There is nothing to release."""

    async def _chat(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        if self._lessons.lacks(CHAT):
            return await self._v1(request, key)
        chat = await chat_of(request)

        async def send(question: UpstreamRequest) -> UpstreamResponse:
            return await self._native(question, key)

        try:
            return await self._translator.ask(request, self._with_defaults(chat), send, self._entry(chat.get("model")))
        except _NoSuchPathError:
            self._lessons.learn_lack(CHAT)
            return await self._v1(request, key)

    async def _embeddings(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """Embeddings over /api/embed if this connection has options, which the server's /v1 does not accept."""
        if not (self._options or self._keep_alive is not None) or self._lessons.lacks(EMBED):
            return await self._v1(request, key)
        chat = await chat_of(request)
        body = json_text.dumps(server.embed_request(self._with_defaults(chat)))
        headers = [*without(request.headers, OF_THE_BODY), *_JSON]
        try:
            response = await self._native(replace(request, path=EMBED, headers=headers, body=body, length=None), key)
        except _NoSuchPathError:
            self._lessons.learn_lack(EMBED)
            return await self._v1(request, key)
        try:
            if response.status != 200:
                error = error_object(response.status, await error_text(response))
                answer, status = json_text.dumps({"error": error}), response.status
            else:
                answer, status = json_text.dumps(server.embeddings(await answer_object(response), chat)), 200
        finally:
            response.close()
        return BytesResponse(answer, status=status, headers=body_headers(response.headers, b"application/json"))

    def _with_defaults(self, chat: dict[str, Any]) -> dict[str, Any]:
        """`chat` with this connection's options and keep_alive, unless it sets its own."""
        made = dict(chat)
        given = chat.get("options")
        if self._options and isinstance(given, dict | None):
            made["options"] = {**self._options, **(given or {})}
        if self._keep_alive is not None:
            made.setdefault("keep_alive", self._keep_alive)
        return made

    def _entry(self, model: Any) -> dict[str, Any] | None:
        """The list's entry of `model`, which may omit ":latest"."""
        found = self._entries.get(model) if isinstance(model, str) else None
        return found or self._entries.get(f"{model}:latest")

    async def _native(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """The answer of one of Ollama's own endpoints. Raises _NoSuchPathError if the server lacks it."""
        response = await self._ask(request, key)
        if response.status not in _NO_SUCH_PATH:
            return response
        body = await error_text(response)
        if not server.names_model(body):
            raise _NoSuchPathError
        return BytesResponse(body, status=response.status, headers=body_headers(response.headers, b"application/json"))

    async def _v1(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        return await self._ask(replace(request, path=f"/v1{request.path}"), key)

    async def _show(self, model: dict[str, Any], key: str | None) -> dict[str, Any]:
        """The details of one model; {} if the server has none. Requested once for each version of a model."""
        version = f"{model['id']} {model.get('digest')}"
        if version not in self._shown:
            try:
                self._shown[version] = await self._document("POST", _SHOW, {"model": model["id"]}, key)
            except (UpstreamError, _NoSuchPathError):
                return {}
        return self._shown[version]

    async def _document(self, method: str, path: str, body: Any, key: str | None) -> dict[str, Any]:
        data = json_text.dumps(body) if body is not None else None
        response = await self._ask(UpstreamRequest(method, path, headers=_JSON, body=data), key)
        if response.status in _NO_SUCH_PATH:
            response.close()
            raise _NoSuchPathError
        return await listing(self.name, response)
