"""A connection to an Ollama server: chat is asked by /api/chat, which knows options, and tells counts and durations.

What else a client asks of the OpenAI API goes to the server's own `/v1`; a server without /api/chat is asked by that
for chat, too, from then on.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from openai_proxy.dialects import dialect, json_text
from openai_proxy.dialects.ollama import server
from openai_proxy.dialects.ollama.read_answer import error_object
from openai_proxy.errors import ProxyError, UpstreamError, UpstreamInvalid
from openai_proxy.exchange import Headers, UpstreamRequest, UpstreamResponse
from openai_proxy.upstream.answers import error_text
from openai_proxy.upstream.inprocess import BytesResponse, error_response
from openai_proxy.upstream.lessons import ConnectionLessons, LessonTable
from openai_proxy.upstream.refusals import must_list
from openai_proxy.upstream.translating import Ask, answer_object, body_headers, chat_of, without
from openai_proxy.upstream.translator import Translator

CHAT: Final = "/api/chat"
EMBED: Final = "/api/embed"
_TAGS: Final = "/api/tags"
_SHOW: Final = "/api/show"
_NO_SUCH_PATH: Final = frozenset({404, 405, 501})
_AT_ONCE: Final = 4  # models that are asked for in detail at a time
_JSON: Final[Headers] = ((b"Content-Type", b"application/json"), (b"Accept", b"application/json"))
_OF_THE_BODY: Final = frozenset(
    {b"content-type", b"content-length", b"content-encoding", b"accept", b"accept-encoding"}
)


class _NoSuchPathError(Exception):
    """The server does not have the endpoint."""


class OllamaProvider:
    """See provider.Provider.

    `ask` sends over the pool of this connection, whose base is the server's root. `options` and `keep_alive` go with
    every request that does not say otherwise.
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
        self._entries: dict[str, dict[str, Any]] = {}  # by the name the server gives the model
        self._shown: dict[str, dict[str, Any]] = {}  # what /api/show said, by name and digest

    def speaks(self, dialect: str) -> bool:
        """See Provider."""
        return dialect == "ollama"

    async def send(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """Ask with `key`. What cannot be said to this server comes back as an answer with status 400."""
        path = request.path.rstrip("/")
        if path.startswith("/api/"):
            return await self._ask(request, key)
        if request.method == "POST" and path in ("/chat/completions", "/embeddings"):
            try:
                if path == "/chat/completions":
                    return await self._chat(request, key)
                return await self._embeddings(request, key)
            except UpstreamError:
                raise
            except ProxyError as error:
                return error_response(error)
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
        """Nothing is held."""

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
        """By /api/embed where this connection has options, which the server's /v1 does not take."""
        if not (self._options or self._keep_alive is not None) or self._lessons.lacks(EMBED):
            return await self._v1(request, key)
        chat = await chat_of(request)
        body = json_text.dumps(server.embed_request(self._with_defaults(chat)))
        headers = [*without(request.headers, _OF_THE_BODY), *_JSON]
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
        """`chat` with this connection's options and keep_alive where it does not say otherwise."""
        made = dict(chat)
        given = chat.get("options")
        if self._options and isinstance(given, dict | None):
            made["options"] = {**self._options, **(given or {})}
        if self._keep_alive is not None:
            made.setdefault("keep_alive", self._keep_alive)
        return made

    def _entry(self, model: Any) -> dict[str, Any] | None:
        """What the list says of `model`, which may leave out ":latest"."""
        found = self._entries.get(model) if isinstance(model, str) else None
        return found or self._entries.get(f"{model}:latest")

    async def _native(self, request: UpstreamRequest, key: str | None) -> UpstreamResponse:
        """The answer of one of Ollama's own endpoints. Raises _NoSuchPathError where the server does not have it."""
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
        """What the server says of one model; {} where it says nothing. Asked once for each version of a model."""
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
        try:
            if response.status in _NO_SUCH_PATH:
                raise _NoSuchPathError
            await must_list(self.name, response)
            return await answer_object(response)
        finally:
            response.close()
